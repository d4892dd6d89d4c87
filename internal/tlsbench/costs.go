package main

import (
	"cmp"
	"slices"

	"github.com/ambit-nhi/ambit/bpf"
)

// programCosts lets the kernel measure each program of an agent that watches TLS, which itself costs: these figures are not in the ratios.
func (s *stage) programCosts(loads []*load, o options) (costs [][]cost, err error) {
	a, err := s.startAgent(o.binary, true)
	if err != nil {
		return nil, err
	}
	defer func() {
		if stopped := a.stop(); err == nil {
			err = stopped
		}
	}()
	measuring, err := bpf.MeasureCost()
	if err != nil {
		return nil, err
	}
	defer measuring.Close()
	for _, l := range loads {
		before, err := bpf.CostsOf(a.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		f, err := l.run()
		if err != nil {
			return nil, err
		}
		after, err := bpf.CostsOf(a.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		costs = append(costs, difference(before, after, f.n))
	}
	return costs, nil
}

// cost is what a program takes of one operation of a load.
type cost struct {
	name string
	runs float64
	ns   float64 // of one run
}

// difference of what n operations took, of programs that ran.
func difference(before, after []bpf.ProgramCost, n int) (costs []cost) {
	was := map[string]bpf.ProgramCost{}
	for _, c := range before {
		was[c.Name] = c
	}
	for _, c := range after {
		if runs := c.Runs - was[c.Name].Runs; runs > 0 {
			costs = append(costs, cost{c.Name, float64(runs) / float64(n), float64(c.RunTime-was[c.Name].RunTime) / float64(runs)})
		}
	}
	slices.SortStableFunc(costs, func(a, b cost) int { return cmp.Compare(b.runs*b.ns, a.runs*a.ns) })
	return costs
}
