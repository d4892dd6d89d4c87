package peer

import (
	"slices"
	"time"
	"unique"

	"github.com/ambit-nhi/ambit/event"
)

func (c *Cluster) putPod(p *Pod) {
	if !knownUID(p.UID) {
		c.counted.badObject++
		return
	}
	key := unique.Make(p.UID)
	old := c.pods[key]
	if c.buried.Get(burial{kind: KindPod, uid: key}) != nil { // what has ended stays so: no UID is ever used again
		c.counted.stale++
		return
	}
	var version uint64
	if old != nil {
		old.mark, version = c.mark[KindPod], old.version
	}
	if c.stale(burial{kind: KindPod, uid: key}, p.Version, version) {
		return
	}
	if !label(p.Namespace) || !subdomain(p.Name) || (p.ServiceAccount != "" && !subdomain(p.ServiceAccount)) || (p.Node != "" && !subdomain(p.Node)) {
		c.counted.badObject++
		if old != nil {
			c.removePod(old)
		}
		return
	}
	if old == nil && len(c.pods) >= c.cfg.MaxPods {
		c.counted.tooMany++
		return
	}
	x := &pod{
		uid: key, identity: unique.Make(c.identity(p)), node: unique.Make(p.Node), namespace: unique.Make(p.Namespace), addresses: c.addresses(p.Addresses, maxPodAddresses),
		hostPorts: slices.Clone(clipped(c, p.HostPorts, maxHostPorts)), version: p.Version, mark: c.mark[KindPod], host: p.HostNetwork, terminating: p.Terminating,
	}
	if !p.Created.IsZero() {
		x.created = p.Created.UnixNano()
	}
	if old == nil {
		c.pods[key] = x
		c.linkPod(x)
		return
	}
	if slices.Equal(old.addresses, x.addresses) && slices.Equal(old.hostPorts, x.hostPorts) && old.node == x.node && old.host == x.host &&
		old.identity == x.identity && old.terminating == x.terminating {
		old.version = x.version
		return
	}
	c.unlinkPod(old)
	*old = *x // places hold on to it as who had them
	c.linkPod(old)
}

func (c *Cluster) identity(p *Pod) event.Identity {
	if p.ServiceAccount == "" { // static pods belong to their node; a service account cannot have the slash in its name
		return event.ContainerIdentity(c.cfg.TrustDomain, p.Node, p.Namespace+"/"+p.Name)
	}
	return c.cfg.Template.Identity(c.cfg.TrustDomain, p.Namespace, p.ServiceAccount, p.Name)
}

func (c *Cluster) endPod(p *Pod, now int64) {
	if !knownUID(p.UID) {
		c.counted.badObject++
		return
	}
	key := unique.Make(p.UID)
	if c.buried.Get(burial{kind: KindPod, uid: key}) != nil {
		return
	}
	x := c.pods[key]
	if x == nil {
		if c.afterwards(p, nil, now) { // else it ended long ago, and is told in each listing
			c.buried.Put(burial{kind: KindPod, uid: key}, p.Version)
		}
		return
	}
	held := x.addresses
	if !p.Finished.IsZero() {
		x.finished = p.Finished.Truncate(time.Second).UnixNano()
	}
	c.removePod(x)
	c.afterwards(p, held, now)
}

func (c *Cluster) removePod(x *pod) {
	c.unlinkPod(x)
	delete(c.pods, x.uid)
	c.buried.Put(burial{kind: KindPod, uid: x.uid}, x.version)
}

func (c *Cluster) linkPod(x *pod) {
	if !x.host {
		for _, a := range x.addresses {
			pl := c.place(a)
			pl.pods = append(pl.pods, x)
			if !slices.Contains(pl.live, x) {
				pl.live = append(pl.live, x)
			}
			if len(pl.pods) > 1 {
				c.disputed[a] = pl
			}
			pl.vacated = false
			c.vacant.Remove(a)
		}
	}
	if x.unhoused() {
		c.unhoused[x.node] = append(c.unhoused[x.node], x)
		c.dirty.unhoused[x.node] = true
	}
	if len(x.hostPorts) > 0 {
		c.hosts[x.node.Value()] = append(c.hosts[x.node.Value()], x)
	}
	c.touchHost(x)
}

func (c *Cluster) unlinkPod(x *pod) {
	if !x.host {
		for _, a := range x.addresses {
			pl := c.place(a)
			pl.pods = without(pl.pods, x)
			if len(pl.pods) < 2 {
				delete(c.disputed, a)
			}
			if len(pl.pods) == 0 {
				pl.vacated = true
				c.vacant.Put(a, pl)
			}
		}
	}
	if x.unhoused() {
		if c.unhoused[x.node] = without(c.unhoused[x.node], x); len(c.unhoused[x.node]) == 0 {
			delete(c.unhoused, x.node)
		}
		c.dirty.unhoused[x.node] = true
	}
	if len(x.hostPorts) > 0 {
		left := without(c.hosts[x.node.Value()], x)
		if c.hosts[x.node.Value()] = left; len(left) == 0 {
			delete(c.hosts, x.node.Value())
		}
	}
	c.touchHost(x)
}

// unhoused says that a pod may have addresses that are not told yet.
func (x *pod) unhoused() bool {
	return !x.host && len(x.addresses) == 0 && x.node.Value() != ""
}

// touchHost has the addresses of a pod's node looked at again, where the pod may be reached there.
func (c *Cluster) touchHost(x *pod) {
	if !x.host && len(x.hostPorts) == 0 {
		return
	}
	if n := c.nodes[x.node.Value()]; n != nil {
		for _, a := range n.addresses {
			c.place(a)
		}
	}
}

// weak says that a pod's claim to an address gives way to that of another: it is being deleted, or nobody tells any more what became of it.
func (c *Cluster) weak(x *pod) bool {
	if x.terminating {
		return true
	}
	n := c.nodes[x.node.Value()]
	return n != nil && n.lost
}

func without[T comparable](s []T, x T) []T {
	if i := slices.Index(s, x); i >= 0 {
		return slices.Delete(s, i, i+1)
	}
	return s
}
