package agent

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// slow is a describer that knows some ends only later.
type slow struct {
	workload   event.Workload
	peer       event.Identity
	pod, owner bool // known by now
	generation uint64
}

func (s *slow) Workload(*bpf.Edge) (*event.Workload, bool) {
	if !s.pod {
		return &event.Workload{Evidence: event.EvidenceCgroup, Unattributed: event.UnattributedPod}, true
	}
	w := s.workload
	return &w, false
}

func (s *slow) Peer(e *bpf.Edge, _, _ time.Time) (event.Peer, bool) {
	p := event.Peer{Address: e.Address, Port: e.Port}
	if s.owner {
		p.Identity = s.peer
	}
	return p, !s.owner
}

func (*slow) Opened(*bpf.Edge, *event.Workload, time.Time) {}

func (*slow) Nameless(*bpf.Edge, *event.Peer, time.Time) {}

func (*slow) Own(*event.Workload, event.Identity) *event.Workload { return nil }

func (s *slow) Generation() uint64 { return s.generation }

func (s *slow) learn(pod, owner bool) {
	s.pod, s.owner = pod, owner
	s.generation++
}

func identity(t *testing.T, account string) event.Identity {
	t.Helper()
	td, err := event.ParseTrustDomain("shop.example")
	check(t, err)
	return event.KubernetesIdentity(td, "shop", account)
}

func newSlowLedger(t *testing.T) (*ledger, *memoryEdges, *slow, *[]event.Observation) {
	t.Helper()
	l, m, told := newTestLedger(unix.IPPROTO_TCP)
	s := &slow{workload: event.Workload{Identity: identity(t, "web"), Evidence: event.EvidenceKubernetes}, peer: identity(t, "db")}
	l.describe = s
	return l, m, s, told
}

func TestLedgerWaitsForItsPod(t *testing.T) {
	l, m, s, told := newSlowLedger(t)
	s.owner = true
	m.counters[edge] = bpf.Counters{Opened: 1}
	_, err := l.announced(start, []bpf.Number{edge})
	check(t, err)
	m.counters[edge] = bpf.Counters{Opened: 3, Closed: 3, Sent: 9}
	check(t, l.drain(after(5*time.Second)))
	check(t, l.retry(after(5*time.Second)))
	if len(*told) != 0 || l.held[0] == nil {
		t.Fatalf("told before its pod was known: %+v", *told)
	}
	s.learn(true, true)
	check(t, l.retry(after(6*time.Second)))
	want := event.Counts{Connections: 3, BytesSent: 9}
	if len(*told) != 1 || (*told)[0].Workload != s.workload || (*told)[0].Counts != want || !(*told)[0].FirstTime.Equal(start.wall.Add(-time.Second)) {
		t.Fatalf("told %+v, want all of it under the pod's name since its first connection", *told)
	}
	check(t, l.retry(after(7*time.Second)))
	if len(*told) != 1 || len(l.held) != 0 {
		t.Fatalf("told again, or still held: %d, %d", len(*told), len(l.held))
	}
}

func TestLedgerWaitsNoLongerThanItSays(t *testing.T) {
	l, m, s, told := newSlowLedger(t)
	m.counters[edge] = bpf.Counters{Opened: 1, Closed: 1}
	_, err := l.announced(start, []bpf.Number{edge})
	check(t, err)
	check(t, l.retry(after(nameWait-1)))
	if len(*told) != 0 {
		t.Fatal("told too early")
	}
	check(t, l.retry(after(nameWait)))
	if len(*told) != 1 || (*told)[0].Workload.Unattributed != event.UnattributedPod || (*told)[0].Peer.Identity != (event.Identity{}) {
		t.Fatalf("after the wait: %+v, want it told as unattributed", *told)
	}
	m.counters[edge] = bpf.Counters{Opened: 2, Closed: 1}
	check(t, l.drain(after(2*nameWait)))
	if len(*told) != 2 {
		t.Fatal("an edge that waited in vain waits again")
	}
	if l.told.connections != 2 || l.told.unattributed != 2 {
		t.Errorf("counted %+v", l.told)
	}
	// The API came back.
	s.learn(true, true)
	m.counters[edge] = bpf.Counters{Opened: 3, Closed: 1}
	check(t, l.drain(after(3*nameWait)))
	if o := (*told)[2]; o.Workload != s.workload || o.Peer.Identity != s.peer || o.Counts.Connections != 1 {
		t.Fatalf("when it is known at last: %+v", o)
	}
	// A source that forgets a pod that is gone does not take its name away.
	s.learn(false, true)
	m.counters[edge] = bpf.Counters{Opened: 3, Closed: 3}
	check(t, l.drain(after(4*nameWait)))
	if o := (*told)[3]; o.Workload != s.workload {
		t.Fatalf("forgotten: %+v", o)
	}
}

func TestLedgerNeverRetiresWhatWaits(t *testing.T) {
	l, m, _, told := newSlowLedger(t)
	m.counters[edge] = bpf.Counters{Opened: 1, Closed: 1}
	_, err := l.announced(start, []bpf.Number{edge})
	check(t, err)
	check(t, l.drain(after(2*calm.retire)))
	if len(m.unlinked) != 0 && len(*told) == 0 {
		t.Fatal("let go of an edge that was not told")
	}
}

// An address moves from one owner to another: each gets what was toward it, and nobody gets what failed in between.
func TestLedgerSettlesAddressesThatMove(t *testing.T) {
	l, m, s, told := newSlowLedger(t)
	s.learn(true, true)
	address := []netip.Addr{m.edges[edge].Address}
	m.counters[edge] = bpf.Counters{Opened: 1, Closed: 1}
	_, err := l.announced(start, []bpf.Number{edge})
	check(t, err)

	m.counters[edge] = bpf.Counters{Opened: 5, Closed: 5}
	check(t, l.settle(address, after(time.Second)))
	if o := (*told)[1]; o.Counts.Connections != 4 || o.Peer.Identity != s.peer {
		t.Fatalf("before the move: %+v", o)
	}
	s.learn(true, false)
	m.counters[edge] = bpf.Counters{Opened: 7, Failed: 2, Closed: 5, Error: unix.ECONNREFUSED}
	check(t, l.look(after(1100*time.Millisecond)))
	if o := (*told)[2]; o.Counts != (event.Counts{Connections: 2, Failed: 2}) || o.Error != "refused" || o.Peer.Identity != (event.Identity{}) {
		t.Fatalf("while it is nobody's: %+v", o)
	}
	m.counters[edge] = bpf.Counters{Opened: 10, Failed: 2, Closed: 5}
	check(t, l.retry(after(1200*time.Millisecond)))
	check(t, l.settle(address, after(1300*time.Millisecond)))
	if len(*told) != 3 {
		t.Fatalf("told before the new owner was known: %+v", (*told)[3:])
	}
	s.peer = identity(t, "cache")
	s.learn(true, true)
	check(t, l.retry(after(1400*time.Millisecond)))
	if o := (*told)[3]; o.Counts.Connections != 3 || o.Peer.Identity != s.peer {
		t.Fatalf("after the move: %+v", o)
	}
	// What the new owner gets is told with the next poll.
	m.counters[edge] = bpf.Counters{Opened: 11, Failed: 2, Closed: 5}
	check(t, l.look(after(1420*time.Millisecond)))
	if len(*told) != 5 || (*told)[4].Counts.Connections != 1 {
		t.Fatalf("not looked at closely: %+v", (*told)[4:])
	}
	check(t, l.look(after(closeLook+2*time.Second)))
	if len(l.close) != 0 {
		t.Error("still looked at closely")
	}
}

// turns is a describer of an address that one pod after the other has: at most one in a window, or nobody.
type turns struct {
	*slow
	until []time.Time
	names []string
	t     *testing.T
}

func (d *turns) Peer(e *bpf.Edge, at, until time.Time) (event.Peer, bool) {
	p := event.Peer{Address: e.Address, Port: e.Port}
	for i, end := range d.until {
		if at.Before(end) {
			if until.Before(end) && d.owner {
				p.Identity = identity(d.t, d.names[i])
			}
			break
		}
	}
	return p, p.Identity.IsZero()
}

// Two pods have an address in turn and connect from it on the same edge, and the API tells of both much later: each gets what it did.
func TestLedgerKeepsApartWhatWaits(t *testing.T) {
	l, m, s, told := newSlowLedger(t)
	d := &turns{slow: s, until: []time.Time{start.wall.Add(100 * time.Millisecond), start.wall.Add(time.Hour)}, names: []string{"one", "two"}, t: t}
	s.learn(true, false)
	l.describe = d
	at := func(ms time.Duration, c bpf.Counters) {
		m.counters[edge] = c
		check(t, l.retry(after(ms*time.Millisecond)))
	}
	m.counters[edge] = bpf.Counters{Opened: 1}
	_, err := l.announced(start, []bpf.Number{edge})
	check(t, err)
	at(20, bpf.Counters{Opened: 2, Sent: 5})
	at(90, bpf.Counters{Opened: 3, Closed: 1, Sent: 9})
	at(110, bpf.Counters{Opened: 4, Closed: 2, Sent: 9}) // whose this is, nobody can say
	at(130, bpf.Counters{Opened: 6, Closed: 6, Sent: 10})
	at(150, bpf.Counters{Opened: 6, Closed: 6, Sent: 12})
	if len(*told) != 0 {
		t.Fatalf("told too early: %+v", *told)
	}
	s.learn(true, true)
	check(t, l.retry(after(time.Second)))
	check(t, l.retry(after(nameWait+105*time.Millisecond)))
	check(t, l.retry(after(nameWait+110*time.Millisecond)))
	want := []struct {
		account string
		counts  event.Counts
	}{{"one", event.Counts{Connections: 3, BytesSent: 9}}, {"", event.Counts{Connections: 1}}, {"two", event.Counts{Connections: 2, BytesSent: 3}}}
	if len(*told) != len(want) || len(l.held) != 0 || len(l.close) != 1 {
		t.Fatalf("told %+v, and %d edges wait, %d are looked at closely", *told, len(l.held), len(l.close))
	}
	for i, w := range want {
		peer := event.Identity{}
		if w.account != "" {
			peer = identity(t, w.account)
		}
		if o := (*told)[i]; o.Peer.Identity != peer || o.Counts != w.counts || o.FirstTime.IsZero() {
			t.Errorf("told %+v, want %+v", o, w)
		}
	}
}

// More parts than are kept apart are told as one, which must fit one peer.
func TestLedgerBoundsParts(t *testing.T) {
	l, m, s, told := newSlowLedger(t)
	l.describe = &turns{slow: s, until: []time.Time{start.wall.Add(200 * time.Millisecond), start.wall.Add(time.Hour)}, names: []string{"one", "two"}, t: t}
	s.learn(true, false)
	m.counters[edge] = bpf.Counters{Opened: 1}
	_, err := l.announced(start, []bpf.Number{edge})
	check(t, err)
	for i := range 20 {
		m.counters[edge] = bpf.Counters{Opened: uint64(i + 2)}
		check(t, l.retry(after(time.Duration(i+1)*20*time.Millisecond)))
	}
	if n := len(l.entries[edge.Index()].parts); n != maxParts {
		t.Fatalf("%d parts, want %d", n, maxParts)
	}
	s.learn(true, true)
	check(t, l.retry(after(2*nameWait)))
	if len(*told) != 2 || (*told)[0].Counts.Connections != maxParts-1 || (*told)[0].Peer.Identity.IsZero() || !(*told)[1].Peer.Identity.IsZero() || (*told)[1].Counts.Connections != 21-maxParts+1 {
		t.Fatalf("told %+v", *told)
	}
}

// Where an edge waits for its own pod while its peer's address moves, each owner gets what was for it.
func TestLedgerKeepsOwnersApartWhileItsPodIsUnknown(t *testing.T) {
	l, m, s, told := newSlowLedger(t)
	move := start.wall.Add(time.Second)
	l.describe = &turns{slow: s, until: []time.Time{move.Add(1), move.Add(time.Hour)}, names: []string{"one", "two"}, t: t}
	s.owner = true
	m.counters[edge] = bpf.Counters{Opened: 2}
	_, err := l.announced(start, []bpf.Number{edge})
	check(t, err)
	check(t, l.settle([]netip.Addr{m.edges[edge].Address}, after(time.Second)))
	m.counters[edge] = bpf.Counters{Opened: 3}
	check(t, l.retry(after(1100*time.Millisecond)))
	s.learn(true, true)
	check(t, l.retry(after(2*time.Second)))
	check(t, l.retry(after(2*nameWait)))
	if len(*told) != 2 || (*told)[0].Peer.Identity != identity(t, "one") || (*told)[0].Counts.Connections != 2 || (*told)[0].Workload != s.workload ||
		(*told)[1].Counts.Connections != 1 || (*told)[1].Peer.Identity == identity(t, "one") {
		t.Fatalf("told %+v", *told)
	}
}

func TestLedgerFinishesWithoutWaiting(t *testing.T) {
	l, m, _, told := newSlowLedger(t)
	m.counters[edge] = bpf.Counters{Opened: 2}
	_, err := l.announced(start, []bpf.Number{edge})
	check(t, err)
	check(t, l.finish(after(time.Second)))
	check(t, l.drain(after(time.Second)))
	if len(*told) != 1 || (*told)[0].Counts.Connections != 2 {
		t.Fatalf("at the end: %+v", *told)
	}
}
