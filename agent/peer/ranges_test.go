package peer

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestRanges(t *testing.T) {
	r := NewRanges(RangesConfig{Keep: time.Hour})
	use := func(a string, at time.Time) string {
		t.Helper()
		p := r.Range(1, 443, unix.IPPROTO_TCP, netip.MustParseAddr(a), at)
		if p == (netip.Prefix{}) {
			return ""
		}
		return p.String()
	}
	f := func(what, a string, after time.Duration, want string) {
		t.Helper()
		if got := use(a, start.Add(after)); got != want {
			t.Errorf("%s: %s is told by %q, want %q", what, a, got, want)
		}
	}
	for i := range 64 {
		f("few", fmt.Sprintf("10.1.0.%d", i), 0, "")
		f("few, again", fmt.Sprintf("10.1.0.%d", i), 0, "")
		f("few of IPv6", fmt.Sprintf("fd00:1:2:3::%x", i), 0, "")
	}
	f("another range", "10.1.1.1", 0, "")
	f("one too many", "10.1.0.64", 0, "10.1.0.0/24")
	f("an old one", "10.1.0.3", 0, "10.1.0.0/24")
	f("as the socket has it", "::ffff:10.1.0.3", 0, "10.1.0.0/24")
	f("another range", "10.1.1.1", 0, "")
	f("one too many of IPv6", "fd00:1:2:3:ffff::1", 0, "fd00:1:2:3::/64")
	f("another of IPv6", "fd00:1:2:4::1", 0, "")
	if p := r.Range(2, 443, unix.IPPROTO_TCP, netip.MustParseAddr("10.1.0.3"), start); p.IsValid() {
		t.Errorf("another workload: %s", p)
	}
	if p := r.Range(1, 444, unix.IPPROTO_TCP, netip.MustParseAddr("10.1.0.3"), start); p.IsValid() {
		t.Errorf("another port: %s", p)
	}
	if p := r.Range(1, 443, unix.IPPROTO_UDP, netip.MustParseAddr("10.1.0.3"), start); p.IsValid() {
		t.Errorf("another protocol: %s", p)
	}
	if p := r.Range(1, 443, unix.IPPROTO_UDP, netip.Addr{}, start); p.IsValid() {
		t.Errorf("no address: %s", p)
	}
	if got := r.Gauges()["net-ranges"]; got != 2 {
		t.Errorf("%d ranges stand", got)
	}

	f("in use", "10.1.0.3", 59*time.Minute, "10.1.0.0/24")
	f("in use for long", "10.1.0.3", 118*time.Minute, "10.1.0.0/24")
	if got := r.Gauges()["net-ranges"]; got != 1 {
		t.Errorf("%d ranges stand after one was idle", got)
	}
	f("idle", "fd00:1:2:3::1", 118*time.Minute, "")
	f("idle for long", "10.1.0.3", 4*time.Hour, "")
	if got := r.Gauges(); got["net-ranges"] != 0 || got["net-addresses"] != 1 {
		t.Errorf("after all were idle: %v", got)
	}
}

func TestWideRanges(t *testing.T) {
	f := func(what, address, near, wide string) {
		t.Helper()
		r := NewRanges(RangesConfig{MaxAddressesPerCgroup: 5000})
		last := netip.Prefix{}
		use := func(network, host int) {
			last = r.Range(1, 443, unix.IPPROTO_TCP, netip.MustParseAddr(fmt.Sprintf(address, network, host)), start)
		}
		for network := range 64 {
			for host := range 65 {
				use(network, host)
			}
		}
		if last != netip.MustParsePrefix(fmt.Sprintf(near, 63)) {
			t.Errorf("%s: 64 ranges: %s", what, last)
		}
		for host := range 64 {
			use(70, host)
		}
		if last.IsValid() {
			t.Errorf("%s: 64 ranges and some addresses: %s", what, last)
		}
		use(70, 64)
		if last != netip.MustParsePrefix(wide) {
			t.Errorf("%s: 65 ranges: %s", what, last)
		}
		use(3, 3)
		if last != netip.MustParsePrefix(wide) {
			t.Errorf("%s: one of before: %s", what, last)
		}
		use(99, 1)
		if last != netip.MustParsePrefix(wide) {
			t.Errorf("%s: a new one: %s", what, last)
		}
		if g, c := r.Gauges(), r.Counters(); g["net-ranges"] != 1 || g["net-addresses"] != 1 || g["net-ranges-formed"] != 66 || c["net-ranges-full"] != 0 {
			t.Errorf("%s: %v, %v", what, g, c)
		}
	}
	f("IPv4", "10.1.%d.%d", "10.1.%d.0/24", "10.1.0.0/16")
	f("IPv6", "2001:db8:7:%x::%x", "2001:db8:7:%x::/64", "2001:db8:7::/48")
}

// One who walks through the Internet is told by floors, and does not make others forget.
func TestRangesAreBounded(t *testing.T) {
	r := NewRanges(RangesConfig{MaxAddresses: 1000, MaxAddressesPerCgroup: 300, MaxCgroups: 10, Keep: time.Hour})
	told := map[netip.Prefix]bool{}
	for i := range 5000 {
		a := netip.AddrFrom4([4]byte{byte(10 + i%4), byte(i >> 8), byte(i), 1})
		told[r.Range(1, 443, unix.IPPROTO_TCP, a, start)] = true
		if r.crowds.held > 300 {
			t.Fatalf("%d held", r.crowds.held)
		}
	}
	if c := r.Counters(); c["net-ranges-full"] != 4700 || c["net-ranges-evicted"] != 0 {
		t.Errorf("%v", c)
	}
	if len(told) != 1+4*19 {
		t.Errorf("%d ranges were told", len(told))
	}
	if p := r.Range(1, 443, unix.IPPROTO_TCP, netip.MustParseAddr("10.0.0.1"), start); p.IsValid() {
		t.Errorf("an address that was known before: %s", p)
	}
	if p := r.Range(1, 443, unix.IPPROTO_TCP, netip.MustParseAddr("10.99.0.1"), start.Add(2*time.Hour)); p.IsValid() {
		t.Errorf("an address after the others were idle: %s", p)
	}
	for cgroup := range uint64(40) {
		for i := range byte(200) {
			r.Range(cgroup, 443, unix.IPPROTO_TCP, netip.AddrFrom4([4]byte{10, i, 0, 1}), start)
		}
		if r.crowds.held > 1000 || r.crowds.tables.Len() > 10 {
			t.Fatalf("%d held of %d cgroups", r.crowds.held, r.crowds.tables.Len())
		}
	}
	if r.Counters()["net-ranges-evicted"] == 0 {
		t.Error("evictions were not counted")
	}
}

// Whatever is used: a range contains the address, is near or the floor, is the same for all addresses in it from then on, and the books balance.
func TestRangesHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.IntRange(1, 4).Draw(t, "members")
		perCgroup := rapid.IntRange(members+1, 40).Draw(t, "per cgroup")
		r := NewRanges(RangesConfig{MaxMembers: members, MaxAddresses: 60, MaxAddressesPerCgroup: perCgroup, MaxCgroups: 3, Keep: time.Hour})
		again := NewRanges(RangesConfig{MaxMembers: members, MaxAddresses: 60, MaxAddressesPerCgroup: perCgroup, MaxCgroups: 3, Keep: time.Hour})
		at := start
		for range rapid.IntRange(1, 300).Draw(t, "uses") {
			cgroup := rapid.Uint64Range(1, 4).Draw(t, "cgroup")
			b := rapid.SliceOfN(rapid.ByteRange(0, 5), 3, 3).Draw(t, "address")
			a := netip.AddrFrom4([4]byte{10, b[0] % 2, b[1], b[2]})
			if rapid.Bool().Draw(t, "IPv6") {
				a = netip.AddrFrom16([16]byte{0xfd, 5: b[0] % 2, 7: b[1], 15: b[2]})
			}
			at = at.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "minutes")) * time.Minute)
			p := r.Range(cgroup, 443, unix.IPPROTO_TCP, a, at)
			if p != again.Range(cgroup, 443, unix.IPPROTO_TCP, a, at) {
				t.Fatal("the same uses are told differently")
			}
			near, wide, _, _ := ranges(a)
			if p.IsValid() && (!p.Contains(a) || p != near && p != wide || p != p.Masked()) {
				t.Fatalf("%s is told by %s", a, p)
			}
			if second := r.Range(cgroup, 443, unix.IPPROTO_TCP, a, at); second != p {
				t.Fatalf("%s is told by %s, then by %s", a, p, second)
			}
			again.Range(cgroup, 443, unix.IPPROTO_TCP, a, at)
			checkCrowds(t, r.crowds)
		}
	})
}

func checkCrowds[K comparable](t interface{ Fatalf(string, ...any) }, c *crowds[K]) {
	held := 0
	for _, table := range c.tables.All() {
		weight := 0
		for key, g := range (*table).groups.All() {
			if (*g).gone || (*g).key != key || len((*g).members) > c.bounds.members || (*g).stands && (*g).members != nil {
				t.Fatalf("group %v: %+v", key, **g)
			}
			weight += (*g).weight()
		}
		if weight != (*table).held || weight > c.bounds.perCgroup {
			t.Fatalf("a cgroup holds %d, counted %d, may hold %d", weight, (*table).held, c.bounds.perCgroup)
		}
		held += weight
	}
	if held != c.held || held > c.bounds.total || c.tables.Len() > c.bounds.cgroups {
		t.Fatalf("%d held of %d cgroups, counted %d", held, c.tables.Len(), c.held)
	}
}

func TestKnownAddressesDoNotAllocate(t *testing.T) {
	r := NewRanges(RangesConfig{})
	single, many := netip.MustParseAddr("fd00::1"), netip.MustParseAddr("10.0.0.1")
	r.Range(1, 443, unix.IPPROTO_TCP, single, start)
	for i := range byte(100) {
		r.Range(1, 443, unix.IPPROTO_TCP, netip.AddrFrom4([4]byte{10, 0, 0, i}), start)
	}
	if got := testing.AllocsPerRun(100, func() {
		r.Range(1, 443, unix.IPPROTO_TCP, single, start)
		r.Range(1, 443, unix.IPPROTO_TCP, many, start)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkRange(b *testing.B) {
	r := NewRanges(RangesConfig{})
	for i := range byte(60) {
		r.Range(1, 443, unix.IPPROTO_TCP, netip.AddrFrom4([4]byte{10, 0, 0, i}), start)
	}
	address := netip.MustParseAddr("10.0.0.30")
	b.ReportAllocs()
	for b.Loop() {
		r.Range(1, 443, unix.IPPROTO_TCP, address, start)
	}
}
