package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Verifier checks decisions and remembers them, so that an older form of one, such as that before its revocation, is known for a replay. What it remembers is
// forgotten when the decision has expired: then an older form has too. It is not safe for concurrent use.
type Verifier struct {
	Keys    []string      // public keys that are trusted
	MaxLife time.Duration // of a decision; 0: [MaxDecisionLife]
	Max     int           // decisions that are remembered; 0: 100,000
	seen    map[string]Seen
}

// Seen is what a [Verifier] remembers of a decision. It is small and may be kept over a restart.
type Seen struct {
	Serial  uint64    `json:"serial"`
	Expires time.Time `json:"expires"`
	Mark    []byte    `json:"mark"` // signature
}

// Check is [Decision.Verify], and that no later form of the decision came before. The same one may come again.
func (v *Verifier) Check(d *Decision, now time.Time) error {
	life := v.MaxLife
	if life == 0 {
		life = MaxDecisionLife
	}
	if err := d.Verify(v.Keys, now, life); err != nil {
		return err
	}
	seen, known := v.seen[d.ID]
	switch {
	case known && d.Serial < seen.Serial:
		return fmt.Errorf("%w: number %d came before number %d", ErrReplayed, seen.Serial, d.Serial)
	case known && d.Serial == seen.Serial && !bytes.Equal(d.Signature, seen.Mark):
		return fmt.Errorf("%w: number %d came with other contents", ErrReplayed, d.Serial)
	case !known && len(v.seen) >= v.max():
		v.Forget(now)
		if len(v.seen) >= v.max() {
			return fmt.Errorf("%w: %d", ErrCrowded, len(v.seen))
		}
	}
	if v.seen == nil {
		v.seen = map[string]Seen{}
	}
	v.seen[d.ID] = Seen{Serial: d.Serial, Expires: later(d.Expires, seen.Expires), Mark: d.Signature}
	return nil
}

func (v *Verifier) max() int {
	if v.Max > 0 {
		return v.Max
	}
	return 100_000
}

// later is for the case that a new form of a decision ends before the old one would have: a replay of that must be known until then.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Forget drops what has expired. Whoever checks decisions calls it now and then.
func (v *Verifier) Forget(now time.Time) {
	for id, s := range v.seen {
		if !now.Before(s.Expires) {
			delete(v.seen, id)
		}
	}
}

// Seen is what is remembered, by decision, for a restart. It belongs to the verifier.
func (v *Verifier) Seen() map[string]Seen { return v.seen }

// Remember takes what an earlier verifier had seen; of what both know, the later counts.
func (v *Verifier) Remember(seen map[string]Seen) {
	if v.seen == nil {
		v.seen = map[string]Seen{}
	}
	for id, s := range seen {
		if s.Serial > v.seen[id].Serial && len(v.seen) < v.max() {
			v.seen[id] = s
		}
	}
}

// DecodeDecision reads a decision as JSON, strictly: a field that is not known is not signed either. It checks no signature.
func DecodeDecision(data []byte) (*Decision, error) {
	if len(data) > MaxDecisionBytes {
		return nil, fmt.Errorf("decode decision: %w: %d bytes", ErrTooLarge, len(data))
	}
	var d Decision
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return nil, fmt.Errorf("decode decision: %w: %w", ErrMalformed, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("decode decision: %w: there is more behind it", ErrMalformed)
	}
	return &d, nil
}
