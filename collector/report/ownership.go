package report

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Lacking is an identity of which nobody said all that somebody must say: who answers for it, what it is for, and where it belongs. Times are UTC; a
// zero time is never.
type Lacking struct {
	Identity    event.Identity `json:"identity"`
	Kind        string         `json:"kind"`
	Lacks       []string       `json:"lacks"` // of owner, purpose, environment
	Namespace   string         `json:"namespace,omitempty"`
	Owner       string         `json:"owner,omitempty"`
	Purpose     string         `json:"purpose,omitempty"`
	Environment string         `json:"environment,omitempty"`
	Inventory   string         `json:"inventory,omitempty"` // how it fits to what is declared
	LastUsed    time.Time      `json:"last_used,omitzero"`
	Remedy      string         `json:"remedy"`
}

// Ownership reports the identities that were seen in the window that ends now, or are declared, and lack an owner, a purpose or an environment; those
// that lack most first. Those that are bound to a node belong to it, and are left out.
func (r *Reporter) Ownership(ctx context.Context, now time.Time, window time.Duration, limit int) (*List[Lacking], error) {
	now = now.UTC()
	since := now.Add(-window)
	_, summary, err := r.coverage(ctx, now, window)
	if err != nil {
		return nil, err
	}
	members, e, err := r.population(ctx, since, now)
	if err != nil {
		return nil, err
	}
	views := e.views(members)
	out := &List[Lacking]{Items: []Lacking{}, Coverage: summary}
	for i := range members {
		m := &members[i]
		if !answerable(m) || m.Declarations == 0 && m.LastSeen.Before(since) {
			continue
		}
		v := views[i]
		l := Lacking{
			Identity: m.Identity, Kind: store.Kind(m.Identity), Namespace: e.namespace(m), Owner: v.Owner, Purpose: v.Purpose, Environment: v.Environment,
			Inventory: string(v.State), LastUsed: m.LastUsed,
		}
		for _, f := range []struct{ name, value string }{{"owner", v.Owner}, {"purpose", v.Purpose}, {"environment", v.Environment}} {
			if f.value == "" {
				l.Lacks = append(l.Lacks, f.name)
			}
		}
		if l.Lacks != nil {
			l.Remedy = remedy(&l, e.declared[m.Identity.String()])
			out.Items = append(out.Items, l)
		}
	}
	slices.SortStableFunc(out.Items, func(a, b Lacking) int {
		return cmp.Or(cmp.Compare(len(b.Lacks), len(a.Lacks)), cmp.Compare(a.Identity.String(), b.Identity.String()))
	})
	out.Total = uint64(len(out.Items))
	if limit <= 0 {
		limit = 1000
	}
	out.Items = out.Items[:min(len(out.Items), limit, 10_000)]
	return out, nil
}

// remedy says where to write what is missing.
func remedy(l *Lacking, declared []event.Declaration) string {
	for i := range declared {
		if declared[i].Source == event.SourceKubernetes && declared[i].Gone.IsZero() {
			return "annotate the service account: ambit.dev/" + strings.Join(l.Lacks, ", ambit.dev/")
		}
	}
	return "add it with " + strings.Join(l.Lacks, ", ") + " to a list, and give that to `ambit inventory import`, or write a rule"
}
