package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// traffic is what really happens on edges: connections that begin, shake hands or do not, and end.
type traffic struct {
	*memoryEdges
	ledger *ledger
	told   []event.Observation
	now    time.Duration // since start
	sorts  map[string]*shaken
	due    []shaking
	met    map[string]map[string]uint64 // handshakes by the edge's address and server name
}

type shaking struct {
	at   time.Duration
	edge bpf.Number
	sort *shaken
}

func (w *traffic) UnderWay(n bpf.Number) bool {
	return slices.ContainsFunc(w.due, func(s shaking) bool { return s.edge == n })
}

func newTraffic() *traffic {
	w := &traffic{sorts: map[string]*shaken{}, met: map[string]map[string]uint64{}}
	w.ledger, w.memoryEdges, _ = newTestLedger(unix.IPPROTO_TCP)
	clear(w.edges)
	w.ledger.observe = func(o *event.Observation) { w.told = append(w.told, *o) }
	w.ledger.handshakes = w
	return w
}

func addressOf(n bpf.Number) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
}

// connect begins a connection on an edge; with a server name it shakes hands for a while.
func (w *traffic) connect(n bpf.Number, server string, takes time.Duration) {
	if _, ok := w.edges[n]; !ok {
		w.edges[n] = bpf.Edge{Number: n, Cgroup: 42, Protocol: unix.IPPROTO_TCP, Port: 443, Address: addressOf(n), FirstMonotonic: after(w.now).monotonic}
	}
	c := w.counters[n]
	c.Opened++
	w.counters[n] = c
	if server == "" {
		return
	}
	s := w.sorts[server]
	if s == nil {
		s = &shaken{tls: event.TLS{SNI: server, Provenance: "full"}}
		w.sorts[server] = s
	}
	w.due = append(w.due, shaking{w.now + takes, n, s})
}

func (w *traffic) change(n bpf.Number, f func(*bpf.Counters)) {
	if c, ok := w.counters[n]; ok {
		f(&c)
		w.counters[n] = c
	}
}

// pass lets time pass as the agent does, up to the next poll.
func (w *traffic) pass(t interface{ Fatal(...any) }, tick time.Duration) {
	w.now += tick
	now := after(w.now)
	w.announce(t, now)
	w.due = slices.DeleteFunc(w.due, func(s shaking) bool {
		if s.at > w.now {
			return false
		}
		a := addressOf(s.edge).String()
		if w.met[a] == nil {
			w.met[a] = map[string]uint64{}
		}
		w.met[a][s.sort.tls.SNI]++
		w.ledger.handshook(s.edge, s.sort)
		return true
	})
	for _, err := range []error{w.ledger.retry(now), w.ledger.look(now)} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (w *traffic) announce(t interface{ Fatal(...any) }, now moment) {
	var numbers []bpf.Number
	for n := range w.Living() {
		numbers = append(numbers, n)
	}
	if _, err := w.ledger.announced(now, numbers); err != nil {
		t.Fatal(err)
	}
}

// However connections, their handshakes and looks at them meet, each is told once, on its edge, in time.
func TestLedgerNeitherLosesNorDoublesWhatItSplits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newTraffic()
		edges := rapid.IntRange(1, 4).Draw(t, "edges")
		number := func() bpf.Number { return bpf.Number(1<<16 | rapid.IntRange(1, edges).Draw(t, "edge")) }
		const tick = 20 * time.Millisecond
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2:
				n := number()
				server := fmt.Sprintf("s%d.%d", rapid.IntRange(0, 2).Draw(t, "server"), n.Index())
				w.connect(n, server, time.Duration(rapid.IntRange(0, 3000).Draw(t, "takes"))*time.Millisecond)
			case 3:
				w.connect(number(), "", 0)
			case 4:
				w.change(number(), func(c *bpf.Counters) {
					if c.Failed+c.Closed < c.Opened {
						c.Failed, c.Error = c.Failed+1, unix.ECONNREFUSED
					}
				})
			case 5:
				w.change(number(), func(c *bpf.Counters) {
					if c.Failed+c.Closed < c.Opened {
						c.Closed, c.Sent, c.Received = c.Closed+1, c.Sent+11, c.Received+13
					}
				})
			case 6:
				w.announce(t, after(w.now))
				if err := w.ledger.drain(after(w.now)); err != nil {
					t.Fatal(err)
				}
			case 7:
				if err := w.ledger.settle([]netip.Addr{addressOf(number())}, after(w.now)); err != nil {
					t.Fatal(err)
				}
			default:
				for range rapid.IntRange(1, 40).Draw(t, "ticks") {
					w.pass(t, tick)
				}
			}
			for _, x := range w.ledger.living {
				for _, p := range x.parts {
					if age := after(w.now).monotonic - p.cut; age > handshakeWait+tick {
						t.Fatalf("something waits for %s", age)
					}
				}
				if !x.held && len(x.parts) > 0 {
					t.Fatal("parts of an edge wait, and nobody looks at it")
				}
			}
		}
		w.announce(t, after(w.now))
		for _, f := range []func(moment) error{w.ledger.finish, w.ledger.drain} {
			if err := f(after(w.now)); err != nil {
				t.Fatal(err)
			}
		}
		w.check(t)
	})
}

func (w *traffic) check(t interface{ Errorf(string, ...any) }) {
	sums, by := map[string]event.Counts{}, map[string]map[string]uint64{}
	for _, o := range w.told {
		a := o.Peer.Address.String()
		c := sums[a]
		add(&c, o.Counts)
		sums[a] = c
		if o.TLS == nil {
			continue
		}
		if w.met[a][o.TLS.SNI] == 0 {
			t.Errorf("%s is told with the handshake of another edge: %s", a, o.TLS.SNI)
		}
		if by[a] == nil {
			by[a] = map[string]uint64{}
		}
		if by[a][o.TLS.SNI] += o.Counts.Connections; by[a][o.TLS.SNI] > w.met[a][o.TLS.SNI] {
			t.Errorf("%d of %d handshakes of %s at %s are told", by[a][o.TLS.SNI], w.met[a][o.TLS.SNI], o.TLS.SNI, a)
		}
	}
	for n, c := range w.counters {
		want := event.Counts{Connections: c.Opened, Failed: c.Failed, BytesSent: c.Sent, BytesReceived: c.Received}
		if got := sums[addressOf(n).String()]; got != want {
			t.Errorf("told %+v of an edge that has %+v", got, want)
		}
	}
	for _, x := range w.ledger.living {
		if x.secured.untold() > 0 {
			t.Errorf("%d handshakes are not told", x.secured.untold())
		}
	}
	if w.ledger.more != 0 {
		t.Errorf("%d sorts count as not told", w.ledger.more)
	}
}

// On a busy edge there is always a handshake under way. Each connection is told with its own all the same, but for those that have none.
func TestLedgerTellsEveryHandshakeOfABusyEdge(t *testing.T) {
	f := func(every, takes time.Duration, bare int) {
		t.Helper()
		w := newTraffic()
		n, secured, plain := bpf.Number(1<<16|7), uint64(0), uint64(0)
		const tick = 20 * time.Millisecond
		for i := 0; w.now < 65*time.Second; i++ {
			if w.now%every == 0 && w.now < 60*time.Second {
				if bare > 0 && i%bare == 0 {
					w.connect(n, "", 0)
					plain++
				} else {
					w.connect(n, fmt.Sprintf("s%d", i%3), takes)
					secured++
				}
			}
			w.pass(t, tick)
			if w.now%(10*time.Second) == 0 {
				check(t, w.ledger.drain(after(w.now)))
			}
		}
		check(t, w.ledger.finish(after(w.now)))
		check(t, w.ledger.drain(after(w.now)))
		w.check(t)
		var with, without uint64
		for _, o := range w.told {
			if o.TLS != nil {
				with += o.Counts.Connections
			} else {
				without += o.Counts.Connections
			}
		}
		if with+without != secured+plain || without > plain+plain/10+1 {
			t.Errorf("a connection every %s, handshakes of %s, one of %d bare: %d with and %d without handshake, want %d and %d", every, takes, bare, with, without, secured, plain)
		}
		t.Logf("%d observations", len(w.told))
	}
	f(20*time.Millisecond, 100*time.Millisecond, 0)
	f(20*time.Millisecond, 1200*time.Millisecond, 0)
	f(40*time.Millisecond, 1200*time.Millisecond, 5)
	f(100*time.Millisecond, 1800*time.Millisecond, 0)
	f(1000*time.Millisecond, 1100*time.Millisecond, 2)
}

// Handshakes are for those connections only that they can be of.
func TestLedgerKeepsHandshakesForTheirConnections(t *testing.T) {
	const n, tick = bpf.Number(1<<16 | 7), 20 * time.Millisecond
	counts := func(w *traffic) (with, without uint64) {
		for _, o := range w.told {
			if o.TLS != nil {
				with += o.Counts.Connections
			} else {
				without += o.Counts.Connections
			}
		}
		return with, without
	}

	// One waits, another was told to wait later: the handshake of the one is not that of both.
	w := newTraffic()
	w.connect(n, "a", time.Second)
	w.pass(t, tick)
	w.connect(n, "b", 1500*time.Millisecond)
	check(t, w.ledger.settle([]netip.Addr{addressOf(n)}, after(w.now)))
	for w.now < 1900*time.Millisecond {
		w.pass(t, tick)
	}
	if with, without := counts(w); with != 2 || without != 0 {
		t.Errorf("%d connections with and %d without handshake, want 2 with", with, without)
	}

	// Those that begin meanwhile keep theirs until they are told.
	w = newTraffic()
	w.connect(n, "a", time.Second)
	w.pass(t, tick)
	for range 5 {
		w.connect(n, "b", 980*time.Millisecond)
	}
	for w.now < 3*time.Second {
		w.pass(t, tick)
	}
	check(t, w.ledger.drain(after(w.now)))
	if with, without := counts(w); with != 6 || without != 0 {
		t.Errorf("%d connections with and %d without handshake, want 6 with", with, without)
	}
}

// What many programs make up is bounded for all of them together. An edge's first handshake always has room.
func TestLedgerBoundsHandshakesOfAllEdges(t *testing.T) {
	w := newTraffic()
	const edges = 2*maxMore/maxSorts + 1
	for round := range 2 {
		for i := range edges {
			n := bpf.Number(1<<16 | i)
			w.connect(n, "", 0)
		}
		w.announce(t, after(w.now))
		for i := range edges {
			for j := range maxSorts {
				w.ledger.handshook(bpf.Number(1<<16|i), &shaken{tls: event.TLS{SNI: fmt.Sprintf("%d.%d", round, j)}})
			}
		}
		untold := 0
		for _, x := range w.ledger.living {
			if len(x.secured.sorts) == 0 {
				t.Fatal("an edge has none")
			}
			untold += len(x.secured.sorts)
		}
		if untold != maxMore+edges || w.ledger.homeless != uint64((round+1)*(edges*maxSorts-untold)) {
			t.Fatalf("%d sorts are held, and %d were not taken", untold, w.ledger.homeless)
		}
		w.now += 10 * time.Second
		check(t, w.ledger.retry(after(w.now)))
		check(t, w.ledger.drain(after(w.now)))
		if w.ledger.more != 0 {
			t.Fatalf("%d sorts count as not told", w.ledger.more)
		}
	}
}

// Who the peer is does not depend on whether a handshake is missed, or was tried: a stable edge goes on as what it is.
func TestLedgerRecognizesPeers(t *testing.T) {
	const n = bpf.Number(1<<16 | 7)
	db, other := mustIdentity(t, "spiffe://shop.example/db"), mustIdentity(t, "spiffe://shop.example/other")
	f := func(want event.Identity, inbound bool, shown ...*shaken) {
		t.Helper()
		w := newTraffic()
		w.connect(n, "", 0)
		e := w.edges[n]
		e.Inbound = inbound
		w.edges[n] = e
		w.announce(t, after(0))
		for _, s := range shown {
			w.ledger.handshook(n, s)
		}
		check(t, w.ledger.retry(after(time.Second)))
		check(t, w.ledger.drain(after(time.Second)))
		w.told = nil
		w.change(n, func(c *bpf.Counters) { c.Opened, c.Failed, c.Error = c.Opened+2, c.Failed+1, unix.ECONNREFUSED })
		check(t, w.ledger.drain(after(10*time.Second)))
		check(t, w.ledger.retry(after(13*time.Second)))
		if len(w.told) != 1 {
			t.Fatalf("told %+v", w.told)
		}
		if o := w.told[0]; o.Peer.Identity != want || o.TLS != nil || o.Counts.Failed != 1 || o.Counts.Connections != 2 {
			t.Errorf("told %+v, want the peer %q", o, want)
		}
	}
	proven := func(id event.Identity) *shaken { return &shaken{tls: event.TLS{Provenance: "full"}, peer: id} }
	wire := &shaken{tls: event.TLS{Provenance: "wire-only"}}
	none := event.Identity{}
	f(none, false)
	f(none, false, wire)
	f(db, false, proven(db))
	f(db, false, proven(db), wire)
	f(none, false, proven(db), proven(other)) // several behind one address
	f(none, false, proven(db), proven(other), proven(db))
	f(none, true, proven(db)) // clients behind one address
}

// The counters of an edge that was let go of are another's.
func TestLedgerLooksOnlyAtItsOwnEdges(t *testing.T) {
	l, m, told := newTestLedger(unix.IPPROTO_TCP)
	m.counters[edge] = bpf.Counters{Opened: 5, Failed: 5}
	_, err := l.announced(start, []bpf.Number{edge})
	check(t, err)
	check(t, l.settle([]netip.Addr{m.edges[edge].Address}, start))
	for i := range bpf.Edges - 1 { // room is scarce
		l.living = append(l.living, &entry{edge: bpf.Edge{Number: bpf.Number(i), Cgroup: 1}, changed: start.monotonic + time.Hour})
	}
	l.cgroups[42] += few
	check(t, l.drain(after(6*time.Second)))
	check(t, l.drain(after(8*time.Second)))
	if len(m.released) != 1 {
		t.Fatal("it was not let go of")
	}
	*told = nil
	m.counters[edge] = bpf.Counters{Opened: 1}
	check(t, l.look(after(9*time.Second)))
	if len(*told) != 0 {
		t.Errorf("told %+v", *told)
	}
}
