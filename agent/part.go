package agent

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// part is what happened on an edge between two looks at its counters. An address may be one pod's at one look and another's at the next, long before
// the API tells of either: while an edge waits, its parts are kept apart, and each is asked about by its own time.
type part struct {
	from, until time.Time     // its connections began then
	cut         time.Duration // monotonic
	counts      event.Counts
	last        unix.Errno // of those that failed
	first       bool       // from is when the edge's first connection was
	impatient   bool       // it does not wait
	thinned     bool       // some of it was told
	masterless  bool       // the peer's address was nobody's, for all that was known
}

// maxParts bounds how many an edge has. More are taken together: then nobody is named who does not fit all of them.
const maxParts = 8

// cut takes note of what happened since the last look. The first time is that of an edge's first connection, zero later on.
func (x *entry) cut(c bpf.Counters, now moment, first time.Time) {
	l := &x.last
	p := part{from: now.at(x.looked), until: now.wall, cut: now.monotonic, impatient: x.gaveUp, counts: event.Counts{
		Connections: c.Opened - l.opened, Failed: c.Failed - l.failed, BytesSent: c.Sent - l.sent, BytesReceived: c.Received - l.received,
	}}
	if p.counts.Failed > 0 {
		p.last = c.Error
	}
	if !first.IsZero() {
		p.from, p.first = first, true
		if p.counts.Connections <= 1 {
			p.until = first
		}
	}
	x.last, x.looked = tallyOf(&c), now.monotonic
	if x.secured != nil {
		x.secured.uncut = 0
	}
	n := len(x.parts)
	if n == 0 || p.counts.Connections > 0 && n < maxParts {
		x.parts = append(x.parts, p)
		return
	}
	to := &x.parts[n-1]
	if p.counts.Connections > 0 {
		to.until = p.until
	}
	if p.counts.Failed > 0 {
		to.last = p.last
	}
	add(&to.counts, p.counts)
}

func add(to *event.Counts, c event.Counts) {
	to.Connections += c.Connections
	to.Failed += c.Failed
	to.BytesSent += c.BytesSent
	to.BytesReceived += c.BytesReceived
}

// tell observes what happened on an edge since it was told last, or lets it wait until it is known whose it is.
func (l *ledger) tell(x *entry, c bpf.Counters, now moment, first time.Time) {
	alone := len(x.parts) == 0
	if alone {
		x.parts = l.spare[:0] // most often nothing has to wait
	}
	x.cut(c, now, first)
	l.tellParts(x, now)
	if alone {
		x.parts = slices.Clone(x.parts)
	}
}

// tellParts tells the parts of an edge up to the first that has to wait. Those that are for the same peer are told as one.
func (l *ledger) tellParts(x *entry, now moment) {
	l.attribute(x)
	var o *event.Observation
	var of event.Peer
	flush := func() {
		if o != nil {
			l.emitSecured(x, o)
		}
	}
	for len(x.parts) > 0 {
		p := &x.parts[0]
		var gathered uint64
		if o != nil {
			gathered = completed(&o.Counts)
		}
		if x.awaits = l.awaits(x, p, gathered, now); x.awaits {
			l.hold(x)
			break
		}
		peer, soon := l.describe.Peer(&x.edge, p.from, p.until)
		p.masterless = p.masterless || soon
		if l.waits(x, p, now, x.unsure || soon) {
			break
		}
		if p.masterless {
			l.lookClosely(x, now) // the next to have it may come and go as fast
		}
		switch {
		case p.thinned && p.counts == event.Counts{}:
		case o != nil && of == peer:
			add(&o.Counts, p.counts)
			if p.counts.Failed > 0 {
				o.Error = errorClass(p.last)
			}
		default:
			flush()
			next := l.observation(x, now, peer)
			o, of = &next, peer
			o.Counts = p.counts
			if p.first || p.cut < now.monotonic {
				o.FirstTime = p.from
			}
			if p.counts.Failed > 0 {
				o.Error = errorClass(p.last)
			}
		}
		x.told = now.monotonic
		if x.parts = x.parts[1:]; len(x.parts) == 0 {
			x.parts = nil
		}
	}
	flush()
	if !x.unsure {
		l.tellFailed(x, now)
	}
}

// tellFailed tells failed connections to an address that is nobody's: whoever gets it, these were not for them.
func (l *ledger) tellFailed(x *entry, now moment) {
	for i := range x.parts {
		p := &x.parts[i]
		if p.counts.Failed == 0 {
			continue
		}
		peer, soon := l.describe.Peer(&x.edge, p.from, p.until)
		if !soon {
			continue
		}
		o := l.observation(x, now, nobody(peer))
		o.FirstTime, o.Error = p.from, errorClass(p.last)
		o.Counts = event.Counts{Connections: min(p.counts.Failed, p.counts.Connections), Failed: p.counts.Failed}
		p.counts.Connections -= o.Counts.Connections
		p.counts.Failed, p.thinned = 0, true
		l.emit(&o)
	}
}
