package main

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

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
	made         time.Duration // processor time of making the records
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
	mark := processor()
	for hour := range s.Hours() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for i := range hour {
			if hour[i].Observation != nil {
				r.observations++
			}
		}
		r.made += processor() - mark
		for i, c := range all {
			begin := processor()
			c.take(hour, r.scores[i].take)
			r.scores[i].elapsed += processor() - begin
		}
		mark = processor()
	}
	d := all[theDetector].(*ambit).detector
	r.counters, r.gauges = d.Counters(), d.Gauges()
	return r, nil
}

// processor is the processor time of this process: other work on the machine does not count.
func processor() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err) // it fails for wrong arguments alone
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
