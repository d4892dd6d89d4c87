package peer

import (
	"math"
	"net/netip"
	"slices"
	"time"
	"unique"

	"github.com/ambit-nhi/ambit/event"
)

// place is one address, and all objects that have to do with it.
type place struct {
	pods     []*pod     // that are alive and claim it, but not those in their node's network
	services []*service // whose own address it is
	ends     []end      // endpoints that it is
	nodes    []*node

	holder    *pod   // of the pods, the one that has it
	state     State  // of the holding: Known with a holder, Contested, or Unknown
	vacated   bool   // a pod had it, and none has it now
	pod       bool   // it is counted as one of a pod, now or before
	told      int64  // the holder was told to have it then
	live      []*pod // that claimed it since the last update
	past      []tenancy
	forgotten int64 // who had it before is not known any more
}

// tenancy is the longest time, in nanoseconds, in which a pod may have had an address. Slices of them are never changed in place.
type tenancy struct {
	pod         uid
	identity    unique.Handle[event.Identity]
	node        unique.Handle[string]
	from, until int64
}

const (
	// maxPast bounds the former holders of an address that are known.
	maxPast = 32
	// pastFor is how long they matter: nothing waits for as long.
	pastFor = 20 * time.Second
	// maxSkew is how far other clocks may be from this node's: as far as etcd puts up with.
	maxSkew = time.Second
	// maxDelay is how late the API may tell of an object.
	maxDelay = 2 * time.Second
	// maxJitter is how far times of edges may be off, since two clocks cannot be read at once.
	maxJitter = 25 * time.Millisecond
)

// place gives what is known of an address, and has it looked at again at the end of this update.
func (c *Cluster) place(a netip.Addr) *place {
	pl := c.places[a]
	if pl == nil {
		pl = &place{}
		c.places[a] = pl
	}
	c.dirty.places[a] = pl
	return pl
}

// owner is the pod that has an address. A pod claims an address until it has ended, and it is not told at once that it has. But an address that was
// given out again was taken back before: a pod that is being deleted, or whose node no longer tells of it, gives way to one of which neither is true.
func (c *Cluster) owner(pl *place) (*pod, State) {
	switch len(pl.pods) {
	case 0:
		return nil, Unknown
	case 1:
		return pl.pods[0], Known
	}
	var firm *pod
	for _, x := range pl.pods {
		if c.weak(x) {
			continue
		}
		if firm != nil {
			return nil, Contested
		}
		firm = x
	}
	if firm == nil {
		return nil, Contested
	}
	return firm, Known
}

// hold sees to who has an address now, and keeps who had it.
func (c *Cluster) hold(pl *place, now int64) {
	pl.live = slices.DeleteFunc(pl.live, func(x *pod) bool {
		gone := !slices.Contains(pl.pods, x)
		if gone {
			pl.remember(x.tenancy(now), now)
		}
		return gone
	})
	holder, state := c.owner(pl)
	if holder == pl.holder && state == pl.state {
		return
	}
	if state == Contested {
		c.counted.contested++
	}
	pl.holder, pl.state, pl.told = holder, state, now
}

// tenancy is when a pod may have had its addresses: not before it was made, nor after it was told to have ended. Of its own the API tells whole seconds,
// by other clocks.
func (x *pod) tenancy(until int64) tenancy {
	t := tenancy{pod: x.uid, identity: x.identity, node: x.node, from: math.MinInt64, until: until}
	if x.created != 0 {
		t.from = x.created - int64(maxSkew)
	}
	if x.finished != 0 {
		t.until = min(until, x.finished+int64(time.Second+maxSkew))
	}
	return t
}

func (pl *place) remember(t tenancy, now int64) {
	if t.from >= t.until {
		return
	}
	past := append(slices.Clip(pl.past), t)
	for len(past) > maxPast || now-past[0].until >= int64(pastFor) && len(past) > 1 {
		pl.forgotten = max(pl.forgotten, past[0].until)
		past = past[1:]
	}
	pl.past = slices.Clip(past)
}

// afterwards takes note of addresses that a pod is told to have had only now that it has ended: short ones are told once with an address. Edges may wait
// for it. It says whether the pod ended lately, for all that is known.
func (c *Cluster) afterwards(p *Pod, held []netip.Addr, now int64) (fresh bool) {
	if p.HostNetwork || p.Finished.IsZero() || p.Created.IsZero() || now-p.Finished.UnixNano() >= int64(pastFor) {
		return false
	}
	if !label(p.Namespace) || !subdomain(p.Name) || (p.ServiceAccount != "" && !subdomain(p.ServiceAccount)) || (p.Node != "" && !subdomain(p.Node)) {
		c.counted.badObject++
		return false
	}
	x := &pod{
		uid: unique.Make(p.UID), identity: unique.Make(c.identity(p)), node: unique.Make(p.Node), created: p.Created.UnixNano(),
		finished: p.Finished.Truncate(time.Second).UnixNano(),
	}
	for _, a := range c.addresses(p.Addresses, maxPodAddresses) {
		if slices.Contains(held, a) {
			continue
		}
		pl := c.place(a)
		pl.remember(x.tenancy(now), now)
		if len(pl.pods) == 0 {
			pl.vacated = true
			c.vacant.Put(a, pl)
		}
	}
	return true
}

func (pl *place) onNode(x *pod) bool {
	return len(pl.nodes) == 1 && pl.nodes[0].name == x.node.Value() // where two nodes have one address, nobody knows which of them is meant
}

func (pl *place) empty() bool {
	return len(pl.pods) == 0 && len(pl.services) == 0 && len(pl.ends) == 0 && len(pl.nodes) == 0 && !pl.vacated
}

// face is what Lookup sees of an address. It is never changed. Most addresses have the views of others, too.
type face struct {
	outbound, inbound unique.Handle[view] // at ports other than the following
	ports             []portView          // sorted
	node              bool                // NodePorts come first

	// Of addresses of pods: who may have had it when.
	timed     bool
	holder    uid
	told      int64
	claims    []tenancy
	forgotten int64
}

type portView struct {
	Port
	view unique.Handle[view]
}

// view is an [Answer], but smaller.
type view struct {
	identity event.Identity
	name     string
	node     bool // name is a node's, else a service's
	served   bool // by a service whose own address it is: no matter who had it before
	state    State
}

var nothing = unique.Make(view{})

func (f *face) same(other *face) bool {
	if f == nil || other == nil {
		return f == other
	}
	return f.outbound == other.outbound && f.inbound == other.inbound && f.node == other.node && slices.Equal(f.ports, other.ports)
}

// face makes what Lookup sees of an address, nil for nothing.
func (c *Cluster) face(a netip.Addr, pl *place) *face {
	var in view
	switch {
	case len(pl.nodes) == 1:
		in = view{name: pl.nodes[0].name, node: true, state: Known}
	case len(pl.nodes) > 1:
		in.state = Known
	case pl.holder != nil:
		in = view{identity: pl.holder.identity.Value(), state: Known}
	case pl.state == Contested:
		in.state = Contested
	case pl.vacated:
		in.state = Vacant
	}
	out := in
	if in.state == Unknown || in.state == Vacant {
		if of, n := clusterService(pl, a); n == 1 {
			out = view{name: of.name, state: Known, served: true}
		} else if n > 1 {
			out = view{state: Contested, served: true}
		}
	}
	f := &face{inbound: unique.Make(in), node: len(pl.nodes) > 0}
	if f.outbound = f.inbound; out != in {
		f.outbound = unique.Make(out)
	}
	if len(pl.nodes) == 0 && (pl.holder != nil || pl.state == Contested || pl.vacated) {
		f.timed, f.told, f.claims, f.forgotten = true, pl.told, pl.past, pl.forgotten
		if pl.holder != nil {
			f.holder = pl.holder.uid
		}
		for _, x := range pl.pods {
			f.claims = append(slices.Clip(f.claims), x.tenancy(math.MaxInt64))
		}
	}
	for _, p := range c.ports(pl) {
		if v := c.view(pl, a, p, out); v != out {
			f.ports = append(f.ports, portView{p, unique.Make(v)})
		}
	}
	if f.outbound == nothing && f.inbound == nothing && len(f.ports) == 0 && !f.node && !f.timed {
		return nil
	}
	f.ports = slices.Clip(f.ports)
	return f
}

// clusterService gives a service with a ClusterIP, and how many have it: the address is theirs at all ports.
func clusterService(pl *place, a netip.Addr) (of *service, n int) {
	for _, s := range pl.services {
		if slices.Contains(s.cluster, a) {
			of = s
			n++
		}
	}
	return of, n
}
