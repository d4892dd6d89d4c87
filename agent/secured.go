package agent

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// Connections are counted by the kernel, handshakes are seen by other eyes and a moment later. Here they meet: what is counted on an edge is told with the
// handshakes that were seen on it, each sort for as many connections as it was seen on, and the rest without.

// How long an edge's new connections wait for their handshakes.
const (
	helloWait     = 250 * time.Millisecond // for a client's first word; what says nothing until then is told without
	handshakeWait = 2 * time.Second        // for the end of one that has begun
)

// Bounds of how many different handshakes there are between two drains. More are told without.
const (
	maxSorts = 256   // of an edge
	maxMore  = 16384 // of all edges, besides one each
)

// handshakes knows which are under way.
type handshakes interface {
	UnderWay(bpf.Number) bool // one that began on an edge and is not told yet
}

// shaken is what a handshake said. Those that say the same are one sort.
type shaken struct {
	tls       event.TLS
	peer, own event.Identity // zero unless proven
}

func (s *shaken) same(o *shaken) bool {
	a, b := s.tls, o.tls
	a.PeerCertificate, a.OwnCertificate, b.PeerCertificate, b.OwnCertificate = nil, nil, nil, nil
	return a == b && s.peer == o.peer && s.own == o.own && sameCertificate(s.tls.PeerCertificate, o.tls.PeerCertificate) &&
		sameCertificate(s.tls.OwnCertificate, o.tls.OwnCertificate)
}

func sameCertificate(a, b *event.Certificate) bool {
	return a == b || a != nil && b != nil && a.SHA256 == b.SHA256
}

// secured are the handshakes of an edge. Most edges have none.
type secured struct {
	sorts   []sort  // seen since the edge was told
	latest  *shaken // what goes on without new connections goes by it
	known   *shaken // the latest that said who the peer is
	several bool    // it was not always the same
	uncut   uint64  // connections that were begun and are in no part yet, as of the last look
}

type sort struct {
	*shaken
	seen uint64
}

func (s *secured) untold() (n uint64) {
	if s != nil {
		for i := range s.sorts {
			n += s.sorts[i].seen
		}
	}
	return n
}

// handshook takes note of a handshake on an edge.
func (l *ledger) handshook(n bpf.Number, s *shaken) {
	x := l.entries[n.Index()]
	if x == nil || x.edge.Number != n || x.edge.Overflow {
		l.homeless++
		return
	}
	if x.secured == nil {
		x.secured = &secured{}
	}
	for i := range x.secured.sorts {
		if k := &x.secured.sorts[i]; k.same(s) {
			k.seen++
			x.secured.take(k.shaken)
			return
		}
	}
	if l := x.secured.latest; l != nil && l.same(s) {
		s = l // its certificates are in memory once
	}
	if n := len(x.secured.sorts); n == maxSorts || n > 0 && l.more == maxMore {
		l.homeless++
		return
	} else if n > 0 {
		l.more++
	}
	x.secured.sorts = append(x.secured.sorts, sort{s, 1})
	x.secured.take(s)
}

// take goes by a handshake.
func (s *secured) take(h *shaken) {
	s.latest = h
	if h.peer.IsZero() {
		return
	}
	s.several = s.several || s.known != nil && s.known.peer != h.peer
	s.known = h
}

// unheard takes note of connections that are in no part: some of the handshakes that were seen are theirs.
func (x *entry) unheard(c bpf.Counters) {
	if x.secured != nil {
		x.secured.uncut = c.Opened - x.last.opened
	}
}

// workload is who an edge belongs to; nil if it is gone.
func (l *ledger) workload(n bpf.Number) *event.Workload {
	if x := l.entries[n.Index()]; x != nil && x.edge.Number == n {
		return x.workload
	}
	return nil
}

// completed are the connections that did not fail, as far as that is known by now.
func completed(c *event.Counts) uint64 { return c.Connections - min(c.Failed, c.Connections) }

// awaits says whether connections may still be told with their handshakes. Of those that were seen, others need some.
func (l *ledger) awaits(x *entry, p *part, others uint64, now moment) bool {
	if l.handshakes == nil || l.closing || p.impatient || x.edge.Protocol != unix.IPPROTO_TCP || x.edge.Overflow {
		return false
	}
	if n := completed(&p.counts); n == 0 || others+n <= x.secured.untold() {
		return false
	}
	age := now.monotonic - p.cut
	switch {
	case l.handshakes.UnderWay(x.edge.Number):
		return age < handshakeWait
	case p.first:
		return now.monotonic-x.edge.FirstMonotonic < helloWait
	case x.secured != nil:
		return age < helloWait
	}
	return false
}

// emitSecured tells an observation with the handshakes of its connections. Those of connections that are not told yet are left to them.
func (l *ledger) emitSecured(x *entry, o *event.Observation) {
	s := x.secured
	if s == nil {
		l.emit(o)
		return
	}
	rest := *o
	shaken, later := completed(&o.Counts), s.uncut
	for i := range x.parts {
		later += completed(&x.parts[i].counts)
	}
	told := false
	kept := s.sorts[:0]
	for i := range s.sorts {
		k := s.sorts[i]
		one := *o
		one.Counts, one.Error = event.Counts{Connections: min(k.seen, shaken)}, ""
		shaken -= one.Counts.Connections
		rest.Counts.Connections -= one.Counts.Connections
		k.seen -= one.Counts.Connections
		left := min(k.seen, later)
		later -= left
		if late := k.seen - left; one.Counts.Connections > 0 || late > 0 {
			if k.shaken == s.latest { // nobody knows whose bytes they are if there are several sorts
				one.Counts.BytesSent, one.Counts.BytesReceived = o.Counts.BytesSent, o.Counts.BytesReceived
				rest.Counts.BytesSent, rest.Counts.BytesReceived = 0, 0
			}
			l.dress(&one, k.shaken)
			l.recognize(&one, s, k.shaken)
			l.emit(&one)
			told = true
		}
		if left > 0 {
			kept = append(kept, sort{k.shaken, left})
		}
	}
	l.more -= max(len(s.sorts)-1, 0) - max(len(kept)-1, 0)
	clear(s.sorts[len(kept):])
	s.sorts = kept
	switch {
	case told && rest.Counts == event.Counts{}:
		return
	case rest.Counts.Connections == 0 && rest.Counts.Failed == 0 && s.latest != nil:
		l.dress(&rest, s.latest)
		l.recognize(&rest, s, s.latest)
	default:
		l.recognize(&rest, s, nil)
	}
	l.emit(&rest)
}

// recognize names the peer of connections of which no handshake says who it is, such as failed ones: by those on the same edge, if they all met the same.
// Otherwise what is reached all the time would be something else whenever a handshake is missed.
func (l *ledger) recognize(o *event.Observation, s *secured, by *shaken) {
	if s.known == nil || s.several || o.Direction != event.Outbound || !o.Peer.Identity.IsZero() {
		return
	}
	if by == nil || by.tls.Provenance == "wire-only" && by.tls.PeerCertificate == nil {
		o.Peer.Identity = s.known.peer // without evidence: these connections have shown none
	}
}

// dress gives an observation what a handshake said.
func (l *ledger) dress(o *event.Observation, s *shaken) {
	o.TLS = &s.tls
	switch {
	case !s.peer.IsZero():
		o.Peer.Identity, o.Peer.Evidence = s.peer, event.EvidenceSVID
	case s.tls.Verified && s.tls.SNI != "" && o.Direction == event.Outbound && o.Peer.Name == "" && o.Peer.Identity.IsZero():
		o.Peer.Name, o.Peer.NameSource = s.tls.SNI, event.NameSNI
	}
	if w := l.describe.Own(&o.Workload, s.own); w != nil {
		o.Workload = *w
	}
}
