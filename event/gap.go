package event

import (
	"errors"
	"fmt"
	"time"
)

// Gap is a span of time in which something of a node was not seen, or was seen and lost on the way.
type Gap struct {
	Cause string // one of a small fixed set
	From  time.Time
	Until time.Time // not before From
	Lost  uint64    // events; 0 where their number is not known, or nothing but the span is
}

// MaxGaps is how many gaps a heartbeat tells.
const MaxGaps = 64

type wireGap struct {
	Cause string `cbor:"1,keyasint"`
	From  int64  `cbor:"2,keyasint"` // ns since 1970
	Until int64  `cbor:"3,keyasint"`
	Lost  uint64 `cbor:"4,keyasint,omitempty"`
}

func wireGaps(gaps []Gap) (out []wireGap) {
	for _, g := range gaps {
		out = append(out, wireGap{g.Cause, g.From.UnixNano(), g.Until.UnixNano(), g.Lost})
	}
	return out
}

func gapsOf(wire []wireGap) (out []Gap) {
	for _, g := range wire {
		out = append(out, Gap{g.Cause, time.Unix(0, g.From).UTC(), time.Unix(0, g.Until).UTC(), g.Lost})
	}
	return out
}

func checkGaps(gaps []wireGap) error {
	if len(gaps) > MaxGaps {
		return fmt.Errorf("more than %d gaps", MaxGaps)
	}
	for _, g := range gaps {
		switch {
		case g.Cause == "" || len(g.Cause) > maxCauseName:
			return fmt.Errorf("the cause of a gap is empty or longer than %d bytes", maxCauseName)
		case g.From < earliest.UnixNano() || g.Until > latest.UnixNano() || g.Until < g.From:
			return errors.New("the times of a gap are not plausible")
		case g.Lost > maxCount:
			return fmt.Errorf("a gap lost more than %d", uint64(maxCount))
		}
	}
	return nil
}
