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

// maxSorts bounds how many different handshakes an edge has between two drains. More are told without.
const maxSorts = 256

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
	sorts  []sort        // seen since the edge was told
	latest *shaken       // what goes on without new connections goes by it
	at     time.Duration // of the latest, monotonic
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
func (l *ledger) handshook(n bpf.Number, s *shaken, now moment) {
	x := l.entries[n.Index()]
	if x == nil || x.edge.Number != n || x.edge.Overflow {
		l.homeless++
		return
	}
	if x.secured == nil {
		x.secured = &secured{}
	}
	x.secured.at = now.monotonic
	for i := range x.secured.sorts {
		if k := &x.secured.sorts[i]; k.same(s) {
			k.seen++
			x.secured.latest = k.shaken
			return
		}
	}
	if l := x.secured.latest; l != nil && l.same(s) {
		s = l // its certificates are in memory once
	}
	if len(x.secured.sorts) == maxSorts {
		l.homeless++
		return
	}
	x.secured.sorts = append(x.secured.sorts, sort{s, 1})
	x.secured.latest = s
}

// workload is who an edge belongs to; nil if it is gone.
func (l *ledger) workload(n bpf.Number) *event.Workload {
	if x := l.entries[n.Index()]; x != nil && x.edge.Number == n {
		return x.workload
	}
	return nil
}

// awaits says whether connections may still be told with their handshakes.
func (l *ledger) awaits(x *entry, p *part, now moment) bool {
	if l.handshakes == nil || l.closing || p.impatient || x.edge.Protocol != unix.IPPROTO_TCP || x.edge.Overflow {
		return false
	}
	if p.counts.Connections-min(p.counts.Failed, p.counts.Connections) <= x.secured.untold() {
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

// emitSecured tells an observation with the handshakes of its connections.
func (l *ledger) emitSecured(x *entry, o *event.Observation) {
	s := x.secured
	if s == nil {
		l.emit(o)
		return
	}
	rest := *o
	shaken := o.Counts.Connections - min(o.Counts.Failed, o.Counts.Connections)
	for i := range s.sorts {
		k := &s.sorts[i]
		one := *o
		one.Counts, one.Error = event.Counts{Connections: min(k.seen, shaken)}, ""
		shaken -= one.Counts.Connections
		rest.Counts.Connections -= one.Counts.Connections
		if k.shaken == s.latest { // nobody knows whose bytes they are if there are several sorts
			one.Counts.BytesSent, one.Counts.BytesReceived = o.Counts.BytesSent, o.Counts.BytesReceived
			rest.Counts.BytesSent, rest.Counts.BytesReceived = 0, 0
		}
		l.dress(&one, k.shaken)
		l.emit(&one)
	}
	told := len(s.sorts) > 0
	clear(s.sorts)
	s.sorts = s.sorts[:0]
	switch {
	case rest.Counts.Connections > 0 || rest.Counts.Failed > 0:
		l.emit(&rest)
	case !told:
		if s.latest != nil {
			l.dress(&rest, s.latest)
		}
		l.emit(&rest)
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
