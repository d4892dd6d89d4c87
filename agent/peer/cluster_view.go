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

// apiServers is the slice that the API servers keep themselves, of their own addresses.
var apiServers = objectName{"default", "kubernetes"}

// meant are the endpoints that mean who has the address: the pod that they refer to has it, still, and is in their namespace. Whoever may write slices
// may write any address into them; what is not a pod of theirs gets no name by that. Connections to the service itself are told by its own address.
func (c *Cluster) meant(pl *place) iter.Seq[end] {
	return func(yield func(end) bool) {
		if len(pl.nodes) == 0 && pl.holder == nil && (pl.state == Contested || pl.vacated) {
			return
		}
		for _, e := range pl.ends {
			x := c.behind(e.endpoint())
			theirs := x != nil && e.endpoint().pod == x.uid && x.namespace.Value() == e.slice.key.namespace
			if !theirs && (e.slice.key != apiServers || e.endpoint().pod != (uid{})) {
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
func (c *Cluster) view(pl *place, a netip.Addr, p Port, v view) view {
	switch s, n := serviceAt(pl.services, a, p); {
	case n == 1:
		return s
	case n > 1:
		return view{state: Contested, served: true}
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

// serviceAt gives the view of a service at its own address and port, and how many services there are. ClusterIPs are given out by the API server, while
// anybody who may make services may name any address as an external one.
func serviceAt(services []*service, a netip.Addr, p Port) (v view, n int) {
	for _, external := range []bool{false, true} {
		for _, s := range services {
			if slices.Contains(s.cluster, a) == external {
				continue
			}
			if i := slices.IndexFunc(s.ports, func(x servicePort) bool { return x.Port == p }); i >= 0 {
				v = view{identity: s.ports[i].shared, name: s.name, state: Known, served: true}
				n++
			}
		}
		if n > 0 {
			break
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
