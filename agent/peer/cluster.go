package peer

import (
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"
	"unique"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/lru"
)

// ClusterConfig of a [Cluster]. Zero bounds mean the defaults, which are what Kubernetes itself is made for.
type ClusterConfig struct {
	TrustDomain   event.TrustDomain
	Template      event.IdentityTemplate
	ClusterDomain string // default cluster.local

	MaxPods      int // live ones; default 150000
	MaxServices  int // default 20000
	MaxSlices    int // default 40000
	MaxEndpoints int // of all slices; default 300000
	MaxNodes     int // default 10000
	MaxVacant    int // addresses that had an owner; default 16384
}

// Cluster knows who has the addresses of a cluster: its pods, services and nodes, as the API tells them. It is safe for concurrent use, and does no I/O.
//
// A pod has its addresses from when that is told until it ends or is told to have others. From then on an address is nobody's until somebody else
// is told to have it. Where more than one live pod claims an address, one that is being deleted, or whose node is lost, gives way to one that is
// not: an address is given out again only after it was taken back. Otherwise nobody has it.
type Cluster struct {
	cfg ClusterConfig

	write    sync.Mutex // guards what follows, down to read
	pods     map[uid]*pod
	services map[objectName]*service
	slices   map[objectName]*slice
	nodes    map[string]*node
	places   map[netip.Addr]*place
	backing  map[objectName][]*slice          // by service, which may not be told yet
	hosts    map[string][]*pod                // with ports at their node's addresses, by node
	onPorts  map[Port][]*service              // by NodePort
	unhoused map[unique.Handle[string]][]*pod // without address so far, by node
	disputed map[netip.Addr]*place            // with more than one claimant
	vacant   *lru.Cache[netip.Addr, *place]
	buried   *lru.Cache[burial, uint64] // versions of what is gone: its older states may still come
	mark     [KindNode + 1]uint64       // of the listing that is under way, or was last
	listing  [KindNode + 1]bool
	ends     int  // endpoints of all slices
	beyond   bool // slices were refused for want of room
	counted  clusterCounters
	dirty    dirt

	read       sync.RWMutex // guards what Lookup sees
	faces      map[netip.Addr]*face
	nodePorts  map[Port]view
	aliases    map[string]string
	inhabited  map[netip.Addr]int // addresses of pods among neighbours
	podRanges  []netip.Prefix     // sorted, without overlap
	clusterIPs []netip.Prefix
	coming     map[unique.Handle[string]][]int64 // when the pods were made whose addresses are not told yet, by node
	firsts     map[uid]int64                     // when pods connected for the first time, as far as was seen
	older      map[uid]int64                     // the same of those that were seen before
	generation uint64
	told       clusterCounters
	gauges     clusterGauges
}

type clusterCounters struct{ badObject, badAddress, tooMany, contested, stale uint64 }

type clusterGauges struct{ pods, services, nodes, addresses, vacant, disputed uint64 }

// burial names an object that is gone.
type burial struct {
	kind Kind
	uid  uid        // pods
	name objectName // others
}

// maxBuried bounds how many objects that are gone are known: they only matter for the seconds in which older states may still come.
const maxBuried = 4096

// dirt is what one update has touched.
type dirt struct {
	places    map[netip.Addr]*place
	services  map[*service]bool
	nodePorts map[Port]bool
	aliases   map[objectName]bool
	unhoused  map[unique.Handle[string]]bool
	ranges    bool
	vips      bool
}

func newDirt() dirt {
	return dirt{
		places: map[netip.Addr]*place{}, services: map[*service]bool{}, nodePorts: map[Port]bool{}, aliases: map[objectName]bool{},
		unhoused: map[unique.Handle[string]]bool{},
	}
}

// NewCluster makes an empty Cluster.
func NewCluster(cfg ClusterConfig) *Cluster {
	for _, d := range []struct {
		bound *int
		value int
	}{
		{&cfg.MaxPods, 150_000}, {&cfg.MaxServices, 20_000}, {&cfg.MaxSlices, 40_000}, {&cfg.MaxEndpoints, 300_000},
		{&cfg.MaxNodes, 10_000}, {&cfg.MaxVacant, 16_384},
	} {
		if *d.bound <= 0 {
			*d.bound = d.value
		}
	}
	if cfg.ClusterDomain == "" {
		cfg.ClusterDomain = "cluster.local"
	}
	return &Cluster{
		cfg: cfg, pods: map[uid]*pod{}, services: map[objectName]*service{}, slices: map[objectName]*slice{}, nodes: map[string]*node{},
		places: map[netip.Addr]*place{}, backing: map[objectName][]*slice{}, hosts: map[string][]*pod{}, onPorts: map[Port][]*service{},
		disputed: map[netip.Addr]*place{}, vacant: lru.New[netip.Addr, *place](math.MaxInt), buried: lru.New[burial, uint64](maxBuried),
		dirty: newDirt(), unhoused: map[unique.Handle[string]][]*pod{},
		coming: map[unique.Handle[string]][]int64{}, firsts: map[uid]int64{}, older: map[uid]int64{},
		faces: map[netip.Addr]*face{}, nodePorts: map[Port]view{}, aliases: map[string]string{},
		inhabited: map[netip.Addr]int{},
	}
}

// uid is a pod's UID, shared by its endpoints.
type uid = unique.Handle[string]

// objectName names what is namespaced.
type objectName struct{ namespace, name string }

// Update takes over changes that were told at a time, in their order. Before [Cluster.Lookup] sees any of them, settle is called with the addresses
// whose answers they change, at one port or all, so that what was counted until then goes to who had them; settle may call Lookup, but not Update. It
// may be nil, and is not called where no answer changes. Addresses that nobody has had, and that become worth waiting for or cease to be, are not told.
func (c *Cluster) Update(at time.Time, changes []Change, settle func([]netip.Addr)) {
	c.write.Lock()
	defer c.write.Unlock()
	now := at.UnixNano()
	for i := range changes {
		c.take(&changes[i], now)
	}
	c.publish(now, settle)
}

// Connected tells that a pod of this node connected to something, at a time: it had its addresses then. What the first time was is more exact than
// anything that the API tells. It is nothing to tell one twice; any order will do.
func (c *Cluster) Connected(uid string, at time.Time) {
	const most = 4096
	key, t := unique.Make(uid), at.UnixNano()
	c.read.Lock()
	defer c.read.Unlock()
	if known, ok := c.first(key); ok && known <= t {
		return
	}
	if len(c.firsts) >= most {
		c.older, c.firsts = c.firsts, map[unique.Handle[string]]int64{}
	}
	c.firsts[key] = t
	c.generation++
}

func (c *Cluster) first(pod uid) (int64, bool) {
	t, ok := c.firsts[pod]
	if !ok {
		t, ok = c.older[pod]
	}
	return t, ok
}

func (c *Cluster) take(change *Change, now int64) {
	switch {
	case change.Pod != nil && (change.Deleted || change.Pod.Ended):
		c.endPod(change.Pod, now)
	case change.Pod != nil:
		c.putPod(change.Pod)
	case change.Service != nil && change.Deleted:
		c.deleteService(change.Service)
	case change.Service != nil:
		c.putService(change.Service)
	case change.Slice != nil && change.Deleted:
		c.deleteSlice(change.Slice)
	case change.Slice != nil:
		c.putSlice(change.Slice)
	case change.Node != nil && change.Deleted:
		c.deleteNode(change.Node)
	case change.Node != nil:
		c.putNode(change.Node)
	case change.Begin != 0 && change.Begin <= KindNode:
		c.mark[change.Begin]++
		c.listing[change.Begin] = true
	case change.End != 0 && change.End <= KindNode && c.listing[change.End]:
		c.listing[change.End] = false
		c.sweep(change.End)
	}
}

// sweep lets go of what a listing did not tell.
func (c *Cluster) sweep(kind Kind) {
	mark := c.mark[kind]
	switch kind {
	case KindPod:
		for _, p := range c.pods {
			if p.mark != mark {
				c.removePod(p)
			}
		}
	case KindService:
		for _, s := range c.services {
			if s.mark != mark {
				c.removeService(s)
			}
		}
	case KindSlice:
		for _, s := range c.slices {
			if s.mark != mark {
				c.removeSlice(s)
			}
		}
	case KindNode:
		for _, n := range c.nodes {
			if n.mark != mark {
				c.removeNode(n)
			}
		}
	}
}

// stale says whether a state of an object is older than what is known of it, and counts it. What is told in a listing is how things are: where a cluster
// was restored from a backup, versions begin again.
func (c *Cluster) stale(b burial, version, known uint64) bool {
	if version == 0 || c.listing[b.kind] {
		return false
	}
	if v := c.buried.Get(b); v != nil {
		known = max(known, *v)
	}
	if version < known {
		c.counted.stale++
		return true
	}
	return false
}

// Counters says what was refused or not clear since the start, by cause.
func (c *Cluster) Counters() map[string]uint64 {
	c.read.RLock()
	defer c.read.RUnlock()
	return map[string]uint64{
		"cluster-bad-object":  c.told.badObject,
		"cluster-bad-address": c.told.badAddress,
		"cluster-too-many":    c.told.tooMany,
		"cluster-contested":   c.told.contested, // addresses that came to be claimed by more than one live pod
	}
}

// Gauges says how much is known now, and, as "cluster-stale", how many changes came after newer ones since the start.
func (c *Cluster) Gauges() map[string]uint64 {
	c.read.RLock()
	defer c.read.RUnlock()
	g := c.gauges
	return map[string]uint64{
		"cluster-pods": g.pods, "cluster-services": g.services, "cluster-nodes": g.nodes, "cluster-addresses": g.addresses,
		"cluster-vacant": g.vacant, "cluster-disputed": g.disputed, "cluster-stale": c.told.stale,
	}
}

// Generation grows with each update that changed an answer, also one for a time in the past.
func (c *Cluster) Generation() uint64 {
	c.read.RLock()
	defer c.read.RUnlock()
	return c.generation
}

// ServiceRanges is at most one IPv4 and one IPv6 range, the smallest that hold all ClusterIPs.
func (c *Cluster) ServiceRanges() []netip.Prefix {
	c.read.RLock()
	defer c.read.RUnlock()
	return slices.Clone(c.clusterIPs)
}
