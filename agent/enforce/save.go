package enforce

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// saved is the state of an engine between two runs.
type saved struct {
	Boot string                `json:"boot"`
	Held []savedDecision       `json:"held"`
	Seen map[string]event.Seen `json:"seen"`
}

type savedDecision struct {
	Decision *event.Decision `json:"decision"`
	Deadline time.Duration   `json:"deadline"`
	Slot     uint32          `json:"slot"`
}

// Save gives what [Engine.Restore] takes, and whether that is something new.
func (e *Engine) Save() (data []byte, changed bool, err error) {
	if !e.changed {
		return nil, false, nil
	}
	s := saved{Boot: e.cfg.Boot, Held: []savedDecision{}, Seen: e.verifier.Seen()}
	for _, h := range e.All() {
		if !h.over {
			s.Held = append(s.Held, savedDecision{h.Decision, h.Deadline, h.Slot})
		}
	}
	if data, err = json.Marshal(&s); err != nil {
		return nil, false, fmt.Errorf("save decisions: %w", err)
	}
	e.changed = false
	return data, true, nil
}

// Restore takes what an earlier engine had saved. Nothing of it is believed without its signature: whoever can write the file could otherwise deny.
// Deadlines of this start of the machine stay what they were, whatever the wall clock says by now.
func (e *Engine) Restore(data []byte, at Moment) error {
	var s saved
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("restore decisions: %w", err)
	}
	e.verifier.Remember(s.Seen)
	for _, x := range s.Held {
		d := x.Decision
		if d == nil || d.Verify(e.cfg.Keys, d.Issued, e.cfg.MaxLife) != nil || !d.Revoked.IsZero() || e.held[d.ID] != nil || d.Serial < s.Seen[d.ID].Serial {
			continue
		}
		life := min(d.Expires.Sub(at.Wall), d.Expires.Sub(d.Issued))
		deadline := at.Boot + life
		if s.Boot == e.cfg.Boot {
			deadline = min(x.Deadline, at.Boot+d.Expires.Sub(d.Issued))
		}
		target, err := event.ParseTarget(d.To)
		if err != nil || deadline <= at.Boot || x.Slot == 0 || x.Slot >= e.cfg.Slots || e.slots[x.Slot] != "" {
			continue
		}
		e.slots[x.Slot] = d.ID
		e.held[d.ID] = &Held{Decision: d, Target: target, Deadline: deadline, Slot: x.Slot, State: event.AckReceived}
	}
	return nil
}
