package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

func insertCoverage(t testing.TB, s *Store, c ...Coverage) {
	t.Helper()
	if err := s.InsertCoverage(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func TestRestore(t *testing.T) {
	s := open(t)
	in := toward(t, checkout, "web.example", noon, event.Counts{Connections: 9})
	in.Direction = event.Inbound
	insertRows(t, s, "a", rowsOf(in, toward(t, checkout, "db.example", noon, event.Counts{Connections: 1}), toward(t, billing, "db.example", noon, event.Counts{Connections: 2})))
	insertRows(t, s, "b", rowsOf(toward(t, checkout, "db.example", noon.Add(time.Hour), event.Counts{Connections: 4})))
	insertCoverage(t, s,
		Coverage{Node: "n2", Boot: "x", From: noon, Until: noon.Add(time.Minute)},
		Coverage{Node: "n1", Boot: "b", From: noon.Add(time.Hour), Until: noon.Add(2 * time.Hour)},
		Coverage{Node: "n1", Boot: "a", From: noon, Until: noon.Add(time.Minute)},
		Coverage{Node: "n1", Boot: "a", From: noon, Until: noon.Add(2 * time.Minute)})
	if err := s.InsertFindings(t.Context(), []event.Finding{finding(t, 1), finding(t, 2)}); err != nil {
		t.Fatal(err)
	}

	var got []string
	tell := func(format string, args ...any) error {
		got = append(got, fmt.Sprintf(format, args...))
		return nil
	}
	after := func(at time.Time) time.Duration { return at.Sub(noon) }
	err := errors.Join(
		s.EachNode(t.Context(), func(node string, spans []Span) error {
			for _, x := range spans {
				tell("node %s %s %s-%s", node, x.Boot, after(x.From), after(x.Until))
			}
			return tell("end %s", node)
		}),
		s.EachIdentity(t.Context(), nil, func(id event.Identity, node string, first time.Time) error {
			return tell("%s %s %s", id, node, after(first))
		}),
		s.EachReach(t.Context(), nil, func(id event.Identity, r event.Resource, first, last time.Time, n uint64) error {
			return tell("%s %s %s-%s %d", id, r, after(first), after(last), n)
		}),
		s.EachFinding(t.Context(), nil, func(f *event.Finding) error { return tell("%s %s", f.Rule, f.Resource) }),
	)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"node n1 a 0s-2m0s", "node n1 b 1h0m0s-2h0m0s", "end n1", "node n2 x 0s-1m0s", "end n2",
		billing + " n1 -10s", checkout + " n1 -10s",
		billing + " dns:db.example:443/tcp -10s-0s 2", checkout + " dns:db.example:443/tcp -10s-1h0m0s 5",
		"new-reach dns:r2.example:443/tcp", "new-reach dns:r1.example:443/tcp",
	}
	if !slices.Equal(got, want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}

	got = nil
	only := func(id event.Identity) bool {
		got = append(got, "asked for "+id.String())
		return id.String() == billing
	}
	err = errors.Join(
		s.EachIdentity(t.Context(), only, func(id event.Identity, node string, first time.Time) error { return tell("%s", id) }),
		s.EachReach(t.Context(), only, func(id event.Identity, r event.Resource, _, _ time.Time, n uint64) error {
			return tell("%s %s %d", id, r, n)
		}),
		s.EachFinding(t.Context(), func(id event.Identity) bool { return id.String() == billing }, func(f *event.Finding) error { return tell("%s", f.ID) }),
	)
	want = []string{
		"asked for " + billing, billing, "asked for " + checkout,
		"asked for " + billing, billing + " dns:db.example:443/tcp 2", "asked for " + checkout,
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("with a filter, %v:\n got %q\nwant %q", err, got, want)
	}

	stop := errors.New("stop")
	for i, err := range []error{
		s.EachNode(t.Context(), func(string, []Span) error { return stop }),
		s.EachIdentity(t.Context(), nil, func(event.Identity, string, time.Time) error { return stop }),
		s.EachReach(t.Context(), nil, func(event.Identity, event.Resource, time.Time, time.Time, uint64) error { return stop }),
		s.EachFinding(t.Context(), nil, func(*event.Finding) error { return stop }),
	} {
		if !errors.Is(err, stop) {
			t.Errorf("stream %d ends with %v, want the visitor's error", i, err)
		}
	}
}

func TestWatched(t *testing.T) {
	s := open(t)
	h := event.Heartbeat{Node: "n1", Boot: "a", Started: noon.Add(-100 * time.Hour), Time: noon.Add(-2 * time.Hour), Version: "1", Kernel: "6.1",
		Lost: map[string]uint64{"ring": 5, "spool": 1}, Missing: []string{"tls"}}
	for range 2 {
		insertCoverage(t, s, CoverageOf(&h))
	}
	h.Time, h.Missing = noon, nil
	h.Lost = map[string]uint64{"ring": 7, "spool": 1, "names": 2}
	insertCoverage(t, s, CoverageOf(&h),
		Coverage{Node: "n1", Boot: "a", From: h.Started, Until: noon.Add(10 * time.Second)}, // a batch: it knows of no losses
		Coverage{Node: "n0", Boot: "z", From: noon.Add(-300 * time.Hour), Until: noon.Add(-200 * time.Hour)})

	got, err := s.Watched(t.Context(), noon.Add(-time.Hour))
	if err != nil || len(got) != 1 {
		t.Fatalf("%+v %v, want one", got, err)
	}
	w := got[0]
	if !w.From.Equal(h.Started) || !w.Until.Equal(noon.Add(10*time.Second)) || w.Version != "1" || w.Kernel != "6.1" || len(w.Missing) != 0 ||
		!maps.Equal(w.Lost, map[string]uint64{"ring": 2, "names": 2}) {
		t.Errorf("%+v", w)
	}
	if got, err = s.Watched(t.Context(), noon.Add(-1000*time.Hour)); err != nil || len(got) != 2 || got[1].Lost["ring"] != 7 || !slices.Equal(got[1].Missing, []string{"tls"}) {
		t.Errorf("%+v %v, want both nodes and all losses", got, err)
	}
	for hours, want := range map[int]int{1: 1, 199: 1, 1000: 0} {
		if n, err := s.SilentNodes(t.Context(), noon.Add(-time.Duration(hours)*time.Hour)); err != nil || n != want {
			t.Errorf("%d silent nodes in %d hours, %v, want %d", n, hours, err, want)
		}
	}
}
