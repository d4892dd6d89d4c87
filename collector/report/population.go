package report

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// population is all identities as they were at a time, with what is declared of them, and what is made of both when somebody asks first. Nobody changes them:
// they serve several questions.
type population struct {
	members []store.Member
	estate  *estate

	listing chan struct{} // of one, who may look at entries
	entries []Entry       // by URI; nil: nobody asked yet
}

// population gives all members, and what is declared of them.
func (r *Reporter) population(ctx context.Context, since, now time.Time) ([]store.Member, *estate, error) {
	h, err := r.kept.get(ctx, r.Reuse, now.Sub(since), now, r.readPopulation(since, now))
	if err != nil {
		return nil, nil, err
	}
	return h.value.members, h.value.estate, nil
}

// watchedPopulation gives all members with what is declared of them, and how well the window was watched, which are asked for at once.
func (r *Reporter) watchedPopulation(ctx context.Context, since, now time.Time) (members []store.Member, e *estate, summary *Summary, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		_, summary, err = r.coverage(ctx, now, now.Sub(since))
		return err
	})
	g.Go(func() (err error) {
		members, e, err = r.population(ctx, since, now)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, nil, nil, err
	}
	summary.read(e)
	return members, e, summary, nil
}

// readPopulation reads all members and what is declared of them, which are asked for at once.
func (r *Reporter) readPopulation(since, now time.Time) func(context.Context) (*population, *age, error) {
	return func(ctx context.Context) (*population, *age, error) {
		p := &population{listing: make(chan struct{}, 1)}
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() (err error) {
			p.members, err = r.store.Population(ctx, since, now, false)
			return err
		})
		g.Go(func() (err error) {
			p.estate, err = r.estate(ctx, nil, true, now)
			return err
		})
		if err := g.Wait(); err != nil {
			return nil, nil, err
		}
		p.estate.members = p.members
		return p, nil, nil
	}
}

// listed is the time that lists of identities look back over.
const listed = 90 * day

// entries gives all identities in a few words, by URI, and as of when. Nobody changes them.
func (r *Reporter) entries(ctx context.Context, now time.Time) ([]Entry, time.Time, error) {
	h, err := r.kept.get(ctx, r.Reuse, listed, now, r.readPopulation(now.Add(-listed), now))
	if err != nil {
		return nil, time.Time{}, err
	}
	p := h.value
	select {
	case p.listing <- struct{}{}:
		defer func() { <-p.listing }()
	case <-ctx.Done():
		return nil, time.Time{}, ctx.Err()
	}
	if p.entries == nil {
		p.entries = r.list(p)
	}
	return p.entries, p.estate.now, nil
}

// list says of all identities in a few words what they are.
func (r *Reporter) list(p *population) []Entry {
	views := p.estate.views(p.members)
	one := map[string]string{} // many have the same owner
	intern := func(s string) string {
		if known, ok := one[s]; ok {
			return known
		}
		one[s] = s
		return s
	}
	out := make([]Entry, len(p.members))
	for i := range p.members {
		m, v := &p.members[i], views[i]
		out[i] = Entry{
			Identity: m.Identity, Kind: store.Kind(m.Identity), State: cmp.Or(r.state(m.Identity), "unknown"), Inventory: v.State, Class: intern(m.Class), Evidence: event.Evidence(intern(string(m.Evidence))),
			Namespace: intern(p.estate.namespace(m)), Domain: v.Domain, Environment: intern(v.Environment), Owner: intern(v.Owner), Privilege: v.Privilege, Nodes: m.NodeCount,
			FirstSeen: m.FirstSeen, LastSeen: m.LastSeen, LastUsed: m.LastUsed,
		}
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Identity.String(), b.Identity.String()) })
	return out
}
