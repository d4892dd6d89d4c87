package peer

import (
	"net/netip"
	"slices"
)

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
	news := c.dirty.ranges || len(c.dirty.unhoused) > 0
	for a, pl := range c.dirty.places {
		f, before := c.face(a, pl), c.faces[a]
		if !f.same(before) {
			changed = append(changed, a)
		} else if f != nil && (!slices.Equal(f.claims, before.claims) || f.told != before.told) {
			news = true // for who asks for the past
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
	c.show(faces, ports, news || len(changed) > 0)
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

func (c *Cluster) show(faces map[netip.Addr]*face, ports map[Port]view, news bool) {
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
	for a, pl := range c.dirty.places {
		if pods := len(pl.pods) > 0 || pl.vacated; pods != pl.pod {
			pl.pod = pods
			c.inhabit(neighbours(a), pods)
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
	for node := range c.dirty.unhoused {
		var made []int64
		for _, x := range c.unhoused[node] {
			made = append(made, x.created)
		}
		if c.coming[node] = made; made == nil {
			delete(c.coming, node)
		}
	}
	if c.dirty.ranges {
		c.podRanges = ranges
	}
	if c.dirty.vips {
		c.clusterIPs = clusterIPs
	}
	if news {
		c.generation++
	}
	c.told = c.counted
	c.gauges = clusterGauges{
		pods: uint64(len(c.pods)), services: uint64(len(c.services)), nodes: uint64(len(c.nodes)), addresses: uint64(len(c.faces)),
		vacant: uint64(c.vacant.Len()), disputed: uint64(len(c.disputed)),
	}
}

// neighbours are 256 addresses, which are mostly given out by one hand.
func neighbours(a netip.Addr) netip.Addr {
	p, _ := a.Prefix(a.BitLen() - 8)
	return p.Addr()
}

func (c *Cluster) inhabit(neighbours netip.Addr, pods bool) {
	if pods {
		c.inhabited[neighbours]++
	} else if c.inhabited[neighbours]--; c.inhabited[neighbours] == 0 {
		delete(c.inhabited, neighbours)
	}
}

// clean forgets what was touched. Go's maps keep the room of what they once held: those of a large update, such as the first, are not kept.
func (c *Cluster) clean() {
	const large = 1024
	if d := &c.dirty; len(d.places) > large || len(d.services) > large {
		*d = newDirt()
		return
	}
	clear(c.dirty.places)
	clear(c.dirty.services)
	clear(c.dirty.nodePorts)
	clear(c.dirty.aliases)
	clear(c.dirty.unhoused)
	c.dirty.ranges, c.dirty.vips = false, false
}
