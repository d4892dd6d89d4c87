// Package handshake joins what programs' probes and the wire tell of TLS handshakes. A probe knows certificates and that a handshake completed, and often
// the socket; the wire knows the socket and the hellos. They meet by the socket's cookie or, where a program's TLS never touches its socket, by the random
// of the hello that it sent.
//
// What is not sure is left out: a lost record makes a handshake tell less, never something else.
package handshake

import (
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/lru"
)

// How long it is waited.
const (
	settle   = 100 * time.Millisecond // after the end of a handshake, for what the other ring has, and for what programs ask for then
	quiet    = time.Second            // after the last news of one that nobody says goes on
	patience = 10 * time.Second       // after the last news of one that can still end
	sameCall = 10 * time.Millisecond  // between records of one return of a Go function
)

// Bounds.
const (
	defaultPending      = 16384   // handshakes under way, of programs and of the wire
	defaultCertificates = 4096    // known ones
	defaultBytes        = 8 << 20 // of them
	maxTold             = 2 * defaultPending
	maxTargets          = 1024
)

// Verdict is what a certificate proves, to whom shows that the key is theirs.
type Verdict struct {
	ID       event.Identity // that it has or, unless Verified, claims
	Verified bool
	Cause    string
}

// Config of a [Tracker]. Bounds that are zero have defaults.
type Config struct {
	Judge func(chain [][]byte, at time.Time) Verdict // says whether a chain, leaf first, was a valid SVID; it does not keep the chain
	Wall  func(monotonic time.Duration) time.Time

	Pending          int // handshakes under way at a time
	Certificates     int // that are kept
	CertificateBytes int // that they take
}

// Handshake is one that is over, or of which no more will be known.
type Handshake struct {
	Edge          bpf.Number // 0 if not known
	Cookie        uint64     // of the socket
	Cgroup        uint64
	TGID          uint32 // 0 if not known
	At            time.Time
	Client        bool           // the near end began it
	Local, Remote netip.AddrPort // zero if not known
	Target        uint32         // whose probes told of it; 0 if none did, or the kernel does not say

	TLS       event.TLS      // its certificates are shared, and not to be changed
	Peer, Own event.Identity // zero unless proven
	OK        bool           // it completed; of one that only the wire saw: both sides agreed to have it
}

// Tracker is for one goroutine.
type Tracker struct {
	cfg   Config
	now   time.Duration // the latest time heard of, monotonic
	queue queue

	connections map[connection]*probed // that probes tell of
	bound       map[uint64]*probed     // those of them whose socket is known, by its cookie
	seeking     map[sent]*probed       // those of them that sent a hello
	wires       map[uint64]*wired      // by the socket's cookie
	hellos      map[sent]*wired        // those of them that sent one
	underWay    map[bpf.Number]int32   // by edge
	told        told

	certificates certificates
	sessions     *lru.Cache[origin, remembered]
	doubts       *lru.Cache[bpf.Number, time.Time] // when an edge had a handshake that a session can be of, with nobody knows whom
	unbound      map[uint32]struct{}
	blind        map[uint32]struct{}

	ready  []Handshake
	losses [causes]uint64
	gauges [provenances]uint64
}

// New makes a tracker.
func New(cfg Config) *Tracker {
	set := func(n *int, standard int) {
		if *n <= 0 {
			*n = standard
		}
	}
	set(&cfg.Pending, defaultPending)
	set(&cfg.Certificates, defaultCertificates)
	set(&cfg.CertificateBytes, defaultBytes)
	t := &Tracker{
		cfg: cfg, connections: map[connection]*probed{}, bound: map[uint64]*probed{}, seeking: map[sent]*probed{},
		wires: map[uint64]*wired{}, hellos: map[sent]*wired{}, underWay: map[bpf.Number]int32{}, told: newTold(maxTold),
		sessions: lru.New[origin, remembered](maxSessions), doubts: lru.New[bpf.Number, time.Time](maxSessions), unbound: map[uint32]struct{}{}, blind: map[uint32]struct{}{},
	}
	t.certificates = newCertificates(cfg, &t.losses)
	return t
}

// Due gives the handshakes that are over by now, on the monotonic clock, or given up, and were not given before. They are valid until the next call.
//
// One that was given as wire-only is given again, if probes tell of it later.
func (t *Tracker) Due(now time.Duration) []Handshake {
	t.now = max(t.now, now)
	for len(t.queue) > 0 && t.queue[0].due <= t.now {
		t.look(t.queue[0], false)
	}
	out := t.ready
	t.ready = t.ready[:0]
	return out
}

// UnderWay says whether a handshake on an edge has begun, is not told yet, and was heard of in the last second.
func (t *Tracker) UnderWay(edge bpf.Number) bool { return t.underWay[edge] > 0 }

// Unbound gives the targets that had handshakes whose sockets are not known, since the last call.
func (t *Tracker) Unbound(yield func(target uint32)) {
	for target := range t.unbound {
		yield(target)
	}
	clear(t.unbound)
}

// Blind gives the processes that had handshakes of which no probe told, since the last call: their TLS is of another make, or driven by functions without
// probes.
func (t *Tracker) Blind(yield func(tgid uint32)) {
	for tgid := range t.blind {
		yield(tgid)
	}
	clear(t.blind)
}

func mark(set map[uint32]struct{}, number uint32) {
	if number != 0 && len(set) < maxTargets {
		set[number] = struct{}{}
	}
}

// look says what becomes of what waits. Where room is scarce, it is pressed to become something.
func (t *Tracker) look(x *pending, pressed bool) {
	if x.probed != nil {
		t.lookProbed(x.probed, pressed)
	} else {
		t.lookWired(x.wired, pressed)
	}
}

// admit makes room for one more that waits, and has it wait.
func (t *Tracker) admit(x *pending) {
	for len(t.queue) >= t.cfg.Pending {
		t.losses[pendingFull]++
		t.look(t.queue[0], true)
	}
	x.last, x.due = t.now, t.now+quiet
	t.queue.add(x)
	t.setActive(x, true)
}

// news takes note that something was heard of what waits.
func (t *Tracker) news(x *pending, edge bpf.Number) {
	x.last = t.now
	if edge != 0 && edge != x.edge {
		active := x.active
		t.setActive(x, false)
		x.edge = edge
		t.setActive(x, active)
	}
	t.setActive(x, true)
}

func (t *Tracker) setActive(x *pending, active bool) {
	if x.active == active {
		return
	}
	x.active = active
	switch {
	case x.edge == 0:
	case active:
		t.underWay[x.edge]++
	case t.underWay[x.edge] == 1:
		delete(t.underWay, x.edge)
	default:
		t.underWay[x.edge]--
	}
}

// idle looks again later at what can still end, or says that it was waited long enough.
func (t *Tracker) idle(x *pending, pressed bool) (again bool) {
	since := t.now - x.last
	if pressed || since >= patience {
		return false
	}
	next := x.last + patience
	if since < quiet {
		next = x.last + quiet
	} else {
		t.setActive(x, false)
	}
	t.queue.wait(x, next)
	return true
}

func (t *Tracker) remove(x *pending) {
	t.setActive(x, false)
	t.queue.remove(x)
}
