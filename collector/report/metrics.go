package report

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Metric is one measure of the programme. Value is in Unit; of shares it is percent, rounded down, and Count of Of identities (or whatever Of says) have it.
// Where nothing can be measured, Known is false and Basis says why.
type Metric struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"` // percent, identities, seconds, days
	Known bool    `json:"known"`
	Count uint64  `json:"count,omitempty"`
	Of    uint64  `json:"of,omitempty"`
	Basis string  `json:"basis"` // what it is computed of
}

// shortLived is the life of a certificate up to which it is short-lived.
const shortLived = day

// portion is a metric that is a share.
func portion(name string, n, of uint64, basis string) Metric {
	m := Metric{Name: name, Unit: "percent", Known: of > 0, Count: n, Of: of, Basis: basis}
	if of > 0 {
		m.Value = math.Floor(float64(n)/float64(of)*10_000) / 100
	}
	return m
}

func tally(name string, n uint64, basis string) Metric {
	return Metric{Name: name, Value: float64(n), Unit: "identities", Known: true, Count: n, Basis: basis}
}

// Metrics measures the programme over a window that ends now.
func (r *Reporter) Metrics(ctx context.Context, now time.Time, window time.Duration) (*List[Metric], error) {
	now = now.UTC()
	since := now.Add(-window)
	members, e, summary, err := r.watchedPopulation(ctx, since, now)
	if err != nil {
		return nil, err
	}
	items, err := r.measure(ctx, members, e.views(members), summary, since)
	if err != nil {
		return nil, err
	}
	return &List[Metric]{Items: items, Total: uint64(len(items)), Coverage: summary}, nil
}

// measure gives the metrics of a population that was read already.
func (r *Reporter) measure(ctx context.Context, members []store.Member, views []*inventory.View, summary *Summary, since time.Time) ([]Metric, error) {
	out := append([]Metric{}, measureOwners(members, views, since)...)
	for _, measure := range []func(context.Context, []store.Member, time.Time) ([]Metric, error){r.measureCredentials, r.measureUnused, r.measureRevocation} {
		some, err := measure(ctx, members, since)
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	a := summary.Attribution
	return append(out, portion("attributed-connections", a.Attributed, a.Connections, "connections of the window of which it is known who made or accepted them")), nil
}

// measureCredentials measures lives and rotation of certificates, and scopes.
func (r *Reporter) measureCredentials(ctx context.Context, members []store.Member, since time.Time) ([]Metric, error) {
	held, err := r.store.Held(ctx, nil, since)
	if err != nil {
		return nil, err
	}
	outside := map[string]bool{}
	if err := r.store.OpenFindings(ctx, scopeRules, since, func(f store.OpenFindings) { outside[f.Identity] = true }); err != nil {
		return nil, err
	}
	scoped := map[string]bool{}
	err = r.store.EachScope(ctx, time.Time{}, nil, func(x *event.Scope) error {
		if x.ApprovedBy != "" {
			scoped[x.Identity.String()] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var active, within, measured, short, both, rotated uint64
	var intervals []float64
	for i := range members {
		m := &members[i]
		id := m.Identity.String()
		inScope := scoped[id] && !outside[id]
		if answerable(m) && !m.LastUsed.Before(since) {
			active++
			if inScope {
				within++
			}
		}
		h, ok := held[id]
		if !ok || h.Recent == 0 || h.NotBefore.IsZero() || h.NotAfter.IsZero() {
			continue
		}
		measured++
		if h.NotAfter.Sub(h.NotBefore) <= shortLived {
			short++
			if inScope {
				both++
			}
		}
		if h.Recent > 1 {
			rotated++
			intervals = append(intervals, h.Every.Seconds())
		}
	}
	every := Metric{Name: "rotation-interval", Unit: "days", Basis: "median time between new certificates, of identities that presented several in the window", Of: rotated}
	if len(intervals) > 0 {
		slices.Sort(intervals)
		every.Known, every.Value = true, math.Floor(intervals[(len(intervals)-1)/2]/86_400*10_000)/10_000
	}
	return []Metric{
		portion("scoped-short-lived", both, measured, "identities with a certificate in the window: it lives for a day at most, there is an approved scope, and no open finding says that it was left"),
		portion("short-lived", short, measured, "identities with a certificate in the window: it lives for a day at most"),
		portion("scoped", within, active, "identities that were used in the window: there is an approved scope, and no open finding says that it was left"),
		portion("rotation-coverage", rotated, measured, "identities with a certificate in the window: they presented more than one"),
		every,
		tally("outside-scope", uint64(len(outside)), "identities with an open finding of rule scope-violation"),
	}, nil
}

func measureOwners(members []store.Member, views []*inventory.View, since time.Time) []Metric {
	var all, owned, purposed, privileged uint64
	for i := range members {
		m := &members[i]
		if !answerable(m) || m.Declarations == 0 && m.LastSeen.Before(since) {
			continue
		}
		v := views[i]
		all++
		if v.Owner != "" {
			owned++
		}
		if v.Purpose != "" {
			purposed++
		}
		if v.Privilege.Rank() >= event.PrivilegeHigh.Rank() {
			privileged++
		}
	}
	const basis = "identities that were seen in the window, or are declared, and belong to no node"
	return []Metric{portion("with-owner", owned, all, basis), portion("with-purpose", purposed, all, basis), portion("privileged", privileged, all, basis+": their privilege is high or cluster-admin")}
}

// measureUnused measures what became of the identities that scheduled reports found unused.
func (r *Reporter) measureUnused(ctx context.Context, members []store.Member, since time.Time) ([]Metric, error) {
	found, err := r.store.FoundUnused(ctx, reportUnused, since)
	if err != nil {
		return nil, err
	}
	known := make(map[string]*store.Member, len(members))
	classes := map[string]uint64{}
	for i := range members {
		known[members[i].Identity.String()] = &members[i]
		classes[members[i].Class]++
	}
	var gone, used uint64
	for _, f := range found {
		m := known[f.Identity]
		switch {
		case m == nil || m.Declarations == 0 && !m.Declared.IsZero() && m.Ended.After(f.First) && !m.LastSeen.After(m.Ended.Add(time.Hour)):
			gone++
		case m.LastUsed.After(f.First):
			used++
		}
	}
	var unused uint64
	for _, class := range store.Classes[1:] {
		unused += classes[class]
	}
	basis := "of the identities that scheduled reports of the window listed as unused without doubt"
	return []Metric{
		tally("unused", unused, "identities that are not used in the window, whether that can be told or not"),
		tally("orphaned", classes[store.ClassOrphaned], "identities that are not used, and that nobody declares any more"),
		tally("retired-but-active", classes[store.ClassRetired], "identities that act although nobody declares them any more"),
		tally("unused-detected", uint64(len(found)), "identities that scheduled reports of the window listed as unused without doubt"),
		portion("unused-decommissioned", gone, uint64(len(found)), basis+": nobody declares them any more since then, and they did not act again"),
		portion("unused-used-again", used, uint64(len(found)), basis+": they were used after that"),
	}, nil
}

func (r *Reporter) measureRevocation(ctx context.Context, _ []store.Member, since time.Time) ([]Metric, error) {
	t, err := r.store.TimeToRevoke(ctx, since)
	if err != nil {
		return nil, err
	}
	seconds := func(name string, value float64, basis string) Metric {
		if t.InForce == 0 {
			value = 0 // of nothing, there is no number
		}
		return Metric{Name: name, Value: value, Unit: "seconds", Known: t.InForce > 0, Count: t.InForce, Of: t.Decisions, Basis: basis}
	}
	of := fmt.Sprintf("of %d decisions of the window that enforce, %d of which came into force", t.Decisions, t.InForce)
	return []Metric{
		seconds("time-to-revoke-p50", t.InForceP50, "median time until a decision was in force on the last node, "+of),
		seconds("time-to-revoke-p99", t.InForceP99, "time until a decision was in force on the last node, but for the slowest hundredth, "+of),
		seconds("last-connection-p50", t.LastConnectionP50, "median time until the last connection that still succeeded, "+of),
	}, nil
}
