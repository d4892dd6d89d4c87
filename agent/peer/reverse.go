package peer

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Reached is where something is reached. Without a port, it is at all but those that are somebody else's.
type Reached struct {
	Address  netip.Addr
	Port     uint16
	Protocol uint8
}

// Reached gives where identities are reached that match: their own addresses, and those of services that lead to them alone. What is contested is not among
// them. It goes through all addresses.
func (c *Cluster) Reached(match func(event.Identity) bool) []Reached {
	return c.where(func(v view) bool { return !v.identity.IsZero() && v.state == Known && match(v.identity) })
}

// ServiceAt gives where a service is reached, by its name and namespace, as db.shop: its own addresses, and its ports at the pods behind it, to which the
// network or a name leads.
func (c *Cluster) ServiceAt(name string) []Reached {
	return c.where(func(v view) bool { return !v.node && strings.TrimSuffix(v.name, ".svc") == name })
}

func (c *Cluster) where(match func(view) bool) (out []Reached) {
	c.read.RLock()
	defer c.read.RUnlock()
	for a, f := range c.faces {
		if match(f.outbound.Value()) {
			out = append(out, Reached{Address: a})
		}
		for _, p := range f.ports {
			if match(p.view.Value()) {
				out = append(out, Reached{a, p.Number, p.Protocol})
			}
		}
		if f.node {
			for p, v := range c.nodePorts {
				if match(v) {
					out = append(out, Reached{a, p.Number, p.Protocol})
				}
			}
		}
	}
	return out
}

// From gives the addresses that connections of such identities come from, and of nobody else.
func (c *Cluster) From(match func(event.Identity) bool) (out []netip.Addr) {
	c.read.RLock()
	defer c.read.RUnlock()
	for a, f := range c.faces {
		if v := f.inbound.Value(); !v.identity.IsZero() && v.state == Known && match(v.identity) {
			out = append(out, a)
		}
	}
	return out
}

// Addresses gives the addresses that cgroups were told for a name, as far as that is still good at a time.
func (n *Names) Addresses(name string, cgroups []uint64, at time.Time) (out []netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, cgroup := range cgroups {
		t := n.cgroups.Get(cgroup)
		if t == nil {
			continue
		}
		for a, e := range (*t).addresses.All() {
			if e.name == name && at.Sub(e.last) <= e.good && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}
