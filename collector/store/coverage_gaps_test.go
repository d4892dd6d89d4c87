package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

func gap(cause string, from, until time.Duration, lost uint64) event.Gap {
	return event.Gap{Cause: cause, From: noon.Add(-from), Until: noon.Add(-until), Lost: lost}
}

func (g Gap) brief() string {
	hourly := ""
	if g.Hourly {
		hourly = " hourly"
	}
	return fmt.Sprintf("%s %s %s-%s %d%s", g.Node, g.Cause, noon.Sub(g.From), noon.Sub(g.Until), g.Lost, hourly)
}

func wantGaps(t *testing.T, s *Store, since time.Time, want ...string) {
	t.Helper()
	gaps, err := s.Gaps(t.Context(), since, []string{"tag-lost", "tls-"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range gaps {
		got = append(got, g.brief())
	}
	if !slices.Equal(got, want) {
		t.Errorf("since %s:\n got %q\nwant %q", noon.Sub(since), got, want)
	}
}

func cover(t *testing.T, s *Store, coverage ...Coverage) {
	t.Helper()
	for range 2 { // a repetition changes nothing
		if err := s.InsertCoverage(t.Context(), coverage); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGaps(t *testing.T) {
	s := open(t)
	const h = time.Hour
	at := func(boot string, until time.Duration, gaps ...event.Gap) Coverage {
		return Coverage{Node: "n1", Boot: boot, From: noon.Add(-20 * h), Until: noon.Add(-until), Gaps: gaps}
	}
	wantGaps(t, s, noon.Add(-10*h))
	cover(t, s, at("a", 8*h, gap("spool-full", 9*h, 8*h, 5), gap("clock", 10*h, 9*h, 0)))
	cover(t, s, at("a", 7*h, gap("spool-full", 9*h, 7*h, 9)))     // it went on
	cover(t, s, at("a", 7*h, gap("spool-full", 9*h, 8*h, 5)))     // a late message that says less
	cover(t, s, at("b", 6*h, gap("spool-full", 9*h, 7*h, 9)))     // of another start
	cover(t, s, at("b", 6*h, gap("spool-full", 500*day, 5*h, 1))) // longer than anything is kept
	cover(t, s, at("b", 6*h, gap("api-away", 500*day, 450*day, 0)))
	oldest := fmt.Sprintf("n1 spool-full %s-5h0m0s 1", noon.Sub(noon.Add(-6*h-keptCoverage).Truncate(30*day)))
	wantGaps(t, s, noon.Add(-10*h), oldest, "n1 clock 10h0m0s-9h0m0s 0", "n1 spool-full 9h0m0s-7h0m0s 9")
	wantGaps(t, s, noon.Add(-9*h), oldest, "n1 spool-full 9h0m0s-7h0m0s 9") // what ended then is none
	wantGaps(t, s, noon)

	for name, g := range map[string]event.Gap{"no cause": gap("", h, 0, 0), "backwards": gap("clock", 0, h, 0), "far ahead": gap("clock", 0, -80*365*day, 0)} {
		if err := s.InsertCoverage(t.Context(), []Coverage{at("a", h, g)}); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTooManyGaps: what is left out is told as one gap that holds all of it.
func TestTooManyGaps(t *testing.T) {
	s := open(t)
	c := Coverage{Node: "n1", Boot: "a", From: noon.Add(-day), Until: noon}
	for i := range 5 {
		c.Gaps = append(c.Gaps, gap("ring", time.Duration(9-i)*time.Hour, time.Duration(8-i)*time.Hour, 1))
	}
	c.Gaps = append(c.Gaps, gap("long", 10*time.Hour, 6*time.Hour, 1))
	other := Coverage{Node: "n2", Boot: "a", From: noon.Add(-day), Until: noon, Gaps: []event.Gap{gap("ring", time.Hour, 0, 1)}}
	cover(t, s, c, other)
	gaps, err := s.toldGaps(t.Context(), noon.Add(-12*time.Hour), 2)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range gaps {
		got = append(got, g.brief())
	}
	want := []string{"n1 ring 5h0m0s-4h0m0s 1", "n1 ring 6h0m0s-5h0m0s 1", "n1 many 12h0m0s-6h0m0s 1", "n2 ring 1h0m0s-0s 1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestHourlyGaps: where only counters tell of a loss, it was in the hour in which they grew.
func TestHourlyGaps(t *testing.T) {
	s := open(t)
	beat := func(node, boot string, before time.Duration, lost map[string]uint64, gaps ...event.Gap) Coverage {
		return Coverage{Node: node, Boot: boot, From: noon.Add(-30 * time.Hour), Until: noon.Add(-before), Lost: lost, Gaps: gaps}
	}
	const m = time.Minute
	cover(t, s,
		beat("n1", "a", 29*time.Hour, map[string]uint64{"stream": 3}),
		beat("n1", "a", 150*m, map[string]uint64{"tag-lost": 3, "tag-lost#1": 3, "tls-ring-full": 4}), // not asked for
		beat("n1", "a", 190*m, map[string]uint64{"stream": 3}),
		beat("n1", "a", 170*m, map[string]uint64{"stream": 5}), // in the hour from 09:00
		beat("n1", "a", 160*m, map[string]uint64{"stream": 6}),
		beat("n1", "a", 100*m, map[string]uint64{"stream": 6}),
		beat("n1", "a", 30*m, map[string]uint64{"stream": 10, "edges-full": 1}),
		beat("n1", "b", 20*m, map[string]uint64{"stream": 2}),
		beat("n2", "a", 20*m, map[string]uint64{"spool-full": 7, "stream#3": 1, "stream#15": 5, "zero": 0}, gap("spool-full", 25*m, 22*m, 7)),
		beat("n2", "b", 20*m, map[string]uint64{"spool-full": 4}), // this start told no gap
	)
	wantGaps(t, s, noon.Add(-5*time.Hour),
		"n1 stream 3h1m0s-2h0m0s 3 hourly", "n1 edges-full 1h1m0s-0s 1 hourly", "n1 stream 1h1m0s-0s 4 hourly", "n1 stream 1h1m0s-0s 2 hourly",
		"n2 spool-full 1h1m0s-0s 4 hourly", "n2 stream 1h1m0s-0s 5 hourly", "n2 stream 1h1m0s-0s 1 hourly", "n2 spool-full 25m0s-22m0s 7")
	wantGaps(t, s, noon.Add(-time.Hour), "n1 edges-full 1h1m0s-0s 1 hourly", "n1 stream 1h1m0s-0s 4 hourly", "n1 stream 1h1m0s-0s 2 hourly",
		"n2 spool-full 1h1m0s-0s 4 hourly", "n2 stream 1h1m0s-0s 5 hourly", "n2 stream 1h1m0s-0s 1 hourly", "n2 spool-full 25m0s-22m0s 7")
	watched, err := s.Watched(t.Context(), noon.Add(-time.Hour))
	if err != nil || len(watched) != 4 {
		t.Fatalf("%+v %v", watched, err)
	}
	if n := watched[2].Lost; n["stream"] != 6 || n["spool-full"] != 7 {
		t.Errorf("n2 lost %v, want what the partitions lost together", n)
	}
}

// TestHeartbeatGaps: what a heartbeat tells is what is stored.
func TestHeartbeatGaps(t *testing.T) {
	s := open(t)
	told := []event.Gap{gap("api-away", time.Hour, 30*time.Minute, 0), gap("spool-full", 2*time.Hour, time.Hour, 12)}
	h := &event.Heartbeat{Node: "n1", Boot: "a", Started: noon.Add(-day), Time: noon, Gaps: told}
	data, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if h, err = event.DecodeHeartbeat(data); err != nil {
		t.Fatal(err)
	}
	cover(t, s, CoverageOf(h))
	wantGaps(t, s, noon.Add(-day), "n1 spool-full 2h0m0s-1h0m0s 12", "n1 api-away 1h0m0s-30m0s 0")
}

// TestUnusedLived: where an identity ran decides who must have watched.
func TestUnusedLived(t *testing.T) {
	s := open(t)
	sight := func(name, node string, before time.Duration) {
		w := event.Workload{Identity: identity(t, "spiffe://shop.example/ns/shop/sa/"+name), Evidence: event.EvidenceKubernetes}
		if err := s.InsertSightings(t.Context(), []Sighting{{Workload: w, Node: node, Time: noon.Add(-before)}}); err != nil {
			t.Fatal(err)
		}
	}
	sight("moved", "n1", 60*day)
	sight("moved", "n2", 50*day)
	sight("running", "n1", 60*day)
	for i := range 10 {
		sight("running", fmt.Sprint("x", i), time.Hour)
	}
	found, err := s.Population(t.Context(), noon.Add(-30*day), noon, true)
	if err != nil || len(found) != 2 {
		t.Fatalf("%+v %v", found, err)
	}
	if got := found[0].Lived; !slices.Equal(got, []string{"n2"}) {
		t.Errorf("moved lived on %q", got)
	}
	if got := found[1].Lived; len(got) != 10 || got[0] != "x0" || got[9] != "x9" {
		t.Errorf("running lived on %q", got)
	}
}
