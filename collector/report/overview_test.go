package report

import (
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
