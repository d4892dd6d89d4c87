package sim

import (
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// usage is what an edge's connections of one hour have in common.
type usage struct {
	h *hour
	p *pod
	e *edge

	connections, failed, sent, received uint64
	toldConnections, toldFailed         uint64
	err                                 string
	peer                                event.Peer
	tls                                 *event.TLS
	callee                              *pod
	unseen                              bool // one connection's handshake is missed
}

func (h *hour) usage(p *pod, e *edge, at time.Duration, connections uint64) *usage {
	d := h.dice
	u := &usage{h: h, p: p, e: e, connections: connections}
	if x := overlap(e.outages(), h.from, h.until); x > 0 { // what fails is tried again
		lost := uint64(float64(connections)*x + .5)
		u.failed = 3 * lost
		u.connections += 2 * lost
		u.err = pick(d, []string{"timeout", "refused", "unreachable"})
	} else if d.chance(h.Failures * float64(connections)) {
		u.failed, u.err = 1, pick(d, []string{"timeout", "refused", "reset"})
	}
	if e.to != nil && e.to.away(at) {
		h.cause = CauseGone
		u.failed, u.err = u.connections, "refused"
	}
	if good := float64(u.connections - u.failed); good > 0 {
		noise := d.spread(1, h.BytesSpread)
		if share(mix(e.hash, 11)) < h.Bulk && d.chance(1./(12*24)) {
			noise *= d.between(10, 40)
		}
		u.sent, u.received = uint64(e.sent*good*noise), uint64(e.received*good*noise)
	}
	if e.renamed != nil && at >= e.renameAt && h.cause != CauseJob {
		h.cause = CauseRename
	}
	u.peer, u.tls, u.callee = h.peerOf(p, e, at)
	u.unseen = u.tls != nil && d.chance(h.Unseen)
	if !u.peer.Identity.IsZero() || e.to != nil || !h.forgets(p, at) {
		return u
	}
	if u.peer.NameSource == event.NameDNS && d.chance(h.Forgotten) {
		u.peer.Name, u.peer.NameSource, u.tls = "", "", nil
		h.cause = CauseForgot
	}
	return u
}

// forgets says whether the agent has started within the hour before.
func (h *hour) forgets(p *pod, at time.Duration) bool {
	b := p.machine.watched(at)
	return b != nil && b.from > p.machine.from && at-b.from < time.Hour
}

// tell tells of both sides, where the other is an identity.
func (u *usage) tell(at, first time.Duration, c event.Counts) {
	u.toldConnections += c.Connections
	u.toldFailed += c.Failed
	tls := u.tls
	if c.Connections > 0 && c.Failed == c.Connections || c.Connections == 0 && u.toldConnections == u.toldFailed {
		tls = nil
	}
	u.h.observe(u.p, at, first, event.Outbound, u.e.protocol(), u.peer, tls, u.miss(at, first, tls, c), u.err)
	if good := c.Connections - c.Failed; u.callee != nil && (good > 0 || c.Connections == 0) && u.e.to != u.h.dns {
		u.inbound(at, first, c)
	}
}

// miss tells of a connection whose handshake was missed by itself, and gives the rest: the agent knows the peer by its address, and no more.
func (u *usage) miss(at, first time.Duration, tls *event.TLS, c event.Counts) event.Counts {
	if !u.unseen || tls == nil || c.Connections-c.Failed < 2 {
		return c
	}
	u.unseen = false
	peer := u.peer
	if u.e.to != nil {
		peer.Identity, peer.Evidence = u.e.to.derived, event.EvidenceKubernetes
	}
	cause := u.h.cause
	u.h.cause = CauseMissed
	u.h.observe(u.p, at, first, event.Outbound, u.e.protocol(), peer, nil, event.Counts{Connections: 1}, "")
	u.h.cause = cause
	c.Connections--
	return c
}

// inbound is the same, seen by the one who is reached.
func (u *usage) inbound(at, first time.Duration, c event.Counts) {
	from := event.Peer{Address: u.p.address, Port: u.e.to.podPort, Identity: u.p.workload.Identity, Evidence: u.p.workload.Evidence}
	if u.tls == nil && from.Evidence == event.EvidenceSVID {
		from.Identity, from.Evidence = u.p.derived, event.EvidenceKubernetes // by its address
	}
	tls := u.tls
	if tls != nil {
		other := *tls
		other.SNI, other.PeerCertificate, other.OwnCertificate = tls.SNI, tls.OwnCertificate, tls.PeerCertificate
		other.Verified = tls.OwnCertificate != nil
		tls = &other
	}
	c = event.Counts{Connections: c.Connections - c.Failed, BytesSent: c.BytesReceived, BytesReceived: c.BytesSent}
	u.h.observe(u.callee, at, first, event.Inbound, u.e.protocol(), from, tls, c, "")
}

func (e *edge) protocol() event.Protocol {
	switch {
	case e.to == nil:
		return e.there.protocol
	case e.to.port == 53:
		return event.UDP
	}
	return event.TCP
}
