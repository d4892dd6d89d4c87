package report

import (
	"context"
	"math/bits"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/inventory"
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
func (r *Reporter) Ownership(ctx context.Context, now time.Time, window time.Duration, paging Paging) (*List[Lacking], error) {
	now = now.UTC()
	since := now.Add(-window)
	members, e, summary, err := r.watchedPopulation(ctx, since, now)
	if err != nil {
		return nil, err
	}
	views := e.views(members)
	type lacking struct {
		member int
		lacks  uint8 // of what, as bits in the order of wanted
	}
	var all []lacking
	for i := range members {
		m := &members[i]
		if !answerable(m) || m.Declarations == 0 && m.LastSeen.Before(since) {
			continue
		}
		x := lacking{member: i}
		for k, value := range wantedOf(views[i]) {
			if value == "" {
				x.lacks |= 1 << k
			}
		}
		if x.lacks != 0 {
			all = append(all, x)
		}
	}
	page, next, err := cut(all, func(x *lacking) place {
		return place{-int64(bits.OnesCount8(x.lacks)), 0, members[x.member].Identity.String()}
	}, paging)
	if err != nil {
		return nil, err
	}
	out := &List[Lacking]{Items: make([]Lacking, len(page)), Next: next, Total: uint64(len(all)), Coverage: summary}
	for i, x := range page {
		m, v := &members[x.member], views[x.member]
		l := Lacking{
			Identity: m.Identity, Kind: store.Kind(m.Identity), Namespace: e.namespace(m), Owner: v.Owner, Purpose: v.Purpose, Environment: v.Environment,
			Inventory: string(v.State), LastUsed: m.LastUsed,
		}
		for k, name := range wanted {
			if x.lacks&(1<<k) != 0 {
				l.Lacks = append(l.Lacks, name)
			}
		}
		l.Remedy = remedy(&l, e.declared[m.Identity.String()])
		out.Items[i] = l
	}
	return out, nil
}

// wanted is what somebody must say of each identity.
var wanted = [...]string{"owner", "purpose", "environment"}

func wantedOf(v *inventory.View) [len(wanted)]string {
	return [...]string{v.Owner, v.Purpose, v.Environment}
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
