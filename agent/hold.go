package agent

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// Edges wait here until it is known whose they are. A pod connects before the Kubernetes API has told the node of it, and a pod's address stands empty for
// a moment before the API says who has it now. Meanwhile the kernel counts on: nothing is told, nothing is lost, nobody is guessed.

// nameWait is how long an edge waits. Then it is told by what is known.
const nameWait = 10 * time.Second

// askAgain is how often it is asked meanwhile, without news: some answers only need time to be sure.
const askAgain = time.Second

// Addresses that changed hands are looked at with every poll for a while: what their new owner does is told at once, as a new edge is.
const (
	closeLook = 30 * time.Second
	maxClose  = 4096
)

// waiting are the edges of a ledger that wait, or are looked at closely.
type waiting struct {
	held    []*entry
	retried uint64 // generation of the describer's answers at the last try
	closing bool   // nothing waits any more
	close   []*entry
	blurred uint64 // connections without peer, since it changed hands while they waited for their workload
}

// wait is the part of an entry that waits.
type wait struct {
	since   time.Duration // monotonic; 0 if it does not wait
	tried   time.Duration // monotonic
	first   time.Time     // of what waits; zero if nothing does, or if it is the last interval's
	gaveUp  bool          // it waited long enough, and is not made to wait again for the same
	blurred bool          // what waits may have been for more than one owner of the peer's address
	closely time.Duration // looked at with every poll until then, monotonic
}

// waits says whether an edge has to wait, and keeps when its first connection was.
func (l *ledger) waits(x *entry, now moment, first time.Time, soon bool) bool {
	switch {
	case !soon:
		x.since, x.gaveUp = 0, false
		return false
	case l.closing || x.gaveUp:
		return false
	case x.since == 0:
		x.since, x.tried = now.monotonic, now.monotonic
		l.held = append(l.held, x)
		if x.first = first; first.IsZero() {
			x.first = now.wall
		}
	case now.monotonic-x.since >= nameWait:
		x.since, x.gaveUp = 0, true
		return false
	}
	return true
}

// retry tells the edges whose ends are known by now, and those that waited long enough.
func (l *ledger) retry(now moment) error {
	generation := l.describe.Generation()
	news := generation != l.retried
	l.retried = generation
	kept := l.held[:0]
	for i, x := range l.held {
		if x.since != 0 && (news || now.monotonic-x.since >= nameWait || now.monotonic-x.tried >= askAgain) {
			x.tried = now.monotonic
			c, err := l.edges.Counters(x.edge.Number)
			if err != nil {
				l.held = append(kept, l.held[i:]...)
				return err
			}
			l.tell(x, c, now, time.Time{})
		}
		if x.since != 0 {
			kept = append(kept, x)
		}
	}
	clear(l.held[len(kept):])
	l.held = kept
	return nil
}

// tellFailed tells failed connections to an address that is nobody's: whoever gets it, these were not for them.
func (l *ledger) tellFailed(x *entry, c bpf.Counters, now moment, peer event.Peer) {
	failed := c.Failed - x.last.Failed
	if failed == 0 {
		return
	}
	opened := min(failed, c.Opened-x.last.Opened)
	o := l.observation(x, now, nobody(peer))
	o.FirstTime, o.Error = x.first, errorClass(c.Error)
	o.Counts = event.Counts{Connections: opened, Failed: failed}
	x.last.Opened += opened
	x.last.Failed += failed
	l.emit(&o)
}

// nobody is a peer of which only the address is known.
func nobody(p event.Peer) event.Peer {
	return event.Peer{Address: p.Address, Port: p.Port, Dialled: p.Dialled}
}

// settle tells what happened so far toward and from addresses that are about to change hands, so that it is not given to who has them next.
func (l *ledger) settle(addresses []netip.Addr, now moment) error {
	if len(addresses) == 0 || len(l.living) == 0 {
		return nil
	}
	moving := make(map[netip.Addr]bool, len(addresses))
	for _, a := range addresses {
		moving[a] = true
	}
	for _, x := range l.living {
		if !moving[x.edge.Address] {
			continue
		}
		c, err := l.edges.Counters(x.edge.Number)
		if err != nil {
			return err
		}
		if !x.sameAs(c) || x.since != 0 {
			l.tell(x, c, now, time.Time{})
		}
		if x.since != 0 && x.unsure { // it waits for its workload, with connections to the owner before and, soon, to the one after
			x.blurred = true
			l.blurred += c.Opened - x.last.Opened
		}
		l.lookClosely(x, now)
	}
	return nil
}

// settled ends the wait of edges toward addresses that have an owner now. What they did so far may have been for one before; what they do from now on is not.
func (l *ledger) settled(addresses []netip.Addr, now moment) error {
	for _, x := range l.held {
		if x.since == 0 || x.unsure || !slices.Contains(addresses, x.edge.Address) {
			continue
		}
		if _, soon := l.describe.Peer(&x.edge, now.wall, now.wall); soon {
			continue
		}
		c, err := l.edges.Counters(x.edge.Number)
		if err != nil {
			return err
		}
		x.since, x.gaveUp = 0, true
		l.tell(x, c, now, time.Time{})
		x.gaveUp = false
	}
	return nil
}

func (l *ledger) lookClosely(x *entry, now moment) {
	if x.closely == 0 {
		if len(l.close) == maxClose {
			return // its next drain tells
		}
		l.close = append(l.close, x)
	}
	x.closely = now.monotonic + closeLook
}

// look tells what changed on the edges that are looked at closely.
func (l *ledger) look(now moment) error {
	kept := l.close[:0]
	for i, x := range l.close {
		c, err := l.edges.Counters(x.edge.Number)
		if err != nil {
			l.close = append(kept, l.close[i:]...)
			return err
		}
		if !x.sameAs(c) && x.since == 0 {
			x.changed = now.monotonic
			l.tell(x, c, now, time.Time{})
		}
		if now.monotonic >= x.closely || l.entries[x.edge.Number.Index()] != x {
			x.closely = 0
			continue
		}
		kept = append(kept, x)
	}
	clear(l.close[len(kept):])
	l.close = kept
	return nil
}

// finish tells everything that waits, as the last thing before the end.
func (l *ledger) finish(now moment) error {
	l.closing = true
	for _, x := range l.held {
		if x.since == 0 {
			continue
		}
		c, err := l.edges.Counters(x.edge.Number)
		if err != nil {
			return err
		}
		x.since = 0
		l.tell(x, c, now, time.Time{})
	}
	l.held = nil
	return nil
}
