package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// The states that loads run in.
const (
	alone    = iota // no agent
	plainly         // one that does not watch TLS
	watching        // one that does
	states
)

// results of rounds. Ratios are of the time that operations took of a processor, by loads.
type results struct {
	rounds           int
	cpu              map[string][]float64         // ns each, alone
	rate             map[string][]float64         // per second of the clock, alone
	control          map[string][]float64         // nothing against nothing
	off              map[string][]float64         // an agent that does not watch TLS against none
	on               map[string][]float64         // one that does against none
	tls              map[string][]float64         // one that does against one that does not
	all              [states]map[string][]float64 // ns each, in all runs
	clock            map[string][]float64         // the same as on, by the clock
	agent            [states][]float64            // part of a processor that the agent took meanwhile
	made, told, full float64                      // ends of handshakes while they were watched, and those of them that were told, with certificates
	lost             map[string]uint64
}

// run is one of each load.
type run struct {
	figures []figure
	agent   float64
}

func (s *stage) compare(loads []*load, o options) (*results, error) {
	r := &results{rounds: o.rounds, lost: map[string]uint64{}}
	for _, m := range []*map[string][]float64{&r.cpu, &r.rate, &r.control, &r.off, &r.on, &r.tls, &r.clock} {
		*m = map[string][]float64{}
	}
	for i := range r.all {
		r.all[i] = map[string][]float64{}
	}
	if o.rounds == 0 {
		return r, nil
	}
	first, err := s.once(loads, o, alone, r)
	if err != nil {
		return nil, err
	}
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "%s round %d of %d\n", time.Now().Format(time.TimeOnly), round+1, o.rounds)
		var runs [4]run
		for i, state := range []int{plainly, alone, watching, alone} {
			if runs[i], err = s.once(loads, o, state, r); err != nil {
				return nil, err
			}
		}
		without, between, with, last := runs[0], runs[1], runs[2], runs[3]
		for i, l := range loads {
			cpu := func(x run) float64 { return x.figures[i].each() }
			clock := func(x run) float64 { return float64(x.figures[i].wall) / float64(x.figures[i].n) }
			off := cpu(without) / ((cpu(first) + cpu(between)) / 2)
			on := cpu(with) / ((cpu(between) + cpu(last)) / 2)
			r.cpu[l.name] = append(r.cpu[l.name], cpu(between))
			r.rate[l.name] = append(r.rate[l.name], 1e9/clock(between))
			r.control[l.name] = append(r.control[l.name], cpu(between)/((cpu(first)+cpu(last))/2))
			r.off[l.name] = append(r.off[l.name], off)
			r.on[l.name] = append(r.on[l.name], on)
			r.tls[l.name] = append(r.tls[l.name], on/off) // each against its own neighbours: drift cancels out
			r.clock[l.name] = append(r.clock[l.name], clock(with)/((clock(between)+clock(last))/2))
		}
		r.agent[plainly] = append(r.agent[plainly], without.agent)
		r.agent[watching] = append(r.agent[watching], with.agent)
		first = last
	}
	return r, nil
}

// once runs each load once in a state.
func (s *stage) once(loads []*load, o options, state int, r *results) (out run, err error) {
	if s.ctx.Err() != nil {
		return out, s.ctx.Err()
	}
	var a *agent
	if state != alone {
		if a, err = s.startAgent(o.binary, state == watching); err != nil {
			return out, err
		}
		defer func() {
			if stopped := a.stop(); err == nil {
				err = stopped
			}
		}()
	}
	var before map[string]uint64
	if state == watching {
		if _, err := a.seen(); err != nil {
			return out, err
		}
		before = s.told.provenances()
	}
	var took time.Duration
	if a != nil {
		if took, err = a.group.cpu(); err != nil {
			return out, err
		}
	}
	start := time.Now()
	for _, l := range loads {
		f, err := l.run()
		if err != nil {
			return out, fmt.Errorf("%s: %w", l.name, err)
		}
		out.figures = append(out.figures, f)
		r.all[state][l.name] = append(r.all[state][l.name], f.each())
	}
	if a == nil {
		return out, nil
	}
	end, err := a.group.cpu()
	if err != nil {
		return out, err
	}
	out.agent = float64(end-took) / float64(time.Since(start))
	if state != watching {
		return out, nil
	}
	h, err := a.seen()
	if err != nil {
		return out, err
	}
	for i, l := range loads {
		if l.handshakes {
			r.made += 2 * float64(out.figures[i].n)
		}
	}
	now := s.told.provenances()
	for how, n := range now {
		r.told += float64(n - before[how])
	}
	r.full += float64(now["full"] - before["full"])
	for cause, n := range h.Lost { // of this agent's life
		if strings.HasPrefix(cause, "tls-") || strings.HasPrefix(cause, "hello-") {
			r.lost[cause] += n
		}
	}
	return out, nil
}
