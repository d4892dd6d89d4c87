package agent

import (
	"net/netip"
	"time"

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
	retried uint64        // generation of the describer's answers at the last try
	tried   time.Duration // the same, monotonic
	closing bool          // nothing waits any more
	close   []*entry
	spare   [1]part // of the edge that is being told
}

// wait is the part of an entry that waits.
type wait struct {
	parts   []part        // what was not told yet, by time
	held    bool          // among those that wait
	awaits  bool          // for a handshake, which takes no time worth mentioning
	gaveUp  bool          // it waited long enough, and is not made to wait again for the same
	closely time.Duration // looked at with every poll until then, monotonic
}

// waits says whether part of an edge has to wait.
func (l *ledger) waits(x *entry, p *part, now moment, soon bool) bool {
	switch {
	case !soon:
		x.gaveUp = false
		return false
	case l.closing || p.impatient:
		return false
	case now.monotonic-p.cut >= nameWait:
		x.gaveUp = true
		return false
	}
	l.hold(x)
	return true
}

// hold has an edge looked at with every poll until it waits for nothing.
func (l *ledger) hold(x *entry) {
	if !x.held {
		l.held = append(l.held, x)
		x.held = true
	}
}

// retry tells the edges whose ends are known by now, and those that waited long enough.
func (l *ledger) retry(now moment) error {
	const few = 1024 // so many are looked at each time, for what they do meanwhile may be for others
	generation := l.describe.Generation()
	news := generation != l.retried || now.monotonic-l.tried >= askAgain
	l.retried = generation
	if news {
		l.tried = now.monotonic
	}
	closely := len(l.held) <= few
	kept := l.held[:0]
	for i, x := range l.held {
		if x.awaits && len(x.parts) > 0 && l.awaits(x, &x.parts[0], 0, now) { // many do, for a moment
			kept = append(kept, x)
			continue
		}
		due := len(x.parts) > 0 && (news || x.awaits || now.monotonic-x.parts[0].cut >= nameWait)
		if due || closely && len(x.parts) > 0 {
			c, err := l.edges.Counters(x.edge.Number)
			if err != nil {
				l.held = append(kept, l.held[i:]...)
				return err
			}
			if x.awaits { // what is new is for the next drain
				x.unheard(c)
			} else {
				x.cut(c, now, time.Time{})
			}
		}
		if due {
			l.tellParts(x, now)
		}
		if x.held = len(x.parts) > 0; x.held {
			kept = append(kept, x)
		}
	}
	clear(l.held[len(kept):])
	l.held = kept
	return nil
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
		if !x.sameAs(c) || len(x.parts) > 0 {
			l.tell(x, c, now, time.Time{})
		}
		x.looked = now.monotonic
		l.lookClosely(x, now)
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
		if l.entries[x.edge.Number.Index()] != x { // it was let go of; its counters may be another's by now
			x.closely = 0
			continue
		}
		c, err := l.edges.Counters(x.edge.Number)
		if err != nil {
			l.close = append(kept, l.close[i:]...)
			return err
		}
		if !x.sameAs(c) {
			x.changed = now.monotonic
			l.tell(x, c, now, time.Time{})
		}
		x.looked = now.monotonic
		if now.monotonic >= x.closely {
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
		c, err := l.edges.Counters(x.edge.Number)
		if err != nil {
			return err
		}
		l.tell(x, c, now, time.Time{})
	}
	l.held = nil
	return nil
}
