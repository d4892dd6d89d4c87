package peer

import (
	"math"
	"net/netip"
	"strings"
	"time"
	"unique"

	"github.com/ambit-nhi/ambit/event"
)

// Query asks who has an address.
type Query struct {
	Address  netip.Addr
	Port     uint16 // the service's port
	Protocol uint8  // IPPROTO_TCP or IPPROTO_UDP
	Inbound  bool   // the peer opened the connection: the port is not its own

	// At asks who had a pod's address at a time in the past, by what is known Now: for edges that waited. The zero time asks for now. Where Now is zero,
	// all that the API has to tell of that time counts as told.
	// With Until, it was at some time between.
	At, Until, Now time.Time
}

// Answer says who has an address. Identity, name and evidence may each be missing.
type Answer struct {
	Identity   event.Identity
	Evidence   event.Evidence // with Identity
	Name       string
	NameSource event.NameSource // with Name
	State      State
}

// State says how much an answer is worth.
type State uint8

// The states of an address.
const (
	Unknown   State = iota // no address of the cluster, as far as is known
	Known                  // of a pod, a service or a node
	Vacant                 // a pod had it, or pods have such addresses, and nobody is known to have it now: whoever gets it is told soon
	Contested              // more than one live pod claims it, and nothing says which of them is right
)

// Pending says that another answer may come within seconds: it is worth to wait and ask again. Until then, nobody has the address.
func (s State) Pending() bool { return s == Vacant || s == Contested }

// Lookup says who has an address. It does not allocate.
func (c *Cluster) Lookup(q Query) Answer {
	a := q.Address.Unmap().WithZone("")
	p := Port{q.Port, q.Protocol}
	c.read.RLock()
	f := c.faces[a]
	v := view{}
	if f != nil {
		v = c.find(f, p, q.Inbound)
		if f.timed && !v.served && !q.At.IsZero() {
			v = c.at(f, &q, v)
		}
	}
	if v.state == Unknown && (c.inhabited[neighbours(a)] > 0 || within(c.podRanges, a)) {
		v.state = Vacant
	}
	c.read.RUnlock()
	return v.answer()
}

func (c *Cluster) find(f *face, p Port, inbound bool) view {
	if inbound {
		return f.inbound.Value()
	}
	if f.node {
		if v, ok := c.nodePorts[p]; ok {
			return v
		}
	}
	for i := range f.ports { // few, but for services
		if f.ports[i].Port == p {
			return f.ports[i].view.Value()
		}
	}
	return f.outbound.Value()
}

// at is what an address of pods was at a time, given what it is now: the pod's that alone may have had it then. Names are not known of the past.
func (c *Cluster) at(f *face, q *Query, now view) view {
	at := q.At.UnixNano()
	until := max(at, q.Until.UnixNano())
	if q.Until.IsZero() {
		until = at
	}
	switch {
	case f.holder != uid{} && (at >= f.told || c.connectedBy(f.holder, at)):
		return now // it had the address then, and still has it
	case at < f.forgotten:
		return view{state: Contested}
	}
	// One pod after the other has the address: whoever had it before the last that is known to have had it by then, has it no more.
	latest := int64(math.MinInt64)
	for i := range f.claims {
		if first, ok := c.first(f.claims[i].pod); ok && first <= at {
			latest = max(latest, first)
		}
	}
	var only *tenancy
	for i := range f.claims {
		t := &f.claims[i]
		first, seen := c.first(t.pod)
		switch {
		case until < t.from || at >= t.until:
		case seen && first < latest:
		case seen && q.Inbound && first-int64(maxJitter) > until: // it had not connected to anything yet
		case only != nil && only.identity != t.identity:
			return view{state: Contested}
		case only == nil || t.pod == f.holder:
			only = t
		}
	}
	switch {
	case only == nil:
		return view{state: Vacant}
	case !q.Now.IsZero() && q.Now.UnixNano()-until < int64(maxDelay) || c.awaits(only.node, until): // another may be told to have had it
		return view{state: Vacant}
	case only.pod == f.holder:
		return now
	}
	return view{identity: only.identity.Value(), state: Known}
}

func (c *Cluster) connectedBy(pod uid, at int64) bool {
	first, ok := c.first(pod)
	return ok && first <= at
}

// awaits says whether a node has a pod that may have had an address at a time, and was not told to have any yet. What stands without for a minute stands
// still, and is told soon after it starts.
func (c *Cluster) awaits(node unique.Handle[string], at int64) bool {
	for _, made := range c.coming[node] {
		if made-int64(maxSkew) <= at && at-made < int64(time.Minute) {
			return true
		}
	}
	return false
}

func (v view) answer() Answer {
	a := Answer{Identity: v.identity, Name: v.name, State: v.state}
	if !a.Identity.IsZero() {
		a.Evidence = event.EvidenceKubernetes
	}
	if a.Name != "" {
		a.NameSource = event.NameService
		if v.node {
			a.NameSource = event.NameNode
		}
	}
	return a
}

// maxClusterAliases bounds how many ExternalName services a name may lead through.
const maxClusterAliases = 8

// Alias gives the name that a service of type ExternalName stands for, by its own: db.shop.svc, with or without the cluster's domain or a dot at the end,
// in any case. Shorter names mean what the resolver of each workload makes of them; on the wire they are as long as this.
func (c *Cluster) Alias(dnsName string) (target string, ok bool) {
	c.read.RLock()
	defer c.read.RUnlock()
	for range maxClusterAliases {
		to, found := c.aliases[c.serviceName(dnsName)]
		if !found {
			return target, ok
		}
		dnsName, target, ok = to, to, true
	}
	return "", false // they go in a circle
}

// serviceName cuts a DNS name down to the form db.shop.svc, if it is one of a service.
func (c *Cluster) serviceName(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if rest, ok := strings.CutSuffix(name, c.cfg.ClusterDomain); ok {
		if rest, ok = strings.CutSuffix(rest, "."); ok {
			return rest
		}
	}
	return name
}
