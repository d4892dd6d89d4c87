package report

import (
	"context"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Keys of annotations, and of labels of lists, that exempt an identity until a day.
const (
	exemptUntil  = "ambit.dev/exempt-until"
	exemptReason = "ambit.dev/exempt-reason"
)

// Exemption says why an identity may be unused, and for how long. Times are UTC.
type Exemption struct {
	Reason string    `json:"reason"`
	By     string    `json:"by"`          // who, or the source of the inventory that says so
	At     time.Time `json:"at,omitzero"` // zero where an annotation says so
	Until  time.Time `json:"until"`
}

// exemptions gives those in force: what somebody said through the API comes before annotations.
func (r *Reporter) exemptions(ctx context.Context, members []store.Member, e *estate, now time.Time) (map[string]*Exemption, error) {
	told, err := r.store.Exemptions(ctx, nil, now)
	if err != nil {
		return nil, err
	}
	out := map[string]*Exemption{}
	for i := range members {
		id := members[i].Identity.String()
		if x, ok := told[id]; ok {
			out[id] = &Exemption{x.Reason, x.By, x.At, x.Until}
			continue
		}
		for k := range e.declared[id] {
			if x := annotated(&e.declared[id][k], now); x != nil {
				out[id] = x
			}
		}
	}
	return out, nil
}

// annotated is the exemption that a declaration holds, nil where it holds none that is in force. A day is meant to its end.
func annotated(d *event.Declaration, now time.Time) *Exemption {
	if !d.Gone.IsZero() {
		return nil
	}
	for _, pairs := range []map[string]string{d.Annotations, d.Labels} {
		text, ok := pairs[exemptUntil]
		if !ok {
			continue
		}
		until, err := time.Parse(time.RFC3339, text)
		if err != nil {
			if until, err = time.Parse(time.DateOnly, text); err != nil {
				continue // nobody knows what is meant, so nobody is exempt
			}
			until = until.Add(day)
		}
		if until.After(now) {
			return &Exemption{Reason: pairs[exemptReason], By: string(d.Source) + " " + d.SourceName, Until: until.UTC()}
		}
	}
	return nil
}
