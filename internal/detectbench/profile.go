package main

import (
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/sim"
)

// profile is the plain rule of container security: what a container's image reaches within 24 hours of its start is its profile, what it reaches later and is not in it is
// an alert. A new image is a new profile. Private addresses are exempt, since pods come and go.
type profile struct {
	since map[container]time.Time
	seen  map[reached]bool
}

// container is what profiles are kept of; a unit stands for itself.
type container struct {
	namespace, owner, image, unit string
}

type reached struct {
	container
	to   string // a name, else an address
	port uint16
}

const profileTime = 24 * time.Hour

func newProfile() *profile {
	return &profile{since: map[container]time.Time{}, seen: map[reached]bool{}}
}

func private(a netip.Addr) bool { return !a.IsValid() || a.IsPrivate() || a.IsLoopback() }

func (p *profile) take(hour []sim.Record, tell func(alert)) {
	for i := range hour {
		o := hour[i].Observation
		if o == nil || o.Direction != event.Outbound {
			continue
		}
		c := container{o.Workload.Namespace, o.Workload.Owner, o.Workload.Image, o.Workload.Unit + o.Node}
		if c.image != "" {
			c.unit = ""
		}
		since, known := p.since[c]
		if !known {
			since = o.First()
			p.since[c] = since
		}
		if private(o.Peer.Address) {
			continue
		}
		r := reached{c, o.Peer.Name, o.Peer.Port}
		if r.to == "" {
			r.to = o.Peer.Address.String()
		}
		if p.seen[r] {
			continue
		}
		p.seen[r] = true
		if o.First().Sub(since) >= profileTime {
			to := event.ResourceOf(o)
			tell(alert{
				at: hour[i].At, cause: hour[i].Cause, key: c.image + event.FindingID(o.Workload.Identity, "profile", to), rule: "profile", severity: event.Medium, identity: o.Workload.Identity, resource: to,
			})
		}
	}
}
