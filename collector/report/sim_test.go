package report

import (
	"slices"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/sim"
)

// observed is what happened to one identity, from the records alone.
type observed struct {
	seen, lastSeen, used time.Time
	declared, gone       time.Time
	nodes                map[string]time.Time // last seen running there
}

// estateOf plays a simulation into a store, and notes the truth beside it. Agents watch all the time.
func estateOf(t *testing.T, s *store.Store, p sim.Params) map[string]*observed {
	t.Helper()
	truth := map[string]*observed{}
	of := func(id event.Identity) *observed {
		if truth[id.String()] == nil {
			truth[id.String()] = &observed{nodes: map[string]time.Time{}}
		}
		return truth[id.String()]
	}
	var rows []store.ObservationRow
	var sightings []store.Sighting
	declarations := map[string]event.Declaration{}
	watched := map[string]bool{}
	flush := func() {
		if err := s.InsertObservations(t.Context(), "sim/"+rows[0].Time.String()+rows[0].Identity, rows); err != nil {
			t.Fatal(err)
		}
		rows = nil
	}
	last := p.Start.Add(time.Duration(p.Days) * day)
	see := func(id event.Identity, node string, at time.Time) {
		o := of(id)
		if o.seen.IsZero() || at.Before(o.seen) {
			o.seen = at
		}
		if at.After(o.lastSeen) {
			o.lastSeen = at
		}
		if at.After(o.nodes[node]) {
			o.nodes[node] = at
		}
	}
	w, err := sim.New(p)
	if err != nil {
		t.Fatal(err)
	}
	for r := range w.Records() {
		switch {
		case r.Observation != nil:
			o := *r.Observation
			from := o.FirstTime
			if from.IsZero() {
				from = o.Time
			}
			see(o.Workload.Identity, o.Node, from)
			see(o.Workload.Identity, o.Node, o.Time)
			if x := of(o.Workload.Identity); o.Time.After(x.used) {
				x.used = o.Time
			}
			rows = append(rows, store.RowOf(&o, last, uint64(len(rows))))
			if len(rows) == 100_000 {
				flush()
			}
		case r.Sight != nil:
			see(r.Sight.Workload.Identity, r.Sight.Node, r.At)
			sightings = append(sightings, store.Sighting{Workload: *r.Sight.Workload, Node: r.Sight.Node, Time: r.At})
		case r.Watch != nil:
			watched[r.Watch.Node] = true
		case r.Declaration != nil:
			d := *r.Declaration
			o := of(d.Identity)
			if o.declared.IsZero() {
				o.declared = r.At
				if !d.Created.IsZero() && d.Created.Before(o.declared) {
					o.declared = d.Created
				}
			}
			o.gone = d.Gone
			declarations[d.Identity.String()] = d
		}
	}
	if len(rows) > 0 {
		flush()
	}
	for part := range slices.Chunk(sightings, 50_000) {
		if err := s.InsertSightings(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	declare(t, s, p.Start, declarations)
	var coverage []store.Coverage
	for node := range watched { // the whole time, whatever the simulation says of restarts
		coverage = append(coverage, store.Coverage{Node: node, Boot: "a", From: p.Start.Add(-day), Until: last})
	}
	if err := s.InsertCoverage(t.Context(), coverage); err != nil {
		t.Fatal(err)
	}
	return truth
}

// declare tells an inventory twice: all of it at the beginning, and what is left of it when each is gone.
func declare(t *testing.T, s *store.Store, start time.Time, all map[string]event.Declaration) {
	t.Helper()
	told := func(at time.Time) {
		in := store.Inventory{Source: event.SourceKubernetes, Name: "sim", Time: at}
		for _, d := range all {
			if gone := d.Gone; gone.IsZero() || gone.After(at) {
				d.Source, d.SourceName, d.Gone = event.SourceKubernetes, "sim", time.Time{}
				in.Declarations = append(in.Declarations, d)
			}
		}
		if _, err := s.ReplaceInventory(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	times := []time.Time{start}
	for _, d := range all {
		if !d.Gone.IsZero() {
			times = append(times, d.Gone)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	for _, at := range slices.Compact(times) {
		told(at)
	}
}

// want is the class that an identity must have, from the truth alone; "" is none.
func (o *observed) want(from time.Time) string {
	retired := !o.gone.IsZero()
	switch {
	case retired && o.lastSeen.After(o.gone.Add(time.Hour)) && !o.lastSeen.Before(from):
		return store.ClassRetired
	case !retired && o.seen.IsZero() && o.declared.Before(from):
		return store.ClassDeclared
	case o.seen.IsZero() || !o.seen.Before(from) || !o.used.Before(from):
		return ""
	case retired:
		return store.ClassOrphaned
	case o.used.IsZero():
		return store.ClassNever
	}
	return store.ClassDormant
}

// concerned says whether it may have been used where nobody looked: where it ran in the window, or else where it ran last. All nodes together were watched well.
func (o *observed) concerned(from time.Time, blind string) bool {
	last := ""
	for node, at := range o.nodes {
		if node == blind && !at.Before(from) {
			return true
		}
		if last == "" || at.After(o.nodes[last]) || at.Equal(o.nodes[last]) && node > last {
			last = node
		}
	}
	return last == blind && last != "" && o.lastSeen.Before(from)
}

func simulated() sim.Params {
	p := sim.Default()
	p.Identities, p.Days, p.Calm, p.MedianRate = 120, 14, true, 1
	p.Dormant, p.NeverUsed, p.Deleted = .1, .06, .06
	return p
}

// TestUnusedAgainstSimulation: where all was watched, precisely those are unused that are; with a gap, of precisely those that the gap concerns nothing can
// be told.
func TestUnusedAgainstSimulation(t *testing.T) {
	p := simulated()
	now, window := p.Start.Add(time.Duration(p.Days)*day), 5*day
	from := now.Add(-window)
	s := open(t)
	truth := estateOf(t, s, p)
	blind := ""
	for _, o := range truth { // a node that somebody who is unused ran on
		if o.want(from) == store.ClassDormant {
			for node := range o.nodes {
				blind = max(blind, node)
			}
		}
	}
	f := func(blind string, told int) {
		t.Helper()
		got, err := New(s, nil).Unused(t.Context(), now, UnusedQuery{Window: window, Limit: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		if (got.Coverage.Watched == 100) != (blind == "") {
			t.Fatalf("watched %v%%", got.Coverage.Watched)
		}
		all, right, untold, classes := 0, 0, 0, map[string]int{}
		for _, o := range truth {
			if o.want(from) != "" {
				all++
			}
		}
		for _, u := range got.Items {
			o := truth[u.Identity.String()]
			if o == nil || o.want(from) != u.Class {
				t.Errorf("%s is %s; the truth is %+v", u.Identity, u.Class, o)
				continue
			}
			want := VerdictUnused
			switch {
			case u.Class == store.ClassRetired:
				want = VerdictActive
			case o.concerned(from, blind):
				want = VerdictCannotTell
				untold++
			}
			if u.Verdict != want {
				t.Errorf("%s is %s (%s), want %s; the truth is %+v", u.Identity, u.Verdict, u.Reason, want, o)
			}
			right++
			classes[u.Class]++
		}
		t.Logf("of %d identities %d are unused; %d listed, %d right: %v; of %d it cannot be told", len(truth), all, len(got.Items), right, classes, untold)
		if right != all || all < 10 || len(classes) < 3 || (untold > 0) != (blind != "") || right-untold < told {
			t.Errorf("%d of %d, %v, untold %d", right, all, classes, untold)
		}
	}
	f("", 10)
	// Two hours of five days are more than a hundredth of one node's time, and less of all nodes'.
	gap := event.Gap{Cause: "spool-full", From: from.Add(day), Until: from.Add(day + 2*time.Hour), Lost: 1}
	err := s.InsertCoverage(t.Context(), []store.Coverage{{Node: blind, Boot: "a", From: p.Start.Add(-day), Until: now, Gaps: []event.Gap{gap}}})
	if err != nil {
		t.Fatal(err)
	}
	f(blind, 5)
}
