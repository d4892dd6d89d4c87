// Package world fills a store with a small estate for tests and pictures: three weeks of a simulated cluster as its agents would have told them, the findings
// that the detector makes of them, what people decided, an inventory, and names that mean harm to who shows them.
package world

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/sim"
)

const day = 24 * time.Hour

// World is what was made.
type World struct {
	Findings   []event.Finding    // the latest form of each
	Identities []event.Identity   // that were seen, in order
	Hostile    []event.Finding    // of Findings: those with names that mean harm
	Nodes      []string           //
	Busiest    event.Identity     // it reaches most
	Detector   *detector.Detector // as it is at the end
}

// Options choose how large a world is.
type Options struct {
	Identities int
	Days       int
	Harmless   bool // without the names that mean harm, for pictures
}

// Small is enough for every page to show something.
var Small = Options{Identities: 60, Days: 20}

// Fill makes a world that ends now. The same day gives the same world.
func Fill(ctx context.Context, s *store.Store, now time.Time, o Options) (*World, error) {
	now = now.UTC().Truncate(time.Second)
	p := sim.Default()
	p.Identities, p.MedianRate, p.Repeat = o.Identities, 6, 1
	p.Dormant, p.NeverUsed, p.Deleted = .08, .05, .04
	p.Start = now.Add(-time.Duration(o.Days) * day).Truncate(day)
	for p.Start.Weekday() != time.Monday {
		p.Start = p.Start.Add(-day)
	}
	p.Days = int(now.Sub(p.Start)/day) + 1
	config := detector.Default()
	config.Learn = 4 * day
	f := &filler{
		ctx: ctx, store: s, now: now, detector: detector.New(config), findings: map[string]event.Finding{}, seen: map[string]event.Identity{}, boots: map[string]*store.Coverage{},
		declared: map[string]event.Declaration{}, reached: map[string]map[string]bool{},
	}
	if err := f.play(p); err != nil {
		return nil, err
	}
	if !o.Harmless {
		f.harm()
	}
	return f.finish()
}

// filler is a world in the making.
type filler struct {
	ctx      context.Context
	store    *store.Store
	now      time.Time
	detector *detector.Detector
	rows     []store.ObservationRow
	sights   []store.Sighting
	findings map[string]event.Finding
	seen     map[string]event.Identity
	boots    map[string]*store.Coverage // by node and boot
	declared map[string]event.Declaration
	reached  map[string]map[string]bool
	hostile  []string
	batches  int
	out      []event.Finding
}

func (f *filler) play(p sim.Params) error {
	w, err := sim.New(p)
	if err != nil {
		return fmt.Errorf("make a world: %w", err)
	}
	for r := range w.Records() {
		if r.At.After(f.now) {
			break
		}
		switch {
		case r.Watch != nil:
			f.cover(r.Watch)
		case r.Sight != nil:
			f.detector.Sight(r.Sight.Workload, r.Sight.Node, r.At)
			f.seen[r.Sight.Workload.Identity.String()] = r.Sight.Workload.Identity
			f.sights = append(f.sights, store.Sighting{Workload: *r.Sight.Workload, Node: r.Sight.Node, Time: r.At})
		case r.Declaration != nil:
			f.declared[r.Declaration.Identity.String()] = *r.Declaration
		case r.Observation != nil:
			if err := f.observe(*r.Observation); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *filler) cover(w *sim.Watch) {
	f.detector.Cover(w.Node, w.Boot, w.Started, w.Until)
	key := w.Node + "/" + w.Boot
	if f.boots[key] == nil {
		f.boots[key] = &store.Coverage{Node: w.Node, Boot: w.Boot, Version: "0.9.0", Kernel: "6.12.48", Lost: map[string]uint64{}, Missing: []string{}}
	}
	f.boots[key].From, f.boots[key].Until = w.Started, w.Until
}

func (f *filler) observe(o event.Observation) error {
	f.tell(f.detector.Observe(&o, f.out[:0]))
	id := o.Workload.Identity.String()
	f.seen[id] = o.Workload.Identity
	if f.reached[id] == nil {
		f.reached[id] = map[string]bool{}
	}
	f.reached[id][event.ResourceOf(&o).String()] = true
	f.rows = append(f.rows, store.RowOf(&o, o.Time, uint64(len(f.rows))))
	if len(f.rows) == 50_000 {
		return f.flush()
	}
	return nil
}

func (f *filler) tell(findings []event.Finding) {
	for i := range findings {
		x := findings[i]
		x.Explanation, x.Baseline, x.Advice = slices.Clone(x.Explanation), slices.Clone(x.Baseline), slices.Clone(x.Advice)
		f.findings[x.ID] = x
	}
	f.out = findings[:0]
}

// flush stores observations. Each batch has a token of its own.
func (f *filler) flush() error {
	if len(f.rows) == 0 {
		return nil
	}
	f.batches++
	err := f.store.InsertObservations(f.ctx, fmt.Sprintf("world/%d", f.batches), f.rows)
	f.rows = f.rows[:0]
	return err
}

func (f *filler) finish() (*World, error) {
	out := &World{Detector: f.detector}
	if err := f.flush(); err != nil {
		return nil, err
	}
	for part := range slices.Chunk(f.sights, 50_000) {
		if err := f.store.InsertSightings(f.ctx, part); err != nil {
			return nil, err
		}
	}
	if err := f.declare(); err != nil {
		return nil, err
	}
	if err := f.watch(out); err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(f.findings)) {
		out.Findings = append(out.Findings, f.findings[id])
	}
	if err := f.store.InsertFindings(f.ctx, out.Findings); err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(f.seen)) {
		out.Identities = append(out.Identities, f.seen[id])
		if out.Busiest.IsZero() || len(f.reached[id]) > len(f.reached[out.Busiest.String()]) {
			out.Busiest = f.seen[id]
		}
	}
	for _, id := range f.hostile {
		out.Hostile = append(out.Hostile, f.findings[id])
	}
	return out, f.decide(out)
}

// declare tells the inventory, with owners for most.
func (f *filler) declare() error {
	in := store.Inventory{Source: event.SourceKubernetes, Name: "world", Time: f.now.Add(-time.Hour)}
	for _, id := range slices.Sorted(maps.Keys(f.declared)) {
		d := f.declared[id]
		if !d.Gone.IsZero() && d.Gone.Before(in.Time) {
			continue
		}
		d.Source, d.SourceName, d.Gone = in.Source, in.Name, time.Time{}
		in.Declarations = append(in.Declarations, d)
	}
	_, err := f.store.ReplaceInventory(f.ctx, in)
	return err
}

// watch stores what agents watched. All that are still there are heard of to the end, but one, which has fallen silent, and one that lost events.
func (f *filler) watch(out *World) error {
	last := map[string]*store.Coverage{}
	var all []store.Coverage
	for _, key := range slices.Sorted(maps.Keys(f.boots)) {
		c := f.boots[key]
		if last[c.Node] == nil || c.Until.After(last[c.Node].Until) {
			last[c.Node] = c
		}
	}
	out.Nodes = slices.Sorted(maps.Keys(last))
	for i, node := range out.Nodes {
		c := last[node]
		if f.now.Sub(c.Until) > 2*day {
			continue // it was replaced
		}
		switch i % 4 {
		case 3:
			c.Until = f.now.Add(-7 * time.Hour)
		case 1:
			c.Until, c.Lost = f.now, map[string]uint64{"edges-full": 1280}
			c.Missing = []string{"TLS of programs that were stripped of symbols"}
			c.Gaps = []event.Gap{{Cause: "edges-full", From: f.now.Add(-30 * time.Hour), Until: f.now.Add(-29 * time.Hour), Lost: 1280}}
		default:
			c.Until = f.now
		}
	}
	for _, key := range slices.Sorted(maps.Keys(f.boots)) {
		c := *f.boots[key]
		// Coverage is told every hour, so that a window knows the hours before it.
		for at := c.From.Truncate(time.Hour).Add(time.Hour - time.Second); at.Before(c.Until); at = at.Add(time.Hour) {
			if at.Before(c.From) {
				continue
			}
			part := c
			part.Until, part.Gaps, part.Lost, part.Missing = at, nil, map[string]uint64{}, []string{}
			all = append(all, part)
		}
		all = append(all, c)
	}
	return f.store.InsertCoverage(f.ctx, all)
}

// decide has people decide about a few findings.
func (f *filler) decide(out *World) error {
	for i := range out.Findings {
		x := &out.Findings[i]
		v := event.Verdict{Finding: x.ID, Rule: x.Rule, Identity: x.Identity, Resource: x.Resource, By: "token:alice", At: f.now.Add(-time.Hour)}
		switch i % 9 {
		case 2:
			v.Kind = event.VerdictAcknowledge
		case 5:
			v.Kind, v.Reason = event.VerdictSuppress, "a load test of the platform team"
			v.Until = f.now.Add(20 * day)
		default:
			continue
		}
		if slices.Contains(f.hostile, x.ID) {
			continue
		}
		if _, err := f.store.Decide(f.ctx, &v); err != nil {
			return err
		}
	}
	return nil
}
