package main

import (
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/sim"
)

// firstSeen is the plain rule of security products: an identity that has been known for 14 days reaches what it never reached. Products forget what is older than their
// window and tell it again; this one never forgets, which spares it false alerts.
type firstSeen struct {
	since map[event.Identity]time.Time
	seen  map[edge]bool
}

type edge struct {
	identity event.Identity
	resource event.Resource
}

const history = 14 * 24 * time.Hour

func newFirstSeen() *firstSeen {
	return &firstSeen{since: map[event.Identity]time.Time{}, seen: map[edge]bool{}}
}

func (f *firstSeen) take(hour []sim.Record, tell func(alert)) {
	for i := range hour {
		o := hour[i].Observation
		if o == nil || o.Direction != event.Outbound {
			continue
		}
		id := o.Workload.Identity
		since, known := f.since[id]
		if !known {
			since = o.First()
			f.since[id] = since
		}
		e := edge{id, event.ResourceOf(o)}
		if f.seen[e] {
			continue
		}
		f.seen[e] = true
		if o.First().Sub(since) >= history {
			tell(alert{at: hour[i].At, cause: hour[i].Cause, key: event.FindingID(id, "first-seen", e.resource), rule: "first-seen", severity: event.Medium, identity: id, resource: e.resource})
		}
	}
}
