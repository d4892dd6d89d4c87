package peer

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

func (c *Cluster) putNode(n *Node) {
	old := c.nodes[n.Name]
	name := objectName{"", n.Name}
	var version uint64
	if old != nil {
		old.mark, version = c.mark[KindNode], old.version
	}
	switch {
	case !subdomain(n.Name):
		c.counted.badObject++
		return
	case c.stale(burial{kind: KindNode, name: name}, n.Version, version):
		return
	case old == nil && len(c.nodes) >= c.cfg.MaxNodes:
		c.counted.tooMany++
		return
	}
	x := &node{name: strings.Clone(n.Name), addresses: c.addresses(n.Addresses, maxNodeAddresses), version: n.Version, mark: c.mark[KindNode], lost: n.Lost}
	for _, p := range clipped(c, n.PodRanges, maxNodeRanges) {
		if p = unmapPrefix(p); !p.IsValid() || p.Bits() == 0 {
			c.counted.badAddress++
			continue
		}
		x.ranges = append(x.ranges, p)
	}
	if old == nil {
		c.nodes[x.name] = x
		c.linkNode(x)
		return
	}
	if slices.Equal(old.addresses, x.addresses) && slices.Equal(old.ranges, x.ranges) && old.lost == x.lost {
		old.version = x.version // nodes are told every few minutes, mostly for nothing
		return
	}
	c.unlinkNode(old)
	x.name = old.name
	*old = *x
	c.linkNode(old)
}

func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.IsValid() && p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

func (c *Cluster) deleteNode(n *Node) {
	if x := c.nodes[n.Name]; x != nil && !c.stale(burial{kind: KindNode, name: objectName{"", n.Name}}, n.Version, x.version) {
		x.version = max(x.version, n.Version)
		c.removeNode(x)
	}
}

func (c *Cluster) removeNode(x *node) {
	c.unlinkNode(x)
	delete(c.nodes, x.name)
	c.touchDisputed()
	c.buried.Put(burial{kind: KindNode, name: objectName{"", x.name}}, x.version)
}

func (c *Cluster) linkNode(x *node) {
	for _, a := range x.addresses {
		pl := c.place(a)
		pl.nodes = append(pl.nodes, x)
	}
	c.dirty.ranges = c.dirty.ranges || len(x.ranges) > 0
	c.touchDisputed()
}

func (c *Cluster) unlinkNode(x *node) {
	for _, a := range x.addresses {
		pl := c.place(a)
		pl.nodes = without(pl.nodes, x)
	}
	c.dirty.ranges = c.dirty.ranges || len(x.ranges) > 0
}

// touchDisputed has the addresses looked at again that more than one pod claims: what weighs depends on their nodes.
func (c *Cluster) touchDisputed() {
	for a := range c.disputed {
		c.place(a)
	}
}

// ranges gives all nodes' ranges for pods, sorted and without overlap.
func (c *Cluster) ranges() []netip.Prefix {
	var all []netip.Prefix
	for _, n := range c.nodes {
		all = append(all, n.ranges...)
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	apart := all[:0]
	for _, p := range all {
		if len(apart) == 0 || !apart[len(apart)-1].Overlaps(p) { // the one before is no narrower
			apart = append(apart, p)
		}
	}
	return slices.Clip(apart)
}

// within says whether one of some sorted ranges without overlap holds an address.
func within(ranges []netip.Prefix, a netip.Addr) bool {
	i, found := slices.BinarySearchFunc(ranges, a, func(p netip.Prefix, a netip.Addr) int { return p.Addr().Compare(a) })
	return found || i > 0 && ranges[i-1].Contains(a)
}

// serviceRanges covers all ClusterIPs.
func (c *Cluster) serviceRanges() []netip.Prefix {
	var low, high [2]netip.Addr
	for _, s := range c.services {
		for _, a := range s.cluster {
			family := 0
			if a.Is6() {
				family = 1
			}
			if !low[family].IsValid() || a.Less(low[family]) {
				low[family] = a
			}
			if !high[family].IsValid() || high[family].Less(a) {
				high[family] = a
			}
		}
	}
	var all []netip.Prefix
	for i := range low {
		if low[i].IsValid() {
			all = append(all, cover(low[i], high[i]))
		}
	}
	return all
}

// cover gives the smallest range that holds two addresses of one family.
func cover(a, b netip.Addr) netip.Prefix {
	bits := a.BitLen()
	for {
		if p := netip.PrefixFrom(a, bits).Masked(); p.Contains(b) {
			return p
		}
		bits--
	}
}
