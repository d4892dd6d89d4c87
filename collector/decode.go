package collector

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Causes of refusal, which are label values.
const (
	causeMalformed = "malformed"
	causeTooLarge  = "too_large"
	causeVersion   = "version"
	causeNode      = "node_mismatch"
	causeSubject   = "subject"
	causeClock     = "clock"
)

// maxAhead is how far a node's clock may be ahead of the stream's. Further, and its identities would count as learned at once, and what
// they do would be of days to come.
const maxAhead = 5 * time.Minute

// refusal is why a message is not taken.
type refusal struct {
	cause string
	err   error
}

func (r *refusal) Error() string { return r.err.Error() }

func refuse(err error) *refusal {
	switch {
	case errors.Is(err, event.ErrTooLarge):
		return &refusal{causeTooLarge, err}
	case errors.Is(err, event.ErrVersion):
		return &refusal{causeVersion, err}
	}
	return &refusal{causeMalformed, err}
}

// decode reads a message by its subject: one of batch and heartbeat is set, unless the message is refused. A node may speak for itself
// only: its token in the subject, which the server can hold it to, must be that of the node in the message. stored is when the message came
// into the stream, so that a repetition judges like the first time.
func decode(subject string, data []byte, stored time.Time) (b *event.Batch, h *event.Heartbeat, err *refusal) {
	parts := strings.Split(subject, ".")
	switch {
	case len(parts) == 5 && parts[2] == "obs":
		b, err := event.DecodeBatch(data)
		if err != nil {
			return nil, nil, refuse(err)
		}
		if event.NodeToken(b.Node) != parts[4] {
			return nil, nil, &refusal{causeNode, fmt.Errorf("node %q spoke on subject %s", b.Node, subject)}
		}
		if r := checkClock(b.Node, b.Time, stored); r != nil {
			return nil, nil, r
		}
		return b, nil, nil
	case len(parts) == 4 && parts[2] == "agent":
		h, err := event.DecodeHeartbeat(data)
		if err != nil {
			return nil, nil, refuse(err)
		}
		if event.NodeToken(h.Node) != parts[3] {
			return nil, nil, &refusal{causeNode, fmt.Errorf("node %q spoke on subject %s", h.Node, subject)}
		}
		if r := checkClock(h.Node, h.Time, stored); r != nil {
			return nil, nil, r
		}
		return nil, h, nil
	}
	return nil, nil, &refusal{causeSubject, fmt.Errorf("subject %s is neither of observations nor of an agent", subject)}
}

func checkClock(node string, t, stored time.Time) *refusal {
	if ahead := t.Sub(stored); ahead > maxAhead {
		return &refusal{causeClock, fmt.Errorf("the clock of node %q is %s ahead", node, ahead.Round(time.Second))}
	}
	return nil
}
