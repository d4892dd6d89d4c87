package report

import (
	"context"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Every step of the window is there, what began is counted once where it began, and what is neither resolved nor suppressed is open.
func TestCountFindings(t *testing.T) {
	now := time.Date(2026, 3, 2, 12, 34, 0, 0, time.UTC)
	for _, window := range []time.Duration{time.Hour, day, 7 * day, 90 * day} {
		step, since := stepOf(window), now.Add(-window)
		began := []store.Began{
			{Start: since.Truncate(step), Severity: event.High, Findings: 2}, {Start: now.Truncate(step), Severity: event.Critical, Findings: 3}, {Start: now.Truncate(step), Severity: "", Findings: 1},
			{Start: now.Add(2 * day).Truncate(step), Severity: event.Low, Findings: 9}, {Start: since.Add(-2 * step).Truncate(step), Severity: event.Low, Findings: 9},
		}
		standing := []store.Standing{{Severity: event.High, Status: event.StatusNew, Findings: 4}, {Severity: event.High, Status: event.StatusAcknowledged, Findings: 2}, {Severity: event.Low, Status: event.StatusSuppressed, Findings: 5}, {Severity: event.Low, Status: event.StatusResolved, Findings: 7}}
		got := countFindings(began, standing, since, now, step)
		var sum uint64
		for i, s := range got.OverTime {
			sum += s.Total()
			if i > 0 && s.Start.Sub(got.OverTime[i-1].Start) != step {
				t.Errorf("%s: step %d begins at %s", window, i, s.Start)
			}
		}
		first, last := got.OverTime[0], got.OverTime[len(got.OverTime)-1]
		if sum != 6 || first.High != 2 || last.Critical != 3 || last.Info != 1 || len(got.OverTime) > 120 {
			t.Errorf("%s: %d in %d steps, first %+v, last %+v", window, sum, len(got.OverTime), first, last)
		}
		if got.Open != 6 || got.New != 4 || got.BySeverity[1] != (SeverityTally{Severity: event.High, New: 4, Acknowledged: 2}) || got.BySeverity[3].Resolved != 7 {
			t.Errorf("%s: %+v", window, got.BySeverity)
		}
	}
}

// Agents are judged by when they were heard of, and those that need somebody come first.
func TestAgents(t *testing.T) {
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	got := agents([]NodeCoverage{
		{Node: "a", LastTime: now}, {Node: "b", LastTime: now.Add(-quiet), Lost: map[string]uint64{"x": 2, "y": 3}}, {Node: "c", LastTime: now.Add(-quiet - time.Second)}, {Node: "d", LastTime: now.Add(-2 * time.Hour)},
	}, now)
	if got.Live != 2 || got.Late != 1 || got.Silent != 1 || len(got.Items) != 4 {
		t.Fatalf("%+v", got)
	}
	for i, want := range []string{"c", "d", "b", "a"} {
		if got.Items[i].Node != want {
			t.Errorf("number %d is %s, want %s", i, got.Items[i].Node, want)
		}
	}
	if got.Items[2].Lost != 5 {
		t.Errorf("b lost %d", got.Items[2].Lost)
	}
}

// An overview is that of a moment ago but for its findings, until something is decided. It leaves the identities that reports keep, and uses them where they are
// of its window.
func TestSharedOverview(t *testing.T) {
	w := &world{t: t, s: open(t)}
	w.sight("shop", "n1", time.Hour)
	r := New(w.s, nil)
	r.Reuse = time.Hour
	hold(t, r)
	w.sight("cart", "n1", time.Hour)
	later := noon.Add(time.Minute)
	f := func(why string, window time.Duration, now time.Time, identities, open uint64) *Overview {
		t.Helper()
		o, err := r.Overview(t.Context(), now, window)
		if err != nil {
			t.Fatal(err)
		}
		if o.Identities.Total != identities || o.Findings.Open != open {
			t.Errorf("%s: %d identities and %d open findings, want %d and %d", why, o.Identities.Total, o.Findings.Open, identities, open)
		}
		return o
	}
	h, err := r.overviews.read(t.Context(), r.Reuse, listed, later, func(ctx context.Context) (*Overview, *age, error) { return r.overview(ctx, later, listed) })
	if err != nil {
		t.Fatal(err)
	}
	h.until = time.Now().Add(time.Hour) // however long it took to make it
	r.overviews.keep(h)
	if o := f("of what reports keep", listed, later, 1, 0); !o.Coverage.IdentitiesAsOf.Equal(noon) {
		t.Errorf("its identities are of %s, want %s", o.Coverage.IdentitiesAsOf, noon)
	}
	if f("of another window", 7*day, later, 2, 0); r.kept.holds() != 1 || r.kept.fresh(listed, noon, time.Now()) == nil {
		t.Error("it is kept in place of what reports keep")
	}
	id := event.FindingID(account(t, "shop"), "new-reach", event.Resource{})
	found := event.Finding{ID: id, Rule: "new-reach", Title: "new", Severity: event.High, Identity: account(t, "shop"), FirstTime: noon, LastTime: noon, Count: 1, Status: event.StatusNew}
	if err := w.s.InsertFindings(t.Context(), []event.Finding{found}); err != nil {
		t.Fatal(err)
	}
	if o := f("a finding was made", listed, later.Add(time.Second), 1, 1); !o.Until.Equal(later) {
		t.Errorf("it is of %s, want %s", o.Until, later)
	}
	if _, err := w.s.Decide(t.Context(), &event.Verdict{Finding: id, Kind: event.VerdictResolve, At: noon, By: "kim"}); err != nil {
		t.Fatal(err)
	}
	f("it was decided", listed, later.Add(2*time.Second), 2, 0)
}
