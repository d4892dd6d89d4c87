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

// directory holds all identities in a few words, so that pages and counts of many need not read them again each time.
type directory struct {
	reading chan struct{} // of one, who may look at the rest
	entries []Entry       // by URI; never changed
	read    time.Time
	took    time.Duration
	asOf    time.Time
}

// A directory that was read quickly is read again each time. One that takes longer may be so many times as old as it took, a minute at most: then
// reading takes no more than a twentieth of the time.
const (
	directoryQuick  = 100 * time.Millisecond
	directoryFactor = 20
	directoryOldest = time.Minute
)

func (d *directory) fresh() bool {
	return d.entries != nil && d.took > directoryQuick && time.Since(d.read) < min(directoryFactor*d.took, directoryOldest)
}

// entries gives all identities. Who asks while they are read waits, as long as ctx lets it, and gets the same.
func (r *Reporter) entries(ctx context.Context, now time.Time) ([]Entry, time.Time, error) {
	d := &r.directory
	select {
	case d.reading <- struct{}{}:
		defer func() { <-d.reading }()
	case <-ctx.Done():
		return nil, time.Time{}, ctx.Err()
	}
	if d.fresh() {
		return d.entries, d.asOf, nil
	}
	began := time.Now()
	members, e, err := r.population(ctx, now.Add(-90*day), now)
	if err != nil {
		return nil, time.Time{}, err
	}
	views := e.views(members)
	one := map[string]string{} // many have the same owner
	intern := func(s string) string {
		if known, ok := one[s]; ok {
			return known
		}
		one[s] = s
		return s
	}
	out := make([]Entry, len(members))
	for i := range members {
		m, v := &members[i], views[i]
		out[i] = Entry{
			Identity: m.Identity, Kind: store.Kind(m.Identity), State: cmp.Or(r.state(m.Identity), "unknown"), Inventory: v.State, Class: intern(m.Class), Evidence: event.Evidence(intern(string(m.Evidence))),
			Namespace: intern(e.namespace(m)), Domain: v.Domain, Environment: intern(v.Environment), Owner: intern(v.Owner), Privilege: v.Privilege, Nodes: m.NodeCount,
			FirstSeen: m.FirstSeen, LastSeen: m.LastSeen, LastUsed: m.LastUsed,
		}
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Identity.String(), b.Identity.String()) })
	d.entries, d.read, d.took, d.asOf = out, time.Now(), time.Since(began), e.now // which may be before now, see [Reporter.Reuse]
	return out, d.asOf, nil
}
