package peer

import (
	"slices"
	"strings"
	"unique"
)

func (c *Cluster) putSlice(s *EndpointSlice) {
	key := objectName{s.Namespace, s.Name}
	old := c.slices[key]
	var version uint64
	if old != nil {
		old.mark, version = c.mark[KindSlice], old.version
	}
	if c.stale(burial{kind: KindSlice, name: key}, s.Version, version) {
		return
	}
	if !label(s.Namespace) || !subdomain(s.Name) || !label(s.Service) {
		c.counted.badObject++
		if old != nil {
			c.removeSlice(old)
		}
		return
	}
	if old != nil && old.service.name != s.Service {
		c.unlinkSlice(old)
		old = nil
	}
	if old == nil && len(c.slices) >= c.cfg.MaxSlices {
		c.counted.tooMany++
		c.beyond = true // whose endpoints they are, nobody knows now
		for _, x := range c.services {
			c.dirty.services[x] = true
		}
		return
	}
	x := c.newSlice(s)
	if old == nil {
		c.slices[x.key] = x
		c.backing[x.service] = append(c.backing[x.service], x)
		c.linkEndpoints(x, nil)
	} else {
		before := *old
		x.key, x.service = old.key, old.service
		*old = *x
		c.linkEndpoints(old, &before)
	}
	c.touchService(x.service)
}

func (c *Cluster) newSlice(s *EndpointSlice) *slice {
	x := &slice{
		key:     objectName{strings.Clone(s.Namespace), strings.Clone(s.Name)},
		version: s.Version, mark: c.mark[KindSlice],
		partial: len(s.Endpoints) > maxSliceEndpoints || len(s.Ports) > maxSlicePorts,
	}
	x.service = objectName{x.key.namespace, strings.Clone(s.Service)}
	for _, p := range clipped(c, s.Ports, maxSlicePorts) {
		if len(p.Name) > maxPortName {
			c.counted.badObject++
			x.partial = true
			continue
		}
		x.ports = append(x.ports, slicePort{unique.Make(p.Name), p.Port})
	}
	held := 0
	if old := c.slices[x.key]; old != nil {
		held = len(old.endpoints)
	}
	for _, e := range clipped(c, s.Endpoints, maxSliceEndpoints) {
		known := c.addresses(e.Addresses, maxPodAddresses)
		x.partial = x.partial || len(known) < len(e.Addresses)
		if e.Pod != "" && !knownUID(e.Pod) {
			c.counted.badObject++
			x.partial = true
			continue
		}
		to := endpoint{}
		if e.Pod != "" {
			to.pod = unique.Make(e.Pod)
		}
		switch {
		case e.Ready:
			to.use = ready
		case e.Serving && e.Terminating:
			to.use = leaving
		}
		for _, to.address = range known {
			if c.ends-held+len(x.endpoints) >= c.cfg.MaxEndpoints {
				c.counted.tooMany++
				x.partial = true
				continue
			}
			x.endpoints = append(x.endpoints, to)
		}
	}
	x.endpoints = slices.Clip(x.endpoints)
	return x
}

func (c *Cluster) deleteSlice(s *EndpointSlice) {
	key := objectName{s.Namespace, s.Name}
	if x := c.slices[key]; x != nil && !c.stale(burial{kind: KindSlice, name: key}, s.Version, x.version) {
		x.version = max(x.version, s.Version)
		c.removeSlice(x)
	}
}

func (c *Cluster) removeSlice(x *slice) {
	c.unlinkSlice(x)
	c.buried.Put(burial{kind: KindSlice, name: x.key}, x.version)
}

func (c *Cluster) unlinkSlice(x *slice) {
	before := *x
	x.endpoints, x.ports = nil, nil
	c.linkEndpoints(x, &before)
	delete(c.slices, x.key)
	if left := without(c.backing[x.service], x); len(left) > 0 {
		c.backing[x.service] = left
	} else {
		delete(c.backing, x.service)
	}
	c.touchService(x.service)
}

func (c *Cluster) touchService(key objectName) {
	if s := c.services[key]; s != nil {
		c.dirty.services[s] = true
	}
}

// end is a place's way to the endpoint that it is in a slice.
type end struct {
	slice *slice
	index int
}

func (e end) endpoint() *endpoint { return &e.slice.endpoints[e.index] }

// linkEndpoints has the places of a slice's endpoints point at them, and no more at those that were before. Slices change often, and mostly in one endpoint.
func (c *Cluster) linkEndpoints(x, before *slice) {
	same := before != nil && slices.Equal(before.ports, x.ports)
	kept := func(i int) bool {
		return same && before.endpoints[i].address == x.endpoints[i].address && before.endpoints[i].pod == x.endpoints[i].pod
	}
	if before != nil {
		c.ends -= len(before.endpoints)
		for i := range before.endpoints {
			if i < len(x.endpoints) && kept(i) {
				continue
			}
			pl := c.place(before.endpoints[i].address)
			pl.ends = without(pl.ends, end{x, i})
		}
	}
	c.ends += len(x.endpoints)
	for i := range x.endpoints {
		if before == nil || i >= len(before.endpoints) || !kept(i) {
			pl := c.place(x.endpoints[i].address)
			pl.ends = append(pl.ends, end{x, i})
		}
	}
}

// behind is the pod that an endpoint reaches: the one that has its address, if it is also the one that is meant. Slices lag behind pods.
func (c *Cluster) behind(e *endpoint) *pod {
	pl := c.places[e.address]
	switch {
	case pl == nil:
		return nil
	case len(pl.nodes) > 0:
		if x := c.pods[e.pod]; x != nil && x.host && pl.onNode(x) {
			return x
		}
		return nil
	}
	x, _ := c.owner(pl)
	if x == nil || (e.pod != (uid{}) && e.pod != x.uid) {
		return nil
	}
	return x
}
