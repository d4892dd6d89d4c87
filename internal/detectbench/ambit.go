package main

import (
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/sim"
)

// ambit is the real detector, driven as the collector does: with its defaults, through its exported methods. It is given the declarations of an inventory,
// as a collector that follows the cluster's accounts has them.
type ambit struct {
	detector *detector.Detector
	found    []event.Finding
}

func newAmbit() *ambit { return &ambit{detector: detector.New(detector.Default())} }

func (a *ambit) take(hour []sim.Record, tell func(alert)) {
	for i := range hour {
		r := &hour[i]
		switch {
		case r.Watch != nil:
			a.detector.Cover(r.Watch.Node, r.Watch.Boot, r.Watch.Started, r.Watch.Until)
		case r.Sight != nil:
			a.detector.Sight(r.Sight.Workload, r.Sight.Node, r.At)
		case r.Declaration != nil:
			a.detector.Declare(r.Declaration.Identity, r.Declaration.Created, r.Declaration.Gone)
		case r.Observation != nil:
			a.found = a.detector.Observe(r.Observation, a.found[:0])
			a.tell(r, tell)
		}
	}
	if len(hour) > 0 {
		a.found = a.detector.Pending(a.found[:0])
		a.tell(&hour[len(hour)-1], tell)
	}
}

func (a *ambit) tell(r *sim.Record, tell func(alert)) {
	for i := range a.found {
		f := &a.found[i]
		if f.Status == event.StatusResolved { // it is over by itself
			continue
		}
		key := f.ID
		if !f.Decided.IsZero() { // it was over, and occurs again: somebody has to look once more
			key += f.Decided.String()
		}
		tell(alert{at: r.At, cause: r.Cause, key: key, rule: f.Rule, severity: f.Severity, identity: f.Identity, resource: f.Resource})
	}
}
