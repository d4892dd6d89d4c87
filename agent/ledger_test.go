package agent

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// memoryEdges stands for the kernel where time must pass faster than a kernel's: edges in memory, and what the ledger did to them.
type memoryEdges struct {
	edges    map[bpf.Number]bpf.Edge
	counters map[bpf.Number]bpf.Counters
	open     map[bpf.Number]uint64
	unlinked []bpf.Number
	released []bpf.Number
	quota    map[uint64]uint32
}

func (m *memoryEdges) NewEdges() iter.Seq2[bpf.Number, error] { return m.Living() }

func (m *memoryEdges) Edge(n bpf.Number) (bpf.Edge, bool, error) {
	e, ok := m.edges[n]
	return e, ok, nil
}

func (m *memoryEdges) Counters(n bpf.Number) (bpf.Counters, error) { return m.counters[n], nil }

func (m *memoryEdges) Living() iter.Seq2[bpf.Number, error] {
	return func(yield func(bpf.Number, error) bool) {
		for _, n := range slices.Sorted(maps.Keys(m.edges)) {
			if !yield(n, nil) {
				return
			}
		}
	}
}

func (m *memoryEdges) Census() (map[bpf.Number]uint64, error) { return m.open, nil }

func (m *memoryEdges) Unlink(n bpf.Number) error {
	m.unlinked = append(m.unlinked, n)
	return nil
}

func (m *memoryEdges) Release(n bpf.Number) error {
	m.released = append(m.released, n)
	return nil
}

func (m *memoryEdges) SetQuotaUsed(cgroup uint64, used uint32) error {
	m.quota[cgroup] = used
	return nil
}

type plain struct{}

func (plain) Workload(*bpf.Edge) (*event.Workload, bool) {
	return &event.Workload{Unit: "a.service"}, false
}

func (plain) Peer(e *bpf.Edge, _, _ time.Time) (event.Peer, bool) {
	return event.Peer{Address: e.Address, Port: e.Port}, false
}

func (plain) Opened(*bpf.Edge, *event.Workload, time.Time) {}

func (plain) Nameless(*bpf.Edge, *event.Peer, time.Time) {}

func (plain) Own(*event.Workload, event.Identity) *event.Workload { return nil }

func (plain) Generation() uint64 { return 0 }

const edge = bpf.Number(1<<16 | 7)

var start = moment{time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), time.Hour}

func after(d time.Duration) moment { return moment{start.wall.Add(d), start.monotonic + d} }

func newTestLedger(protocol uint8) (*ledger, *memoryEdges, *[]event.Observation) {
	m := &memoryEdges{
		edges: map[bpf.Number]bpf.Edge{edge: {
			Number: edge, Cgroup: 42, Protocol: protocol, Port: 443, Address: netip.MustParseAddr("192.0.2.1"), FirstMonotonic: start.monotonic - time.Second,
		}},
		counters: map[bpf.Number]bpf.Counters{}, open: map[bpf.Number]uint64{}, quota: map[uint64]uint32{},
	}
	var told []event.Observation
	return newLedger(m, plain{}, "n1", func(o *event.Observation) { told = append(told, *o) }), m, &told
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLedgerTellsDifferences(t *testing.T) {
	l, m, told := newTestLedger(unix.IPPROTO_TCP)
	m.counters[edge] = bpf.Counters{Opened: 1}
	n, err := l.announced(start, []bpf.Number{edge, edge})
	check(t, err)
	if n != 1 || len(*told) != 1 {
		t.Fatalf("opened %d edges and told %d, want 1 and 1", n, len(*told))
	}
	first := (*told)[0]
	if first.Counts != (event.Counts{Connections: 1}) || !first.FirstTime.Equal(start.wall.Add(-time.Second)) || first.Direction != event.Outbound {
		t.Fatalf("first observation: %+v", first)
	}
	check(t, l.drain(after(10*time.Second)))
	if len(*told) != 1 {
		t.Fatalf("an edge without change was told: %+v", (*told)[1])
	}
	m.counters[edge] = bpf.Counters{Opened: 5, Failed: 2, Closed: 2, Sent: 100, Received: 7, Error: unix.ECONNREFUSED}
	check(t, l.drain(after(20*time.Second)))
	want := event.Counts{Connections: 4, Failed: 2, BytesSent: 100, BytesReceived: 7}
	if o := (*told)[1]; o.Counts != want || o.Error != "refused" {
		t.Fatalf("counts %+v error %q, want %+v and refused", o.Counts, o.Error, want)
	}
}

func TestLedgerConfirmsOpenConnections(t *testing.T) {
	f := func(protocol uint8, wantTold int) {
		t.Helper()
		l, m, told := newTestLedger(protocol)
		m.counters[edge] = bpf.Counters{Opened: 1}
		_, err := l.announced(start, []bpf.Number{edge})
		check(t, err)
		for s := 10; s <= 180; s += 10 {
			check(t, l.drain(after(time.Duration(s)*time.Second)))
		}
		if len(*told) != wantTold {
			t.Errorf("told %d times, want %d", len(*told), wantTold)
		}
		for _, o := range (*told)[1:] {
			if o.Counts != (event.Counts{}) {
				t.Errorf("a confirmation counts %+v", o.Counts)
			}
		}
	}
	f(unix.IPPROTO_TCP, 1+3)
	f(unix.IPPROTO_UDP, 1) // nobody knows when a UDP socket is done
}

func TestLedgerRetires(t *testing.T) {
	l, m, told := newTestLedger(unix.IPPROTO_TCP)
	m.counters[edge] = bpf.Counters{Opened: 1, Closed: 1}
	_, err := l.announced(start, []bpf.Number{edge})
	check(t, err)
	check(t, l.drain(after(calm.retire-time.Second)))
	if len(m.unlinked) != 0 {
		t.Fatal("unlinked too early")
	}
	check(t, l.drain(after(calm.retire)))
	if !slices.Equal(m.unlinked, []bpf.Number{edge}) || len(m.released) != 0 {
		t.Fatalf("unlinked %v released %v, want it unlinked only", m.unlinked, m.released)
	}
	// A program that had looked the number up before adds to it now: that is told, and the number waits again.
	m.counters[edge] = bpf.Counters{Opened: 2, Closed: 1}
	check(t, l.drain(after(calm.retire+time.Second)))
	m.counters[edge] = bpf.Counters{Opened: 2, Closed: 2, Sent: 9}
	check(t, l.drain(after(2*calm.retire)))
	check(t, l.drain(after(3*calm.retire-time.Second)))
	if len(m.released) != 0 {
		t.Fatal("released while its last change was young")
	}
	check(t, l.drain(after(3*calm.retire)))
	if !slices.Equal(m.released, []bpf.Number{edge}) || m.quota[42] != 0 || len(l.living) != 0 {
		t.Fatalf("released %v, quota %v, living %d", m.released, m.quota, len(l.living))
	}
	var sum event.Counts
	for _, o := range *told {
		sum.Add(o.Counts)
	}
	if want := (event.Counts{Connections: 2, BytesSent: 9}); sum != want {
		t.Fatalf("told %+v in all, want %+v", sum, want)
	}
	// The old number still stands in the kernel's array: a scan must not bring it back. A new generation must come.
	if n, err := l.scan(after(3 * calm.retire)); err != nil || n != 0 {
		t.Fatalf("scan opened %d, %v; want none", n, err)
	}
	next := bpf.Number(2<<16 | 7)
	m.edges = map[bpf.Number]bpf.Edge{next: {Number: next, Cgroup: 42, Protocol: unix.IPPROTO_TCP, Port: 1, Address: netip.MustParseAddr("192.0.2.2")}}
	if n, err := l.scan(after(3 * calm.retire)); err != nil || n != 1 {
		t.Fatalf("scan opened %d, %v; want the new generation", n, err)
	}
}

// Where the kernel skipped the end of a connection, two censuses in a row say so, and the edge may retire.
func TestLedgerCensusCorrectsDrift(t *testing.T) {
	l, m, _ := newTestLedger(unix.IPPROTO_TCP)
	m.counters[edge] = bpf.Counters{Opened: 3, Closed: 1}
	_, err := l.announced(start, []bpf.Number{edge})
	check(t, err)
	m.open[edge] = 1
	check(t, l.census())
	check(t, l.census())
	check(t, l.drain(after(2*calm.retire)))
	if len(m.unlinked) != 0 {
		t.Fatal("unlinked with one connection open")
	}
	m.open[edge] = 0
	check(t, l.census())
	check(t, l.drain(after(2*calm.retire)))
	if len(m.unlinked) != 0 {
		t.Fatal("unlinked after one census")
	}
	check(t, l.census())
	check(t, l.drain(after(2*calm.retire)))
	if len(m.unlinked) != 1 {
		t.Fatal("an edge whose connections are gone was not unlinked")
	}
	if n := l.lost()["end-missed"]; n != 2 {
		t.Errorf("%d ends are counted as missed, want 2", n)
	}
}

// Cgroup 42 holds many edges, of which one is in use, and cgroup 43 a few, which are idle.
func TestLedgerMakesRoom(t *testing.T) {
	f := func(edges int, many, others patience, kept int) {
		t.Helper()
		m := &memoryEdges{edges: map[bpf.Number]bpf.Edge{}, counters: map[bpf.Number]bpf.Counters{}, quota: map[uint64]uint32{}}
		l := newLedger(m, plain{}, "n1", func(*event.Observation) {})
		for i := range bpf.Number(edges) {
			n := 1<<16 | i
			m.edges[n] = bpf.Edge{Number: n, Cgroup: 42, Protocol: unix.IPPROTO_TCP}
			if int(i) >= edges-few {
				m.edges[n] = bpf.Edge{Number: n, Cgroup: 43, Protocol: unix.IPPROTO_TCP}
			}
			m.counters[n] = bpf.Counters{Opened: 1, Closed: 1}
		}
		used := bpf.Number(1 << 16)
		m.counters[used] = bpf.Counters{Opened: 1} // its connection stays open
		unlinked := func(cgroup uint64) (n int) {
			for _, x := range m.unlinked {
				if m.edges[x].Cgroup == cgroup {
					n++
				}
			}
			return n
		}
		_, err := l.scan(start)
		check(t, err)
		check(t, l.drain(after(many.retire-1)))
		if len(m.unlinked) != 0 {
			t.Fatalf("%d of %d edges went before %s", len(m.unlinked), edges, many.retire)
		}
		check(t, l.drain(after(many.retire)))
		if n := unlinked(42); n != edges-few-1 || slices.Contains(m.unlinked, used) || len(m.released) != 0 {
			t.Fatalf("after %s, %d of %d idle edges are unlinked and %d released", many.retire, n, edges-few-1, len(m.released))
		}
		if n := unlinked(43); n != 0 && many != others {
			t.Fatalf("after %s, %d edges of the cgroup that holds few are unlinked", many.retire, n)
		}
		check(t, l.drain(after(many.retire+many.release)))
		if got := int(m.quota[42]); got != kept {
			t.Fatalf("%d of %d edges are kept, want %d", got, edges, kept)
		}
	}
	f(few+100, calm, calm, 1)
	f(bpf.Edges/2-1, calm, calm, 1)
	f(bpf.Edges/2, pressed, calm, few)
	f(bpf.Edges/4*3, hurried, short, few)
	f(bpf.Edges, hurried, short, few)
}
