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

// Where an edge waits for its own pod while its peer's address moves, its peer could be either.
func TestLedgerBlursWhatCouldBeEither(t *testing.T) {
	l, m, s, told := newSlowLedger(t)
	s.owner = true
	m.counters[edge] = bpf.Counters{Opened: 2}
	_, err := l.announced(start, []bpf.Number{edge})
	check(t, err)
	check(t, l.settle([]netip.Addr{m.edges[edge].Address}, after(time.Second)))
	s.learn(true, true)
	check(t, l.retry(after(2*time.Second)))
	if o := (*told)[0]; o.Workload != s.workload || o.Peer.Identity != (event.Identity{}) || l.lost()["peer-blurred"] != 2 {
		t.Fatalf("%+v, %v; want the workload, no peer, and it counted", o, l.lost())
	}
}

// later is a describer to whose address a pod came and went before the one that has it now: who had it depends on when.
type later struct {
	*slow
	since time.Time
	now   event.Identity
}

func (d *later) Peer(e *bpf.Edge, at, _ time.Time) (event.Peer, bool) {
	p := event.Peer{Address: e.Address, Port: e.Port}
	if at.Before(d.since) {
		return p, true // nobody says yet who had it then
	}
	p.Identity = d.now
	return p, false
}

// What waited is not mixed with what is done to the address's next owner.
func TestLedgerEndsTheWaitWhenAnAddressHasAnOwner(t *testing.T) {
	l, m, s, told := newSlowLedger(t)
	s.learn(true, true)
	next := identity(t, "next")
	l.describe = &later{s, start.wall.Add(2 * time.Second), next}
	address := []netip.Addr{m.edges[edge].Address}
	m.counters[edge] = bpf.Counters{Opened: 1}
	_, err := l.announced(start, []bpf.Number{edge})
	check(t, err)
	check(t, l.settled(address, after(time.Second)))
	if len(*told) != 0 {
		t.Fatal("told while nobody has the address")
	}
	check(t, l.settled(address, after(2*time.Second)))
	m.counters[edge] = bpf.Counters{Opened: 4}
	check(t, l.drain(after(3*time.Second)))
	if len(*told) != 2 || (*told)[0].Peer.Identity != (event.Identity{}) || (*told)[0].Counts.Connections != 1 ||
		(*told)[1].Peer.Identity != next || (*told)[1].Counts.Connections != 3 {
		t.Fatalf("told %+v; want one connection of nobody's, and three of the next owner's", *told)
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
