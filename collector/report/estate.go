package report

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// estate says what is declared of members of the population.
type estate struct {
	rules    inventory.Rules
	known    bool // there is an inventory
	now      time.Time
	declared map[string][]event.Declaration

	members []store.Member // of the whole population, where it is of that
	judge   sync.Once
	judged  []*inventory.View // of members
}

// estate reads what is declared of some members, or of all.
func (r *Reporter) estate(ctx context.Context, members []store.Member, all bool, now time.Time) (*estate, error) {
	sources, err := r.store.InventorySources(ctx)
	if err != nil {
		return nil, err
	}
	e := &estate{rules: r.Rules, known: len(sources) > 0, now: now, declared: make(map[string][]event.Declaration, len(members))}
	if !e.known || !all && len(members) == 0 {
		return e, nil
	}
	var of []event.Identity
	if !all {
		of = identitiesOf(members)
	}
	var room []event.Declaration // most identities have one declaration: many share an allocation
	return e, r.store.Declarations(ctx, of, r.Rules.NeedsPairs(), func(d *event.Declaration) error {
		id := d.Identity.String()
		if others := e.declared[id]; others != nil {
			e.declared[id] = append(others, *d)
			return nil
		}
		if len(room) == cap(room) {
			room = make([]event.Declaration, 0, 256)
		}
		room = append(room, *d)
		e.declared[id] = room[len(room)-1 : len(room) : len(room)]
		return nil
	})
}

// views are those of all members.
func (e *estate) views(members []store.Member) []*inventory.View {
	if len(members) == 0 || len(e.members) != len(members) || &e.members[0] != &members[0] {
		return e.viewAll(members)
	}
	e.judge.Do(func() { e.judged = e.viewAll(members) })
	return e.judged
}

// viewAll judges by all processors.
func (e *estate) viewAll(members []store.Member) []*inventory.View {
	out := make([]*inventory.View, len(members))
	workers := runtime.GOMAXPROCS(0)
	var done sync.WaitGroup
	for w := range workers {
		done.Go(func() {
			for i := w; i < len(members); i += workers {
				out[i] = e.view(&members[i])
			}
		})
	}
	done.Wait()
	return out
}

// view is what is declared of one member, and what rules say of it; never nil.
func (e *estate) view(m *store.Member) *inventory.View {
	seen := inventory.Seen{
		Identity: m.Identity, Kind: store.Kind(m.Identity), Namespace: m.Namespace, ServiceAccount: m.ServiceAccount, First: m.FirstSeen, Last: m.LastSeen,
	}
	if v := e.rules.Judge(&seen, e.declared[m.Identity.String()], e.known, e.now); v != nil {
		return v
	}
	return &inventory.View{}
}

// namespace is that of its workloads, or of its declaration.
func (e *estate) namespace(m *store.Member) string {
	if m.Namespace != "" {
		return m.Namespace
	}
	for _, d := range e.declared[m.Identity.String()] {
		if d.Namespace != "" {
			return d.Namespace
		}
	}
	return ""
}

func identitiesOf(members []store.Member) []event.Identity {
	out := make([]event.Identity, len(members))
	for i := range members {
		out[i] = members[i].Identity
	}
	return out
}

// answerable says whether somebody should answer for an identity by name: those that are bound to a node belong to it.
func answerable(m *store.Member) bool {
	return !slices.Contains([]string{"unit", "cgroup", "process", "container"}, store.Kind(m.Identity))
}
