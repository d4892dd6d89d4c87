package peer

import (
	"slices"
	"strings"
	"unique"

	"github.com/ambit-nhi/ambit/event"
)

func (c *Cluster) putService(s *Service) {
	key := objectName{s.Namespace, s.Name}
	old := c.services[key]
	var version uint64
	if old != nil {
		old.mark, version = c.mark[KindService], old.version
	}
	switch {
	case !label(s.Namespace) || !label(s.Name):
		c.counted.badObject++
		return
	case c.stale(burial{kind: KindService, name: key}, s.Version, version):
		return
	case old == nil && len(c.services) >= c.cfg.MaxServices:
		c.counted.tooMany++
		return
	}
	name := s.Name + "." + s.Namespace + ".svc"
	x := &service{
		key:  objectName{name[len(s.Name)+1 : len(name)-len(".svc")], name[:len(s.Name)]}, // one string for all
		name: name, cluster: c.addresses(s.ClusterIPs, maxServiceAddresses), external: c.addresses(s.External, maxServiceAddresses),
		externalName: c.externalName(s.ExternalName), version: s.Version, mark: c.mark[KindService],
	}
	for _, p := range clipped(c, s.Ports, maxServicePorts) {
		if len(p.Name) > maxPortName {
			c.counted.badObject++
			continue
		}
		x.ports = append(x.ports, servicePort{name: unique.Make(p.Name), Port: p.Port, nodePort: p.NodePort})
	}
	if old == nil {
		c.services[x.key] = x
		c.touchEndpoints(x.key) // they have a name now
		c.linkService(x)
		return
	}
	c.unlinkService(old)
	x.key, x.name = old.key, old.name
	*old = *x
	c.linkService(old)
}

func (c *Cluster) externalName(s string) string {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	if s == "" {
		return ""
	}
	if !subdomain(s) {
		c.counted.badObject++
		return ""
	}
	return strings.Clone(s)
}

func (c *Cluster) deleteService(s *Service) {
	key := objectName{s.Namespace, s.Name}
	if x := c.services[key]; x != nil && !c.stale(burial{kind: KindService, name: key}, s.Version, x.version) {
		x.version = max(x.version, s.Version)
		c.removeService(x)
	}
}

func (c *Cluster) removeService(x *service) {
	c.unlinkService(x)
	delete(c.services, x.key)
	c.touchEndpoints(x.key)
	c.buried.Put(burial{kind: KindService, name: x.key}, x.version)
}

// touchEndpoints has the addresses behind a service looked at again.
func (c *Cluster) touchEndpoints(service objectName) {
	for _, s := range c.backing[service] {
		for i := range s.endpoints {
			c.place(s.endpoints[i].address)
		}
	}
}

func (c *Cluster) linkService(x *service) {
	for _, a := range x.cluster {
		pl := c.place(a)
		pl.services = append(pl.services, x)
	}
	for _, a := range x.external {
		if pl := c.place(a); !slices.Contains(pl.services, x) {
			pl.services = append(pl.services, x)
		}
	}
	for _, p := range x.ports {
		if at := (Port{p.nodePort, p.Protocol}); p.nodePort != 0 && !slices.Contains(c.onPorts[at], x) {
			c.onPorts[at] = append(c.onPorts[at], x)
			c.dirty.nodePorts[at] = true
		}
	}
	c.dirty.services[x] = true
	c.dirty.aliases[x.key] = true
	c.dirty.vips = true
}

func (c *Cluster) unlinkService(x *service) {
	for _, a := range x.cluster {
		pl := c.place(a)
		pl.services = without(pl.services, x)
	}
	for _, a := range x.external {
		pl := c.place(a)
		pl.services = without(pl.services, x)
	}
	for _, p := range x.ports {
		at := Port{p.nodePort, p.Protocol}
		if left, ok := c.onPorts[at]; ok {
			if left = without(left, x); len(left) == 0 {
				delete(c.onPorts, at)
			} else {
				c.onPorts[at] = left
			}
			c.dirty.nodePorts[at] = true
		}
	}
	c.dirty.aliases[x.key] = true
	c.dirty.vips = true
}

// share works out, for each port of a service, whether all endpoints that take its connections have one identity.
func (c *Cluster) share(s *service) {
	for i := range s.ports {
		p := &s.ports[i]
		if shared := c.shared(s, p); shared != p.shared {
			p.shared = shared
			for _, a := range s.cluster {
				c.place(a)
			}
			for _, a := range s.external {
				c.place(a)
			}
			if p.nodePort != 0 {
				c.dirty.nodePorts[Port{p.nodePort, p.Protocol}] = true
			}
		}
	}
}

// shared is the identity that all endpoints of a port have in common which take connections, or none.
func (c *Cluster) shared(s *service, p *servicePort) event.Identity {
	if c.beyond {
		return event.Identity{}
	}
	var by [ready + 1]struct {
		identity event.Identity
		some     bool
	}
	for _, sl := range c.backing[s.key] {
		if !slices.ContainsFunc(sl.ports, func(x slicePort) bool { return x.name == p.name && x.Protocol == p.Protocol }) {
			continue
		}
		if sl.partial {
			return event.Identity{}
		}
		for i := range sl.endpoints {
			e := &sl.endpoints[i]
			var identity event.Identity
			if x := c.behind(e); x != nil {
				identity = x.identity.Value()
			}
			b := &by[e.use]
			if !b.some {
				b.identity, b.some = identity, true
			} else if b.identity != identity {
				b.identity = event.Identity{}
				if e.use == ready {
					return event.Identity{}
				}
			}
		}
	}
	if by[ready].some {
		return by[ready].identity
	}
	return by[leaving].identity
}
