package peer

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
)

// ports are those at which a place may be more than it is at others.
func (c *Cluster) ports(pl *place) []Port {
	var ports []Port
	for _, s := range pl.services {
		for i := range s.ports {
			ports = append(ports, s.ports[i].Port)
		}
	}
	for e := range c.meant(pl) {
		for i := range e.slice.ports {
			ports = append(ports, e.slice.ports[i].Port)
		}
	}
	for x := range c.onNode(pl) {
		ports = append(ports, x.hostPorts...)
	}
	slices.SortFunc(ports, comparePorts)
	return slices.Compact(ports)
}

func comparePorts(a, b Port) int {
	return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Protocol, b.Protocol))
}

// meant are the endpoints that still mean who has the address, and not who had it.
func (c *Cluster) meant(pl *place) iter.Seq[end] {
	return func(yield func(end) bool) {
		if len(pl.nodes) == 0 && pl.holder == nil && (pl.state == Contested || pl.vacated) {
			return
		}
		for _, e := range pl.ends {
			if p := e.endpoint().pod; p != (uid{}) && c.behind(e.endpoint()) == nil {
				continue
			}
			if !yield(e) {
				return
			}
		}
	}
}

// onNode are the pods with ports at the addresses of a node.
func (c *Cluster) onNode(pl *place) iter.Seq[*pod] {
	return func(yield func(*pod) bool) {
		if len(pl.nodes) != 1 {
			return
		}
		for _, x := range c.hosts[pl.nodes[0].name] {
			if !yield(x) {
				return
			}
		}
	}
}

// view is what a place is at a port, for who connects to it.
func (c *Cluster) view(pl *place, p Port, v view) view {
	switch s, n := serviceAt(pl.services, p); {
	case n == 1:
		return s
	case n > 1:
		return view{state: Contested}
	}
	var named *service
	var pods []*pod
	ambiguous := false
	for x := range c.onNode(pl) {
		if slices.Contains(x.hostPorts, p) {
			pods = append(pods, x)
		}
	}
	for e := range c.meant(pl) {
		if !slices.ContainsFunc(e.slice.ports, func(x slicePort) bool { return x.Port == p }) {
			continue
		}
		if len(pl.nodes) > 0 {
			if x := c.behind(e.endpoint()); x != nil && !slices.Contains(pods, x) {
				pods = append(pods, x)
			}
		}
		if s := c.services[e.slice.service]; s != nil {
			ambiguous = ambiguous || named != nil && named != s
			named = s
		}
	}
	if len(pods) == 1 {
		v.identity = pods[0].identity.Value()
	}
	if named != nil && !ambiguous {
		v.name, v.node, v.state = named.name, false, Known
	}
	return v
}

// serviceAt gives the view of a service at its own port, and how many services there are.
func serviceAt(services []*service, p Port) (v view, n int) {
	for _, s := range services {
		if i := slices.IndexFunc(s.ports, func(x servicePort) bool { return x.Port == p }); i >= 0 {
			v = view{identity: s.ports[i].shared, name: s.name, state: Known}
			n++
		}
	}
	return v, n
}

// nodePort gives what all nodes are at a NodePort.
func (c *Cluster) nodePort(p Port) (v view, ok bool) {
	services := c.onPorts[p]
	switch len(services) {
	case 0:
		return view{}, false
	case 1:
	default:
		return view{state: Contested}, true
	}
	v = view{name: services[0].name, state: Known}
	for i := range services[0].ports {
		if x := &services[0].ports[i]; x.nodePort == p.Number && x.Protocol == p.Protocol {
			v.identity = x.shared
		}
	}
	return v, true
}

// publish works out what this update changes for Lookup, has it settled, and shows it.
func (c *Cluster) publish(now int64, settle func([]netip.Addr)) {
	for c.vacant.Len() > c.cfg.MaxVacant {
		a, _ := c.vacant.Oldest()
		pl := c.place(a)
		pl.vacated, pl.past = false, nil
		c.vacant.RemoveOldest()
	}
	for _, pl := range c.dirty.places {
		c.hold(pl, now)
		for _, e := range pl.ends {
			c.touchService(e.slice.service)
		}
	}
	for s := range c.dirty.services {
		if c.services[s.key] == s {
			c.share(s)
		}
	}
	faces := map[netip.Addr]*face{}
	var changed []netip.Addr
	for a, pl := range c.dirty.places {
		f, before := c.face(a, pl), c.faces[a]
		if !f.same(before) {
			changed = append(changed, a)
		}
		faces[a] = f
		if pl.empty() {
			delete(c.places, a)
		}
	}
	ports := map[Port]view{}
	for p := range c.dirty.nodePorts {
		v, ok := c.nodePort(p)
		if before, had := c.nodePorts[p]; v == before && ok == had {
			continue
		}
		ports[p] = v
	}
	if len(ports) > 0 {
		changed = c.appendNodes(changed)
	}
	if len(changed) > 0 && settle != nil {
		settle(changed)
	}
	c.show(faces, ports, len(changed) > 0)
	c.clean()
}

// appendNodes adds the addresses of all nodes that are not among some addresses already.
func (c *Cluster) appendNodes(to []netip.Addr) []netip.Addr {
	had := map[netip.Addr]bool{}
	for _, a := range to {
		had[a] = true
	}
	for _, n := range c.nodes {
		for _, a := range n.addresses {
			if !had[a] {
				had[a] = true
				to = append(to, a)
			}
		}
	}
	return to
}

func (c *Cluster) show(faces map[netip.Addr]*face, ports map[Port]view, changed bool) {
	var ranges, clusterIPs []netip.Prefix
	if c.dirty.ranges {
		ranges = c.ranges()
	}
	if c.dirty.vips {
		clusterIPs = c.serviceRanges()
	}
	c.read.Lock()
	defer c.read.Unlock()
	for a, f := range faces {
		if f == nil {
			delete(c.faces, a)
		} else {
			c.faces[a] = f
		}
	}
	for p, v := range ports {
		if v == (view{}) {
			delete(c.nodePorts, p)
		} else {
			c.nodePorts[p] = v
		}
	}
	for key := range c.dirty.aliases {
		name := key.name + "." + key.namespace + ".svc"
		if s := c.services[key]; s != nil && s.externalName != "" {
			c.aliases[name] = s.externalName
		} else {
			delete(c.aliases, name)
		}
	}
	if c.dirty.ranges {
		c.podRanges = ranges
	}
	if c.dirty.vips {
		c.clusterIPs = clusterIPs
	}
	if changed || c.dirty.ranges {
		c.generation++
	}
	c.told = c.counted
	c.gauges = clusterGauges{
		pods: uint64(len(c.pods)), services: uint64(len(c.services)), nodes: uint64(len(c.nodes)), addresses: uint64(len(c.faces)),
		vacant: uint64(c.vacant.Len()), disputed: uint64(len(c.disputed)),
	}
}

// clean forgets what was touched. Go's maps keep the room of what they once held: those of a large update, such as the first, are not kept.
func (c *Cluster) clean() {
	const large = 1024
	if d := &c.dirty; len(d.places) > large || len(d.services) > large {
		*d = dirt{places: map[netip.Addr]*place{}, services: map[*service]bool{}, nodePorts: map[Port]bool{}, aliases: map[objectName]bool{}}
		return
	}
	clear(c.dirty.places)
	clear(c.dirty.services)
	clear(c.dirty.nodePorts)
	clear(c.dirty.aliases)
	c.dirty.ranges, c.dirty.vips = false, false
}
