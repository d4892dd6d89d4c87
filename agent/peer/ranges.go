package peer

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"time"
)

// RangesConfig bounds [Ranges]. Zero values mean the defaults.
type RangesConfig struct {
	MaxMembers            int           // addresses of a near range, and near ranges of a wide one, that are told apart; default 64
	MaxAddresses          int           // held in all; default 32768, about 300 bytes each where they are scattered, about 10 where not
	MaxAddressesPerCgroup int           // default 2048
	MaxCgroups            int           // default 8192
	Keep                  time.Duration // how long a range is remembered after its last use; default 24h
}

// The ranges, near and wide. Nothing is ever told more widely than the wide one: that is the floor.
const (
	nearBits4, wideBits4 = 24, 16
	nearBits6, wideBits6 = 64, 48
)

// Ranges decides where a range stands for the addresses without a name that a workload reaches. It is safe for concurrent use.
type Ranges struct {
	keep time.Duration

	mu      sync.Mutex // guards all below
	crowds  *crowds[rangeKey]
	now     time.Time // of the last call
	formed  uint64
	floored uint64
}

type rangeKey struct {
	prefix   netip.Prefix
	port     uint16
	protocol uint8
}

// NewRanges makes an empty Ranges.
func NewRanges(cfg RangesConfig) *Ranges {
	standard := func(value *int, otherwise int) {
		if *value <= 0 {
			*value = otherwise
		}
	}
	standard(&cfg.MaxMembers, 64)
	standard(&cfg.MaxAddresses, 32768)
	standard(&cfg.MaxAddressesPerCgroup, 2048)
	standard(&cfg.MaxCgroups, 8192)
	if cfg.Keep <= 0 {
		cfg.Keep = 24 * time.Hour
	}
	return &Ranges{keep: cfg.Keep, crowds: newCrowds[rangeKey](crowdBounds{
		members: cfg.MaxMembers, perCgroup: cfg.MaxAddressesPerCgroup, total: cfg.MaxAddresses, cgroups: cfg.MaxCgroups,
	})}
}

// Range gives the range that stands for an address without a name, which a cgroup uses with a port and protocol (IPPROTO_TCP, IPPROTO_UDP) at a
// time. The zero prefix says that the address stands for itself.
//
// A cgroup's addresses stand for themselves while it used at most RangesConfig.MaxMembers of their near range (/24, or /64 of IPv6) with that port and
// protocol. From then on the range stands for all of them, also for those that were told before. Where more than MaxMembers near ranges of one wide
// range (/16, or /48 of IPv6) stand, the wide one does for all of its addresses. A range is forgotten when it was not used for RangesConfig.Keep.
//
// Where a cgroup holds as many scattered addresses as it may, further ones are told by their wide range at once, which is counted: what is told of
// one who walks through the Internet stays bounded. It does not allocate for addresses that are known.
func (r *Ranges) Range(cgroup uint64, port uint16, protocol uint8, a netip.Addr, at time.Time) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	near, wide, host, index := ranges(a.Unmap().WithZone(""))
	nearKey, wideKey := rangeKey{near, port, protocol}, rangeKey{wide, port, protocol}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = at
	t := r.crowds.table(cgroup)
	if g := r.crowds.find(t, wideKey, at); g != nil {
		g.touch(at, r.keep)
		if g.stands {
			return wide
		}
	}
	g := r.crowds.find(t, nearKey, at)
	switch {
	case g != nil && g.stands:
		g.touch(at, r.keep)
		return near
	case g != nil && g.has(host):
		g.touch(at, r.keep)
		return netip.Prefix{}
	case (g == nil || len(g.members) < r.crowds.bounds.members) && !r.crowds.room(t, at): // one that comes to stand gives room
		r.floored++
		return wide
	}
	if !r.crowds.add(t, nearKey, host, at, r.keep).stands {
		return netip.Prefix{}
	}
	r.formed++
	if !r.crowds.add(t, wideKey, index, at, r.keep).stands {
		return near
	}
	r.formed++
	r.crowds.removeWhere(t, func(g *crowd[rangeKey]) bool {
		return g.key.port == port && g.key.protocol == protocol && g.key.prefix != wide && wide.Contains(g.key.prefix.Addr())
	})
	return wide
}

// ranges gives the ranges around an address, the address within the near one, and the near one within the wide one.
func ranges(a netip.Addr) (near, wide netip.Prefix, host, index uint64) {
	nearBits, wideBits := nearBits4, wideBits4
	if a.Is4() {
		b := a.As4()
		host, index = uint64(b[3]), uint64(b[2])
	} else {
		nearBits, wideBits = nearBits6, wideBits6
		b := a.As16()
		host, index = binary.BigEndian.Uint64(b[8:]), uint64(binary.BigEndian.Uint16(b[6:]))
	}
	near, _ = a.Prefix(nearBits) // never fails: the bits are right for the family
	wide, _ = a.Prefix(wideBits)
	return near, wide, host, index
}

// Counters says since the start, by cause: how often an address was told by its wide range for want of room, and how many ranges were forgotten while
// they were still good. That a range stands for its addresses is no loss.
func (r *Ranges) Counters() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return map[string]uint64{"net-ranges-full": r.floored, "net-ranges-evicted": r.crowds.evicted}
}

// Gauges says how many ranges stand for their addresses now, how many came to since the start, and how many addresses and ranges are held.
func (r *Ranges) Gauges() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	standing := r.crowds.standing(r.now)
	return map[string]uint64{"net-ranges": uint64(standing), "net-ranges-formed": r.formed, "net-addresses": uint64(r.crowds.held)}
}
