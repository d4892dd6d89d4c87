package event

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Heartbeat says that a node was watched from Started to Time without a break, and what was lost there since Started, by cause.
type Heartbeat struct {
	Node     string
	Boot     string
	Sequence uint64   // of the last batch before it, since Started
	Numbers  []uint64 // of the last batch before it of each partition; empty where the agent does not tell
	Started  time.Time
	Time     time.Time
	Version  string            // of the agent
	Kernel   string            // release
	Missing  []string          // what this node cannot watch, in words; empty when everything works
	Lost     map[string]uint64 // cause -> events since Started; causes are a small fixed set
	Gauges   map[string]uint64 // fill levels, such as edges in use
	Gaps     []Gap             // what was not seen lately, of earlier boots too; told until a heartbeat that has them was stored, so they come again
	Deny     string            // whether decisions are enforced: "on", or "off: " and why; empty where the agent is too old to
}

type wireHeartbeat struct {
	Format   uint8             `cbor:"1,keyasint"`
	Node     string            `cbor:"2,keyasint"`
	Boot     string            `cbor:"3,keyasint"`
	Sequence uint64            `cbor:"4,keyasint"`
	Started  int64             `cbor:"5,keyasint"`
	Time     int64             `cbor:"6,keyasint"`
	Version  string            `cbor:"7,keyasint,omitempty"`
	Kernel   string            `cbor:"8,keyasint,omitempty"`
	Missing  []string          `cbor:"9,keyasint,omitempty"`
	Lost     map[string]uint64 `cbor:"10,keyasint,omitempty"`
	Gauges   map[string]uint64 `cbor:"11,keyasint,omitempty"`
	Numbers  []uint64          `cbor:"12,keyasint,omitempty"`
	Gaps     []wireGap         `cbor:"13,keyasint,omitempty"`
	Deny     string            `cbor:"14,keyasint,omitempty"`
}

// Bounds of what a heartbeat may name, in number and in bytes each, since the names become rows and labels.
const (
	maxCauses    = 128
	maxCauseName = 64
)

// maxWords bounds version, kernel, and each sentence on what is missing, in bytes.
const maxWords = 512

// Encode makes the message. Sentences on what is missing hold what others said, such as a server's error: they are cut where they are too long.
func (h *Heartbeat) Encode() ([]byte, error) {
	missing := make([]string, 0, len(h.Missing))
	for _, s := range h.Missing {
		missing = append(missing, sentence(s))
	}
	out, err := pack(&wireHeartbeat{
		Format: wireVersion, Node: h.Node, Boot: h.Boot, Sequence: h.Sequence, Started: h.Started.UnixNano(), Time: h.Time.UnixNano(),
		Version: h.Version, Kernel: h.Kernel, Missing: missing, Lost: h.Lost, Gauges: h.Gauges, Numbers: h.Numbers, Gaps: wireGaps(h.Gaps), Deny: sentence(h.Deny),
	})
	if err != nil {
		return nil, fmt.Errorf("encode heartbeat: %w", err)
	}
	return out, nil
}

// sentence gives what may travel of a text.
func sentence(s string) string {
	const more = "…"
	s = strings.ToValidUTF8(s, string(unicode.ReplacementChar))
	if len(s) <= maxWords {
		return s
	}
	return strings.ToValidUTF8(s[:maxWords-len(more)], "") + more
}

// DecodeHeartbeat reads a heartbeat that came from outside. Its errors are [ErrTooLarge], [ErrVersion] or [ErrMalformed].
func DecodeHeartbeat(data []byte) (*Heartbeat, error) {
	var w wireHeartbeat
	if err := unpack(data, &w); err != nil {
		return nil, fmt.Errorf("decode heartbeat: %w", err)
	}
	if w.Format != wireVersion {
		return nil, fmt.Errorf("decode heartbeat: %w %d", ErrVersion, w.Format)
	}
	if err := w.check(); err != nil {
		return nil, fmt.Errorf("decode heartbeat: %w: %w", ErrMalformed, err)
	}
	return &Heartbeat{
		Node: w.Node, Boot: w.Boot, Sequence: w.Sequence, Started: time.Unix(0, w.Started).UTC(), Time: time.Unix(0, w.Time).UTC(),
		Version: w.Version, Kernel: w.Kernel, Missing: w.Missing, Lost: w.Lost, Gauges: w.Gauges, Numbers: w.Numbers, Gaps: gapsOf(w.Gaps), Deny: w.Deny,
	}, nil
}

func (w *wireHeartbeat) check() error {
	if err := checkSource(w.Node, w.Boot); err != nil {
		return err
	}
	if w.Time < earliest.UnixNano() || w.Time > latest.UnixNano() || w.Started < earliest.UnixNano() || w.Started > w.Time {
		return errors.New("times are not plausible")
	}
	if len(w.Lost) > maxCauses || len(w.Gauges) > maxCauses || len(w.Missing) > maxCauses {
		return fmt.Errorf("more than %d names", maxCauses)
	}
	if len(w.Numbers) > MaxPartitions {
		return fmt.Errorf("more than %d partitions", MaxPartitions)
	}
	if err := checkGaps(w.Gaps); err != nil {
		return err
	}
	for _, names := range []map[string]uint64{w.Lost, w.Gauges} {
		for name, n := range names {
			if name == "" || len(name) > maxCauseName {
				return fmt.Errorf("a name is empty or longer than %d bytes", maxCauseName)
			}
			if n > maxCount {
				return fmt.Errorf("%q is more than %d", name, uint64(maxCount))
			}
		}
	}
	for _, s := range append(w.Missing, w.Version, w.Kernel, w.Deny) {
		if len(s) > maxWords {
			return fmt.Errorf("version, kernel, deny or what is missing is longer than %d bytes", maxWords)
		}
	}
	return nil
}
