package main

import (
	"context"
	"time"

	"github.com/ambit-nhi/ambit/internal/sim"
)

// results are those of all seeds.
type results struct {
	params sim.Params // of the first seed
	runs   []*run
	traces []*trace
}

// run is one seed.
type run struct {
	seed         uint64
	observations int
	made         time.Duration // making the records
	attacks      []sim.Attack
	scores       [contestants]*score
	counters     map[string]uint64
	gauges       map[string]uint64
}

// runSeed gives the same records to all contestants, hour by hour.
func runSeed(ctx context.Context, p sim.Params) (*run, error) {
	s, err := sim.New(p)
	if err != nil {
		return nil, err
	}
	r := &run{seed: p.Seed, attacks: s.Attacks()}
	all := newContestants()
	for i := range all {
		r.scores[i] = newScore(s)
	}
	mark := time.Now()
	for hour := range s.Hours() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for i := range hour {
			if hour[i].Observation != nil {
				r.observations++
			}
		}
		r.made += time.Since(mark)
		for i, c := range all {
			begin := time.Now()
			c.take(hour, r.scores[i].take)
			r.scores[i].elapsed += time.Since(begin)
		}
		mark = time.Now()
	}
	d := all[theDetector].(*ambit).detector
	r.counters, r.gauges = d.Counters(), d.Gauges()
	return r, nil
}
