package report

import (
	"context"
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Classes of identities that are not used.
const (
	NeverUsed = "never-used" // known, but it never made or got a connection, nor tried to
	Dormant   = "dormant"    // used once, and never seen to be used again
)

// Unused is an identity that nobody was seen to use. Times are UTC; a zero time is never.
type Unused struct {
	Identity     event.Identity `json:"identity"`
	Kind         string         `json:"kind"`             // see [store.Kind]
	Class        string         `json:"class"`            // never-used, dormant
	Verdict      string         `json:"verdict"`          // unused, cannot-tell
	Reason       string         `json:"reason,omitempty"` // why it cannot be told
	State        string         `json:"state,omitempty"`
	Evidence     event.Evidence `json:"evidence,omitempty"` // the strongest ever
	Namespace    string         `json:"namespace,omitempty"`
	Unit         string         `json:"unit,omitempty"`
	Nodes        []string       `json:"nodes"` // at most 8
	FirstSeen    time.Time      `json:"first_seen"`
	LastSeen     time.Time      `json:"last_seen"`             // running
	LastUsed     time.Time      `json:"last_used,omitzero"`    // in any direction; an attempt that failed is use
	LastSuccess  time.Time      `json:"last_success,omitzero"` // but it is no success
	LastResource event.Resource `json:"last_resource,omitzero"`
	DaysUnused   int            `json:"days_unused"` // whole days since it was used, or since it was first seen
	Watched      float64        `json:"watched"`     // percent of the window in which the nodes where it ran last were watched, on average
}

// maxUnused bounds the report; Total says how many there are.
const maxUnused = 10_000

// Unused reports the identities that were known before the window that ends now and were not used in it: never used ones first, then by
// last use. An identity younger than the window is never among them. Those that may have been used where nobody watched are among them, and say so.
func (r *Reporter) Unused(ctx context.Context, now time.Time, window time.Duration) (*List[Unused], error) {
	now = now.UTC()
	found, total, err := r.store.Unused(ctx, now.Add(-window), maxUnused)
	if err != nil {
		return nil, err
	}
	nodes, summary, err := r.coverage(ctx, now, window)
	if err != nil {
		return nil, err
	}
	w := newWitness(nodes, window)
	out := &List[Unused]{Items: make([]Unused, 0, len(found)), Total: total, Coverage: summary}
	for i := range found {
		u := unused(&found[i], now)
		u.State = r.state(u.Identity)
		u.Verdict, u.Reason, u.Watched = w.judge(&found[i], now.Add(-window))
		out.Items = append(out.Items, u)
	}
	if n := untold(out.Items); n > 0 {
		summary.Statement += fmt.Sprintf(" Of %d of the %d listed here it cannot be told that they are unused: they may have been used where or when nobody watched.",
			n, len(out.Items))
	}
	return out, nil
}

func unused(s *store.Unused, now time.Time) Unused {
	u := Unused{
		Identity: s.Identity, Kind: store.Kind(s.Identity), Class: Dormant, Evidence: s.Evidence, Namespace: s.Namespace, Unit: s.Unit, Nodes: s.Nodes,
		FirstSeen: s.FirstSeen, LastSeen: s.LastSeen, LastUsed: s.LastUsed, LastSuccess: s.LastSuccess, LastResource: s.LastResource,
	}
	since := s.LastUsed
	if since.IsZero() {
		u.Class, since = NeverUsed, s.FirstSeen
	}
	u.DaysUnused = int(now.Sub(since) / day)
	return u
}
