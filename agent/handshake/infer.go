package handshake

import (
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// OpenSSL's clients take up sessions without any sign of whose they are. Only their owner has the secret, so the peer is the one of the full handshake that
// the session is from: one before, of the same process, to the same destination, for the same server. Where these did not all meet the same peer, nothing is
// inferred.

const (
	sessionLife = 24 * time.Hour
	maxSessions = 8192
)

// origin is what a session's handshakes have in common.
type origin struct {
	tgid   uint32
	cgroup uint64
	remote netip.AddrPort
	edge   bpf.Number // where the remote end is not known
	server string
}

type remembered struct {
	peer, own *certificate
	id, ownID event.Identity
	proven    bool // the peer's identity
	ownProven bool
	mutual    bool
	at        time.Time
	several   time.Time // until then it is not known which peer a session is of
}

func (p *probed) origin(h *Handshake) (o origin, ok bool) {
	o = origin{tgid: p.tgid, cgroup: p.cgroup, remote: h.Remote, server: h.TLS.SNI}
	if !o.remote.IsValid() {
		o.edge = h.Edge
	}
	return o, o.remote.IsValid() || o.edge != 0
}

// remember takes note of whom a full handshake met.
func (t *Tracker) remember(p *probed, h *Handshake, peer, own *certificate) {
	o, ok := p.origin(h)
	if !ok {
		return
	}
	r := remembered{peer: peer, own: own, id: h.Peer, ownID: h.Own, mutual: h.TLS.Mutual, at: h.At}
	r.proven, r.ownProven = !h.Peer.IsZero(), !h.Own.IsZero()
	if last := t.sessions.Get(o); last != nil {
		r.several = last.several
		if last.id != r.id || last.ownID != r.ownID || r.id.IsZero() && last.peer != r.peer {
			r.several = last.at.Add(sessionLife)
		}
	}
	t.sessions.Put(o, r)
}

// doubt takes note of a full handshake of which it is not known whom it met.
func (t *Tracker) doubt(unknown bool, h *Handshake) {
	if unknown && h.Edge != 0 {
		t.doubts.Put(h.Edge, h.At)
	}
}

// infer sets what is known of whose session a handshake took up. The program did not look at a certificate, so that it did not verify one.
func (t *Tracker) infer(p *probed, as role, h *Handshake) provenance {
	if !p.ok {
		return failed
	}
	o, ok := p.origin(h)
	if as != clientRole || !ok {
		return wireOnly
	}
	r, doubt := t.sessions.Get(o), t.doubts.Get(h.Edge)
	if r == nil || doubt != nil && doubt.After(r.at) || h.At.Before(r.several) || h.At.Sub(r.at) > sessionLife || h.At.Before(r.at.Add(-time.Second)) || h.At.After(r.peer.plain.NotAfter) {
		return wireOnly
	}
	h.Peer, h.TLS.PeerCertificate = r.id, r.peer.told(r.proven)
	if r.own != nil && !h.At.After(r.own.plain.NotAfter) {
		h.Own, h.TLS.OwnCertificate = r.ownID, r.own.told(r.ownProven)
		h.TLS.Mutual = r.mutual
	}
	return inferred
}
