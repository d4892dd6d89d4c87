package agent

import (
	"iter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// edgeSource is the part of the kernel side that the ledger reads.
type edgeSource interface {
	NewEdges() iter.Seq2[bpf.Number, error]
	Edge(bpf.Number) (bpf.Edge, bool, error)
	Counters(bpf.Number) (bpf.Counters, error)
	Living() iter.Seq2[bpf.Number, error]
	Census() (map[bpf.Number]uint64, error)
	Unlink(bpf.Number) error
	Release(bpf.Number) error
	SetQuotaUsed(cgroup uint64, used uint32) error
}

// describer says who an edge belongs to, and what the peer is called of what began on it between two times. Where it says soon, it may know better in a
// moment: see hold.go. It is told when edges were opened.
// Nameless says what stands for a peer without a name, when it is told.
type describer interface {
	Workload(*bpf.Edge) (w *event.Workload, soon bool) // shared; not to be changed
	Peer(e *bpf.Edge, at, until time.Time) (p event.Peer, soon bool)
	Opened(e *bpf.Edge, w *event.Workload, at time.Time)
	Nameless(e *bpf.Edge, p *event.Peer, at time.Time)
	Own(w *event.Workload, id event.Identity) *event.Workload // who it is by an identity that it has proven; nil if as before
	Generation() uint64                                       // grows when answers may have changed
}

// confirmEvery is how often an edge with open connections is told again: it is in use.
const confirmEvery = time.Minute

// patience is how long an edge is kept. The kernel holds 65536 of them; what is idle and has nothing open makes room.
type patience struct {
	retire  time.Duration // without change and without open connection: the key is unlinked
	release time.Duration // after that, its number may be used again: a program that had looked it up is long done
}

// Where room becomes scarce, so does patience. An edge that goes was told, and is told anew if it is used again, but a new one that finds no room is
// lost. Cgroups that hold few edges are not who fills the node.
var (
	calm    = patience{5 * time.Minute, time.Minute}
	short   = patience{2 * time.Minute, 10 * time.Second}  // for those who hold few, where little room is left
	pressed = patience{30 * time.Second, 10 * time.Second} // for the others, from half of the edges on
	hurried = patience{5 * time.Second, time.Second}       // for the others, where little room is left
)

// few edges are what each of 256 cgroups could hold.
const few = bpf.Edges / 256

func (l *ledger) patience(cgroup uint64) patience {
	some, many := calm, calm
	switch {
	case l.crowded():
		some, many = short, hurried
	case len(l.living) >= bpf.Edges/2:
		many = pressed
	}
	if l.cgroups[cgroup] <= few {
		return some
	}
	return many
}

// crowded says that little room is left.
func (l *ledger) crowded() bool { return len(l.living) >= bpf.Edges/4*3 }

// ledger turns the kernel's growing counters into observations: what is new at once, and what changed at each drain. It is for one goroutine.
type ledger struct {
	edges    edgeSource
	describe describer
	observe  func(*event.Observation)
	node     string

	entries [bpf.Edges]*entry     // by index
	gone    [bpf.Edges]bpf.Number // the last number released: it stands in the kernel's array until the index is used again
	living  []*entry
	cgroups map[uint64]uint32 // edges by cgroup, for the kernel's quota
	missed  uint64            // ends of connections that the kernel's programs did not see, with their bytes
	told    attributed

	handshakes handshakes // nil where nobody looks
	homeless   uint64     // handshakes that found no edge to be told with
	more       int        // sorts of handshakes that are not told yet, besides one of each edge

	waiting
}

// attributed counts connections by whether their workload has a proper identity.
type attributed struct{ connections, unattributed uint64 }

// entry is an edge that lives. There may be 65536 of them, so it is kept small.
type entry struct {
	edge     bpf.Edge
	workload *event.Workload
	asked    uint64 // generation of the answer
	unsure   bool   // a better one may come soon
	secured  *secured
	wait
	last     tally         // as of the last look
	looked   time.Duration // monotonic
	drift    uint64        // connections that only look open, by the last census
	suspect  uint64        // the same in the census before: one census may meet a connection between two states
	changed  time.Duration // monotonic
	told     time.Duration
	unlinked time.Duration // monotonic; 0 while the kernel knows its key
}

// tally is the part of an edge's counters that is compared.
type tally struct {
	opened, inherited, failed, closed, sent, received uint64
}

func tallyOf(c *bpf.Counters) tally {
	return tally{c.Opened, c.Inherited, c.Failed, c.Closed, c.Sent, c.Received}
}

// open is how many connections are open, see [bpf.Counters.Open].
func (t *tally) open() uint64 {
	begun, ended := t.opened+t.inherited, t.failed+t.closed
	return begun - min(begun, ended)
}

func newLedger(edges edgeSource, describe describer, node string, observe func(*event.Observation)) *ledger {
	return &ledger{edges: edges, describe: describe, node: node, observe: observe, cgroups: map[uint64]uint32{}}
}

// announced opens the edges that the kernel announced since the last call and observes them. It gives how many there were.
func (l *ledger) announced(now moment, numbers []bpf.Number) (int, error) {
	opened := 0
	for _, n := range numbers {
		ok, err := l.open(n, now)
		if err != nil {
			return opened, err
		}
		if ok {
			opened++
		}
	}
	return opened, nil
}

// scan opens the edges that were not announced because the ring was full.
func (l *ledger) scan(now moment) (int, error) {
	opened := 0
	for n, err := range l.edges.Living() {
		if err != nil {
			return opened, err
		}
		ok, err := l.open(n, now)
		if err != nil {
			return opened, err
		}
		if ok {
			opened++
		}
	}
	return opened, nil
}

func (l *ledger) open(n bpf.Number, now moment) (bool, error) {
	if l.entries[n.Index()] != nil || l.gone[n.Index()] == n {
		return false, nil
	}
	e, ok, err := l.edges.Edge(n)
	if err != nil || !ok {
		return false, err
	}
	x := &entry{edge: e, changed: now.monotonic}
	l.entries[n.Index()] = x
	l.living = append(l.living, x)
	l.cgroups[e.Cgroup]++
	c, err := l.edges.Counters(n)
	if err != nil {
		return true, err
	}
	first := now.at(e.FirstMonotonic)
	l.attribute(x)
	l.describe.Opened(&x.edge, x.workload, first)
	l.tell(x, c, now, first)
	return true, nil
}

// drain observes every edge that changed since the last drain, and lets go of those that are idle.
func (l *ledger) drain(now moment) error {
	kept := l.living[:0]
	smaller := map[uint64]bool{} // cgroups that hold fewer edges now
	for i, x := range l.living {
		c, err := l.edges.Counters(x.edge.Number)
		if err != nil {
			l.living = append(kept, l.living[i:]...)
			return err
		}
		switch {
		case !x.sameAs(c) || x.secured.untold() > 0:
			x.changed = now.monotonic
			l.tell(x, c, now, time.Time{})
		case x.openNow() && now.monotonic-x.told >= confirmEvery:
			l.tell(x, c, now, time.Time{})
		}
		x.looked = now.monotonic
		gone, err := l.retire(x, now)
		if err != nil {
			l.living = append(kept, l.living[i:]...)
			return err
		}
		if gone {
			smaller[x.edge.Cgroup] = true
		} else {
			kept = append(kept, x)
		}
	}
	clear(l.living[len(kept):])
	l.living = kept
	for cgroup := range smaller {
		if err := l.edges.SetQuotaUsed(cgroup, l.cgroups[cgroup]); err != nil {
			return err
		}
	}
	return nil
}

// sameAs says whether nothing happened since the edge was told.
func (x *entry) sameAs(c bpf.Counters) bool { return tallyOf(&c) == x.last }

func (x *entry) openNow() bool {
	return x.edge.Protocol == unix.IPPROTO_TCP && x.last.open() > x.drift
}

// attribute asks whose an edge is, if the answer may have changed since. What was known stays known when its source forgets it.
func (l *ledger) attribute(x *entry) {
	generation := l.describe.Generation()
	if x.workload != nil && x.asked == generation {
		return
	}
	w, soon := l.describe.Workload(&x.edge)
	x.asked = generation
	if x.workload != nil && x.workload.Evidence.Strength() > w.Evidence.Strength() {
		return
	}
	x.workload, x.unsure = w, soon
}

func (l *ledger) observation(x *entry, now moment, peer event.Peer) event.Observation {
	if peer.Identity.IsZero() && peer.Name == "" {
		l.describe.Nameless(&x.edge, &peer, now.wall)
	}
	o := event.Observation{
		Time: now.wall, Node: l.node, Workload: *x.workload, Direction: event.Outbound, Protocol: event.TCP, Peer: peer,
	}
	if x.edge.Inbound {
		o.Direction = event.Inbound
	}
	if x.edge.Protocol == unix.IPPROTO_UDP {
		o.Protocol = event.UDP
	}
	return o
}

func (l *ledger) emit(o *event.Observation) {
	l.told.connections += o.Counts.Connections
	if o.Workload.Unattributed != "" {
		l.told.unattributed += o.Counts.Connections
	}
	l.observe(o)
}

// retire unlinks an idle edge, and later gives its number back. gone says that the ledger has forgotten it.
func (l *ledger) retire(x *entry, now moment) (gone bool, err error) {
	p := l.patience(x.edge.Cgroup)
	switch {
	case len(x.parts) > 0: // it was not told yet
		return false, nil
	case now.monotonic-x.changed < p.retire || x.openNow():
		return false, nil // a change after the unlinking, by a program that had the number already, also makes it wait again
	case x.unlinked == 0:
		x.unlinked = now.monotonic
		return false, l.edges.Unlink(x.edge.Number)
	case now.monotonic-x.unlinked < p.release || now.monotonic-x.changed < p.release:
		return false, nil
	}
	l.entries[x.edge.Number.Index()] = nil
	l.gone[x.edge.Number.Index()] = x.edge.Number
	left := l.cgroups[x.edge.Cgroup] - 1
	if left == 0 {
		delete(l.cgroups, x.edge.Cgroup)
	} else {
		l.cgroups[x.edge.Cgroup] = left
	}
	return true, l.edges.Release(x.edge.Number)
}

// census corrects edges whose connections only look open because the kernel skipped their end.
func (l *ledger) census() error {
	open, err := l.edges.Census()
	if err != nil {
		return err
	}
	for _, x := range l.living {
		if x.edge.Protocol != unix.IPPROTO_TCP {
			continue
		}
		c, err := l.edges.Counters(x.edge.Number)
		if err != nil {
			return err
		}
		extra := c.Open() - min(c.Open(), open[x.edge.Number])
		drift := min(extra, x.suspect)
		l.missed += drift - min(drift, x.drift)
		x.drift, x.suspect = drift, extra
	}
	return nil
}

// lost says what the ledger knows to be lost, by cause.
func (l *ledger) lost() map[string]uint64 {
	return map[string]uint64{"end-missed": l.missed, "tls-no-edge": l.homeless}
}

// errorClass puts the errno of a failed connect into one of a few classes that mean the same on every kernel.
func errorClass(e unix.Errno) string {
	switch e {
	case 0:
		return ""
	case unix.ECONNREFUSED:
		return "refused"
	case unix.ETIMEDOUT:
		return "timeout"
	case unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ENETDOWN, unix.EHOSTDOWN, unix.EADDRNOTAVAIL:
		return "unreachable"
	case unix.ECONNRESET, unix.EPIPE, unix.ECONNABORTED:
		return "reset"
	case unix.ECANCELED:
		return "canceled"
	case unix.EPERM, unix.EACCES:
		return "denied"
	default:
		return "other"
	}
}
