package bpf

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestNumberNext(t *testing.T) {
	const noEdge = 0xffffffff
	rapid.Check(t, func(t *rapid.T) {
		generation := rapid.Uint32Range(1, 0xfffe).Draw(t, "generation")
		n := Number(generation<<16 | uint32(rapid.Uint16().Draw(t, "index")))
		next := n.next()
		if next.Index() != n.Index() || next == n || next == 0 || next == noEdge || next>>16 == 0 {
			t.Fatalf("after %#x comes %#x", n, next)
		}
	})
	if n := Number(0xfffe_1234).next(); n != 0x0001_1234 {
		t.Errorf("after the last generation comes %#x", n)
	}
}

func TestCountersOpen(t *testing.T) {
	f := func(c Counters, want uint64) {
		t.Helper()
		if got := c.Open(); got != want {
			t.Errorf("%+v: %d are open, want %d", c, got, want)
		}
	}
	f(Counters{}, 0)
	f(Counters{Opened: 5, Inherited: 2, Failed: 1, Closed: 3}, 3)
	f(Counters{Closed: 3}, 0) // opened before us, ended since
}

func TestEdgeOf(t *testing.T) {
	f := func(address string, flags uint8, want Edge) {
		t.Helper()
		o := ambitOrigin{Number: 0x10002, First: 42}
		o.Key.Cgroup, o.Key.Port, o.Key.Protocol, o.Key.Flags = 7, 443, 6, flags
		*(*[16]byte)(unsafe.Pointer(&o.Key.Address)) = netip.MustParseAddr(address).As16()
		o.Process = ambitProcess{File: 1, Inode: 2, Device: 3, Uid: 4, Tgid: 5, Interactive: 1}
		want.Number, want.Cgroup, want.Port, want.Protocol, want.FirstMonotonic = 0x10002, 7, 443, 6, 42
		want.Process = Process{1, 2, 3, 4, 5, true}
		if got := edgeOf(&o); got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	f("10.1.2.3", 0, Edge{Address: netip.MustParseAddr("10.1.2.3")})
	f("::ffff:10.1.2.3", 1, Edge{Address: netip.MustParseAddr("10.1.2.3"), Inbound: true})
	f("2001:db8::1", 2, Edge{Address: netip.MustParseAddr("2001:db8::1")})
	f("::", 4, Edge{Address: netip.IPv6Unspecified(), Overflow: true})
}

func FuzzEdgeOf(f *testing.F) {
	f.Add(make([]byte, originBytes))
	f.Add(bytes.Repeat([]byte{0xff}, int(originBytes)))
	f.Fuzz(func(t *testing.T, b []byte) {
		for o := range records[ambitOrigin](b) {
			e := edgeOf(&o)
			if !e.Address.IsValid() || e.Address.Is4In6() || e.Address.Zone() != "" {
				t.Errorf("address %v", e.Address)
			}
			if uint32(e.Number) != o.Number || e.Number.Index() >= Edges {
				t.Errorf("number %#x of %#x", e.Number, o.Number)
			}
		}
	})
}

func FuzzCountSockets(f *testing.F) {
	var b []byte
	for _, n := range []uint64{1, 10, 1, 10, 2, 10} {
		b = binary.NativeEndian.AppendUint64(b, n)
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		total := uint64(0)
		for _, n := range countSockets(b) {
			total += n
		}
		if total > uint64(len(b)/16) {
			t.Errorf("%d sockets in %d bytes", total, len(b))
		}
	})
}

func TestCountSockets(t *testing.T) {
	var b []byte
	for _, n := range []uint64{1, 10, 2, 10, 1, 10, 3, 11} {
		b = binary.NativeEndian.AppendUint64(b, n)
	}
	got := countSockets(append(b, 1, 2, 3)) // a rest
	if len(got) != 2 || got[10] != 2 || got[11] != 1 {
		t.Errorf("got %v", got)
	}
}

func FuzzText(f *testing.F) {
	f.Add([]byte("/usr/bin/a\x00rest"))
	f.Add([]byte{})
	f.Add([]byte("no end"))
	f.Fuzz(func(t *testing.T, b []byte) {
		signed := make([]int8, len(b))
		for i := range b {
			signed[i] = int8(b[i])
		}
		want, _, _ := strings.Cut(string(b), "\x00")
		if got := text(signed); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// Go names the counters; the C side numbers them.
func TestCauses(t *testing.T) {
	spec, err := loadAmbit()
	if err != nil {
		t.Fatal(err)
	}
	var counter *btf.Enum
	if err := spec.Types.TypeByName("counter", &counter); err != nil {
		t.Fatal(err)
	}
	if len(counter.Values) != len(causes)+1 {
		t.Fatalf("%d values for %d causes", len(counter.Values), len(causes))
	}
	for i, v := range counter.Values {
		want := "counters"
		if i < len(causes) {
			want = causes[i]
		}
		if name := strings.ReplaceAll(strings.ToLower(v.Name), "_", "-"); name != want || v.Value != uint64(i) {
			t.Errorf("%s = %d is called %q", v.Name, v.Value, want)
		}
	}
}

// What Go reads by offset is as large as what C writes, and an edge is one cache line.
func TestLayout(t *testing.T) {
	spec, err := loadAmbit()
	if err != nil {
		t.Fatal(err)
	}
	f := func(name string, size uintptr) {
		t.Helper()
		var s *btf.Struct
		if err := spec.Types.TypeByName(name, &s); err != nil {
			t.Error(err)
		} else if uintptr(s.Size) != size {
			t.Errorf("struct %s has %d bytes, in Go %d", name, s.Size, size)
		}
	}
	f("edge", 64)
	f("edge", unsafe.Sizeof(ambitEdge{}))
	f("origin", unsafe.Sizeof(ambitOrigin{}))
	f("answer", unsafe.Sizeof(ambitAnswer{}))
	f("running", unsafe.Sizeof(ambitRunning{}))
	f("open_socket", unsafe.Sizeof(ambitOpenSocket{}))
	for _, m := range []string{"numbers", "edges", "origins", "unused"} {
		if n := spec.Maps[m].MaxEntries; n != Edges {
			t.Errorf("map %s has %d entries, want %d", m, n, Edges)
		}
	}
}

func TestMonotonicIsTheKernelsClock(t *testing.T) {
	kernel := func() time.Duration {
		t.Helper()
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			t.Fatal(err)
		}
		return time.Duration(now.Nano())
	}
	before := kernel()
	now, err := Monotonic()
	if err != nil {
		t.Fatal(err)
	}
	if after := kernel(); now < before-time.Millisecond || now > after+time.Millisecond {
		t.Errorf("%s is not between %s and %s", now, before, after)
	}
}
