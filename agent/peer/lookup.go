package peer

import (
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Query asks who has an address.
type Query struct {
	Address  netip.Addr
	Port     uint16 // the service's port
	Protocol uint8  // IPPROTO_TCP or IPPROTO_UDP
	Inbound  bool   // the peer opened the connection: the port is not its own

	// At asks who had a pod's address at a time in the past, by what is known now: for edges that waited. The zero time asks for now.
	At time.Time
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
	Likely                 // of a pod at the time that was asked for, unless another is told to have had it within the same second
)

// Pending says that another answer may come within seconds: it is worth to wait and ask again. What the answer says meanwhile is what to take when
// the waiting ends.
func (s State) Pending() bool { return s == Vacant || s == Contested || s == Likely }

// Lookup says who has an address. It does not allocate.
func (c *Cluster) Lookup(q Query) Answer {
	a := q.Address.Unmap().WithZone("")
	p := Port{q.Port, q.Protocol}
	c.read.RLock()
	f := c.faces[a]
	v := view{}
	if f != nil {
		v = c.find(f, p, q.Inbound)
		if f.timed && !q.At.IsZero() {
			v = f.at(q.At.UnixNano(), v)
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

// at is what an address of pods was at a time, given what it is now. Names are not known of the past.
func (f *face) at(at int64, now view) view {
	v, found, latest := view{state: Vacant}, false, int64(math.MinInt64)
	holder := f.inbound.Value()
	held := !holder.identity.IsZero()
	if held && at >= f.since {
		v, found = now, true
	}
	for i := range f.past {
		t := &f.past[i]
		latest = max(latest, t.until)
		switch {
		case at < t.from || at >= t.until:
		case found && v.identity != t.identity:
			return view{state: Contested}
		case !found:
			v, found = view{identity: t.identity, state: Known}, true
			if at >= t.sure && !(held && at < f.since) { // the next is told already, and was not yet there
				v.state = Likely
			}
		}
	}
	switch {
	case found:
	case holder.state == Contested:
		v.state = Contested
	case held && at >= latest && at >= f.since-int64(maxSkew):
		v = now
		v.state = Likely
	}
	return v
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
