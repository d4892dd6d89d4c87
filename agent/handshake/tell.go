package handshake

import (
	"net/netip"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Bounds of texts, in bytes: those of their fields on the wire.
const (
	maxProtocol = 255
	maxHostname = 255
)

// tellProbed tells of a handshake that a program's probes saw. The wire says what they do not; w is nil where it says nothing.
func (t *Tracker) tellProbed(p *probed, w *wired) {
	switch {
	case p.holed:
		t.losses[holed]++
		return
	case p.second && !p.seeks, !p.seeks && w != nil && t.sought(w):
		t.losses[nested]++
		return
	case p.seeks && (p.several || w == nil):
		t.losses[unjoined]++
		return
	case !p.seeks && p.cookie == 0:
		t.losses[unbound]++
		mark(t.unbound, p.target)
		return
	case p.moved && (w == nil || w.client == nil && w.server == nil), !p.agrees(w):
		t.losses[conflicting]++
		return
	case !p.ok && !p.golang && !p.tried: // it was not seen to end
		t.losses[unfinished]++
		return
	}
	h := Handshake{
		Edge: p.edge, Cookie: p.cookie, Cgroup: p.cgroup, TGID: p.tgid, At: t.cfg.Wall(p.doneAt), Target: p.target, OK: p.ok,
		Local: p.local, Remote: p.remote,
	}
	if w != nil {
		if h.Cookie != w.cookie { // another socket was at work
			h.Cookie, h.Edge, h.Local, h.Remote = w.cookie, 0, netip.AddrPort{}, netip.AddrPort{}
		}
		if !h.Local.IsValid() {
			h.Local, h.Remote = w.local, w.remote
		}
		if w.edge != 0 {
			h.Edge = w.edge
		}
		w.describe(&h.TLS)
	}
	earlier, before := t.told.sockets[h.Cookie]
	if before && !earlier.wireOnly {
		t.losses[nested]++
		return
	}
	as := p.role(w)
	if as == unknownRole && before { // the wire's word was first, and is forgotten but for this
		as = earlier.role
	}
	h.Client = as == clientRole
	how := t.prove(p, w, as, &h)
	h.TLS.Provenance = words[how]
	t.doubt(how == wireOnly && as != serverRole && !w.resumes(), &h)
	if before {
		if how == wireOnly || how == failed {
			return
		}
		t.gauges[wireOnly]--
	}
	t.gauges[how]++
	t.told.add(h.Cookie, toldAs{role: as})
	if w != nil {
		t.forgetWired(w)
	}
	t.ready = append(t.ready, h)
}

// tellWired tells of a handshake that only the wire saw. It proves nothing: who sends a certificate in the clear may not have its key, and segments that
// overlap may mean one thing here and another to who got them.
func (t *Tracker) tellWired(w *wired) {
	h := Handshake{Edge: w.edge, Cookie: w.cookie, Cgroup: w.cgroup, TGID: w.tgid, At: t.cfg.Wall(w.at), Client: w.asClient, OK: w.server != nil, Local: w.local, Remote: w.remote}
	w.describe(&h.TLS)
	h.TLS.Provenance = words[wireOnly]
	h.TLS.PeerCertificate, h.TLS.OwnCertificate = w.peer.told(false), w.own.told(false)
	h.TLS.Mutual = w.peer != nil && w.own != nil
	t.doubt(w.asClient && !w.resumes(), &h)
	t.gauges[wireOnly]++
	as := unknownRole
	if w.client != nil || w.server != nil {
		as = serverRole
		if w.asClient {
			as = clientRole
		}
	}
	t.told.add(w.cookie, toldAs{wireOnly: true, role: as})
	t.ready = append(t.ready, h)
}

// describe sets what stands in the hellos.
func (w *wired) describe(o *event.TLS) {
	if w.client != nil {
		o.SNI = hostname(w.client.SNI)
	}
	if w.server != nil {
		o.Version, o.ALPN = versionText(w.server.Version), line(w.server.ALPN, maxProtocol)
	}
}

// agrees says whether the wire's handshake can be the program's.
func (p *probed) agrees(w *wired) bool {
	if w == nil || w.client == nil && w.server == nil {
		return true
	}
	switch {
	case p.golang && p.client != w.asClient, p.seeks && p.hello.client != w.asClient:
		return false
	case p.golang && p.ok && w.server != nil && p.version != w.server.Version:
		return false
	}
	return true
}

func (p *probed) role(w *wired) role {
	client := false
	switch {
	case p.golang:
		client = p.client
	case p.seeks:
		client = p.hello.client
	case w != nil && (w.client != nil || w.server != nil):
		client = w.asClient
	default:
		return unknownRole
	}
	if client {
		return clientRole
	}
	return serverRole
}

// prove sets what the program's certificates say, and gives how well the handshake is known.
func (t *Tracker) prove(p *probed, w *wired, as role, h *Handshake) provenance {
	if p.protocol != "" {
		h.TLS.ALPN = p.protocol
	}
	var shown presented
	how := full
	switch {
	case p.golang:
		shown = p.presentGo()
		if p.server != "" {
			h.TLS.SNI = p.server
		}
		if p.version != 0 {
			h.TLS.Version = versionText(p.version)
		}
		if p.resumed {
			how = resumed
		}
	case w.resumes():
		if as == clientRole || !p.hasSession {
			return t.infer(p, as, h)
		}
		how = resumed
		if p.session != nil {
			shown.chain, shown.holds = []*certificate{p.session}, p.sessionHolds
		}
	default:
		var answered time.Duration
		if w != nil {
			answered = w.answered
		}
		shown = p.shown.present(as, answered)
	}
	if shown.unclear {
		t.losses[certificateUnclear]++
	}
	leaf := shown.leaf()
	if !p.ok { // nobody proved to have the keys
		if p.golang || shown.own != nil || as == clientRole { // else what was decoded may be the own one
			h.TLS.PeerCertificate = leaf.told(false)
		}
		h.TLS.OwnCertificate = shown.own.told(false)
		return failed
	}
	if how == full && p.lacks(as, shown) {
		return wireOnly
	}
	verdict := t.identify(p, as, shown, h)
	h.TLS.Mutual = leaf != nil && (shown.own != nil || as == serverRole)
	h.TLS.Verified = verdict.Verified || leaf != nil && shown.holds && (as != clientRole || h.TLS.SNI == "" || leaf.of(h.TLS.SNI))
	if as == clientRole && how == full && !p.golang {
		t.remember(p, h, leaf, shown.own)
	}
	return how
}

// lacks says that certificates were lost: servers always show one.
func (p *probed) lacks(as role, shown presented) bool {
	leaf := shown.leaf()
	switch {
	case as == clientRole:
		return leaf == nil
	case p.golang: // the own one may have been chosen before
		return leaf == nil && p.verified
	case as == serverRole:
		return shown.own == nil
	}
	return shown.own == nil // a server that reads its own while it shakes hands would look like a client that has none
}

// identify says whom the certificates of a handshake that completed prove its ends to be.
func (t *Tracker) identify(p *probed, as role, shown presented, h *Handshake) (peer Verdict) {
	if leaf := shown.leaf(); leaf != nil {
		if peer = t.certificates.judge(shown.chain, h.At); peer.Verified {
			h.Peer = peer.ID
		} else if as == serverRole && shown.holds && !leaf.spiffe {
			h.Peer = event.CertificateIdentity(leaf.issuer, leaf.words)
		}
		h.TLS.PeerCertificate = leaf.told(peer.Verified)
	}
	if shown.own != nil {
		own := t.certificates.judge([]*certificate{shown.own}, h.At)
		if own.Verified {
			h.Own = own.ID
		}
		h.TLS.OwnCertificate = shown.own.told(own.Verified)
	}
	return peer
}

func versionText(v uint16) string {
	if v < tls10 || v > tls13 {
		return ""
	}
	return [...]string{"1.0", "1.1", "1.2", "1.3"}[v-tls10]
}

// text is what of a program's bytes can be told.
func text(b []byte, most int) string {
	if len(b) == 0 {
		return ""
	}
	return line(string(b), most)
}

// hostname gives a server's name as it is compared, or nothing if it cannot be one.
func hostname(s string) string {
	if len(s) > maxHostname {
		return ""
	}
	s = strings.TrimSuffix(s, ".")
	lower := true
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '.', c == '_', c == ':':
		case c >= 'A' && c <= 'Z':
			lower = false
		default:
			return ""
		}
	}
	if lower {
		return s
	}
	return strings.ToLower(s)
}
