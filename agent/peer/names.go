// Package peer says what the other end of a connection is called.
//
// A name is what this very workload was told: the DNS answers that it received itself, over UDP ([Names.Answer]) and TCP ([Names.Stream]). Two
// workloads may know the same address by different names, and neither is asked about the other's. The name is the one that was asked for and
// answered with addresses: of names that are tried along a search domain, the one that exists.
//
// Where one thing has many names or addresses, something stands for them, so that what is told stays bounded and means something: names that machines
// write at large providers are told as "*.<suffix>" (suffixes.txt), too many names of one domain as "*.<domain>", too many addresses that have no
// name as a range ([Ranges]).
package peer

import (
	"errors"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/ambit-nhi/ambit/internal/lru"
)

// Config of [Names]. Zero values mean the defaults.
type Config struct {
	MaxAddresses          int           // in all; default 65536, about 300 bytes each
	MaxAddressesPerCgroup int           // default 2048
	MaxCgroups            int           // default 8192
	Keep                  time.Duration // how long an answer is good after it was received or used, at least; default 1h

	ClusterDomain     string // of Kubernetes; default "cluster.local"
	MaxNamesPerDomain int    // of one registered domain that are told apart; default 64
	MaxNames          int    // that are remembered for that, in all; default 32768
	MaxNamesPerCgroup int    // default 1024

	MaxFlows       int // TCP connections whose messages are put together; default 1024
	MaxFlowBytes   int // held of one connection; default 128 KiB
	MaxStreamBytes int // held of all connections; default 4 MiB
}

// maxTTL bounds what an answer may ask for.
const maxTTL = 24 * time.Hour

// Named is what an address is called.
type Named struct {
	Name      string
	Collapsed bool // Name begins with "*.": it stands for many names
}

// Names holds the answers that workloads received. It is safe for concurrent use.
//
// An answer names an address until a newer one of the same workload names it otherwise, or until it was neither received nor used for the longer of
// its TTL and Config.Keep. That is longer than DNS allows on purpose: programs keep addresses (connection pools, resolving once at start),
// and an address that a workload learned under a name and goes on using has no better name.
//
// A workload that received answers for more than Config.MaxNamesPerDomain distinct names below one registered domain (the label before a public suffix,
// and that suffix) has too many: all its names below that domain are "*.<domain>" from then on, also those that it learned before, until it neither
// asked for nor used any of them for that long.
type Names struct {
	cfg      Config
	suffixes suffixes
	seed     maphash.Seed

	mu      sync.Mutex // guards all below
	reply   reply
	cgroups *lru.Cache[uint64, *table]
	total   int
	domains *crowds[string] // by the name that stands for them
	streams streams
	now     time.Time // of the last call
	counted counters
}

type table struct {
	addresses *lru.Cache[netip.Addr, named]
}

type named struct {
	name   string         // as it was asked for
	told   string         // as the list of suffixes has it
	domain *crowd[string] // that the name is one of; nil if there is none
	good   time.Duration  // after the last use
	last   time.Time      // received or used
}

type counters struct {
	malformed, badName, beyond, evicted, collapsed uint64
}

// New makes an empty Names.
func New(cfg Config) *Names {
	standard := func(value *int, otherwise int) {
		if *value <= 0 {
			*value = otherwise
		}
	}
	standard(&cfg.MaxAddresses, 65536)
	standard(&cfg.MaxAddressesPerCgroup, 2048)
	standard(&cfg.MaxCgroups, 8192)
	standard(&cfg.MaxNamesPerDomain, 64)
	standard(&cfg.MaxNames, 32768)
	standard(&cfg.MaxNamesPerCgroup, 1024)
	standard(&cfg.MaxFlows, 1024)
	standard(&cfg.MaxFlowBytes, 128<<10)
	standard(&cfg.MaxStreamBytes, 4<<20)
	if cfg.Keep <= 0 {
		cfg.Keep = time.Hour
	}
	if cfg.ClusterDomain == "" {
		cfg.ClusterDomain = "cluster.local"
	}
	list, err := parseSuffixes(suffixList, cfg.ClusterDomain)
	if err != nil {
		panic(err) // a test reads the list
	}
	return &Names{
		cfg: cfg, suffixes: list, seed: maphash.MakeSeed(), streams: newStreams(cfg),
		// One table more than allowed, so that the cache never evicts a table uncounted.
		cgroups: lru.New[uint64, *table](cfg.MaxCgroups + 1),
		domains: newCrowds[string](crowdBounds{
			members: cfg.MaxNamesPerDomain, perCgroup: cfg.MaxNamesPerCgroup, total: cfg.MaxNames, cgroups: cfg.MaxCgroups,
		}),
	}
}

// Answer takes a DNS message that a cgroup received, without its UDP header, and gives the number of addresses it named. Of two answers, the one
// given later counts as newer. Addresses that stood before a fault in the message are taken over, so added may be above zero with an error. The message is not kept.
func (n *Names) Answer(cgroup uint64, message []byte, at time.Time) (added int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now = at
	n.settle(at)
	err = n.reply.read(message)
	n.count(err)
	return n.take(cgroup, at), err
}

func (n *Names) count(err error) {
	switch {
	case errors.Is(err, ErrNotAnswer): // a question, which names nothing: no loss
	case errors.Is(err, ErrName):
		n.counted.badName++
	case err != nil:
		n.counted.malformed++
	}
}

// take takes over what was read.
func (n *Names) take(cgroup uint64, at time.Time) int {
	r := &n.reply
	n.counted.beyond += uint64(r.beyond)
	if r.n == 0 {
		return 0
	}
	t := n.table(cgroup)
	var entry named // what all addresses of this answer are; it is known, and allocates nothing, if the answer was received before
	for i, a := range r.addresses[:r.n] {
		if entry.name == "" {
			if known := t.addresses.Get(a); known != nil && known.name == string(r.name.bytes()) {
				entry = *known
				n.confirm(cgroup, &entry, at)
			} else {
				entry = n.learn(cgroup, string(r.name.bytes()), at)
			}
		}
		entry.good, entry.last = max(min(r.ttl[i], maxTTL), n.cfg.Keep), at
		if entry.domain != nil {
			entry.domain.touch(at, entry.good)
		}
		n.put(t, a, entry)
	}
	return r.n
}

func (n *Names) table(cgroup uint64) *table {
	if t := n.cgroups.Get(cgroup); t != nil {
		return *t
	}
	t := &table{lru.New[netip.Addr, named](n.cfg.MaxAddressesPerCgroup)}
	n.cgroups.Put(cgroup, t)
	for n.cgroups.Len() > n.cfg.MaxCgroups {
		_, oldest := n.cgroups.Oldest()
		n.total -= (*oldest).addresses.Len()
		n.counted.evicted += uint64((*oldest).addresses.Len())
		n.cgroups.RemoveOldest()
	}
	return t
}

// put makes room first in the workload's own table, then in that of the workload that was quiet for longest.
func (n *Names) put(t *table, a netip.Addr, entry named) {
	before := t.addresses.Len()
	if t.addresses.Put(a, entry) {
		n.counted.evicted++
	}
	n.total += t.addresses.Len() - before
	for n.total > n.cfg.MaxAddresses {
		_, oldest := n.cgroups.Oldest()
		(*oldest).addresses.RemoveOldest()
		n.counted.evicted++
		n.total--
		if (*oldest).addresses.Len() == 0 {
			n.cgroups.RemoveOldest()
		}
	}
}

// Name gives what an address is called to a cgroup that learned it, as of a time. It does not allocate.
func (n *Names) Name(cgroup uint64, a netip.Addr, at time.Time) (name Named, ok bool) {
	a = a.Unmap().WithZone("")
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.cgroups.Get(cgroup)
	if t == nil {
		return Named{}, false
	}
	e := (*t).addresses.Get(a)
	if e == nil || at.Sub(e.last) > e.good {
		return Named{}, false
	}
	if at.After(e.last) {
		e.last = at
	}
	if d := e.domain; d != nil {
		d.touch(at, e.good)
		if d.stands {
			return Named{d.key, true}, true
		}
	}
	return Named{e.told, e.told[0] == '*'}, true // no name of a host begins with one
}

// Counters says what was refused, cut short or forgotten since the start, by cause.
func (n *Names) Counters() map[string]uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return map[string]uint64{
		"dns-malformed":       n.counted.malformed,
		"dns-bad-name":        n.counted.badName,
		"dns-too-many":        n.counted.beyond,
		"dns-evicted":         n.counted.evicted,
		"dns-names-collapsed": n.counted.collapsed,
		"dns-domains-evicted": n.domains.evicted,
		"dns-stream-gaps":     n.streams.gaps,
		"dns-stream-evicted":  n.streams.evicted,
	}
}

// Gauges says of how many domains workloads have too many names now, and how much is held: addresses, TCP connections, and bytes of those.
func (n *Names) Gauges() map[string]uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return map[string]uint64{
		"dns-collapsed-domains": uint64(n.domains.standing(n.now)),
		"dns-addresses":         uint64(n.total),
		"dns-stream-flows":      uint64(n.streams.flows.Len()),
		"dns-stream-bytes":      uint64(n.streams.held),
	}
}
