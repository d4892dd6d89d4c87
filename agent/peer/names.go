// Package peer says what the other end of a connection is called.
//
// A name is what this very workload was told: the DNS answers that it received itself. Two workloads may know the same address by different
// names, and neither is asked about the other's.
package peer

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/ambit-nhi/ambit/internal/lru"
)

// Config of [Names]. Zero values mean the defaults.
type Config struct {
	MaxAddresses          int           // in all; default 65536, about 250 bytes each
	MaxAddressesPerCgroup int           // default 2048
	MaxCgroups            int           // default 8192
	Keep                  time.Duration // how long an answer is good after it was received or used, at least; default 1h
}

// maxTTL bounds what an answer may ask for.
const maxTTL = 24 * time.Hour

// Names holds the answers that workloads received. It is safe for concurrent use.
//
// An answer names an address until a newer one of the same workload names it otherwise, or until it was neither received nor used for the longer of
// its TTL and Config.Keep. That is longer than DNS allows on purpose: programs keep addresses (connection pools, resolving once at start),
// and an address that a workload learned under a name and goes on using has no better name.
type Names struct {
	cfg Config

	mu      sync.Mutex // guards all below
	reply   reply
	cgroups *lru.Cache[uint64, *table]
	total   int
	counted counters
}

type table struct {
	addresses *lru.Cache[netip.Addr, named]
}

type named struct {
	name string
	good time.Duration // after the last use
	last time.Time     // received or used
}

type counters struct {
	malformed, badName, beyond, evicted uint64
}

// New makes an empty Names.
func New(cfg Config) *Names {
	if cfg.MaxAddresses <= 0 {
		cfg.MaxAddresses = 65536
	}
	if cfg.MaxAddressesPerCgroup <= 0 {
		cfg.MaxAddressesPerCgroup = 2048
	}
	if cfg.MaxCgroups <= 0 {
		cfg.MaxCgroups = 8192
	}
	if cfg.Keep <= 0 {
		cfg.Keep = time.Hour
	}
	// One table more than allowed, so that the cache never evicts a table uncounted.
	return &Names{cfg: cfg, cgroups: lru.New[uint64, *table](cfg.MaxCgroups + 1)}
}

// Answer takes a DNS message that a cgroup received, without its UDP header, and gives the number of addresses it named. Of two answers, the one
// given later counts as newer. Addresses that stood before a fault in the message are taken over, so added may be above zero with an error. The message is not kept.
func (n *Names) Answer(cgroup uint64, message []byte, at time.Time) (added int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	err = n.reply.read(message)
	switch {
	case errors.Is(err, ErrNotAnswer): // a question, which names nothing: no loss
	case errors.Is(err, ErrName):
		n.counted.badName++
	case err != nil:
		n.counted.malformed++
	}
	n.counted.beyond += uint64(n.reply.beyond)
	if n.reply.n == 0 {
		return 0, err
	}
	t := n.table(cgroup)
	name := ""
	for i, a := range n.reply.addresses[:n.reply.n] {
		if known := t.addresses.Get(a); known != nil && known.name == string(n.reply.name.bytes()) {
			name = known.name // one string for all addresses, and none new for an answer that was received before
		} else if name == "" {
			name = string(n.reply.name.bytes())
		}
		n.put(t, a, named{name: name, good: max(min(n.reply.ttl[i], maxTTL), n.cfg.Keep), last: at})
	}
	return n.reply.n, err
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

// Name gives the name under which a cgroup learned an address, as of a time. It does not allocate.
func (n *Names) Name(cgroup uint64, a netip.Addr, at time.Time) (name string, ok bool) {
	a = a.Unmap().WithZone("")
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.cgroups.Get(cgroup)
	if t == nil {
		return "", false
	}
	e := (*t).addresses.Get(a)
	if e == nil || at.Sub(e.last) > e.good {
		return "", false
	}
	if at.After(e.last) {
		e.last = at
	}
	return e.name, true
}

// Counters says what was refused or forgotten since the start, by cause.
func (n *Names) Counters() map[string]uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return map[string]uint64{
		"dns-malformed": n.counted.malformed,
		"dns-bad-name":  n.counted.badName,
		"dns-too-many":  n.counted.beyond,
		"dns-evicted":   n.counted.evicted,
	}
}
