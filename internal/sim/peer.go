package sim

import (
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// peerOf says what the other end of an edge is called, and what handshakes on it say.
func (w *world) peerOf(p *pod, e *edge, at time.Duration) (event.Peer, *event.TLS, *pod) {
	if e.to == nil {
		peer, tls := w.peerOutside(e.place(at), at)
		w.seenOf(p.member, e.hash, tls)
		return peer, tls, nil
	}
	to := e.to
	if to.away(at) { // the service is there, nobody stands behind it
		return event.Peer{
			Address: to.clusterIP, Port: to.port, Name: to.service, NameSource: event.NameService,
		}, nil, nil
	}
	callee, _ := w.cached(to, int(mix(e.hash, p.hash)%uint64(to.replicasAt(at))), max(at, to.born))
	peer, tls := w.peerMember(p, to, callee, at)
	return peer, tls, callee
}

func (w *world) peerMember(p *pod, to *member, callee *pod, at time.Duration) (event.Peer, *event.TLS) {
	peer := event.Peer{
		Address: callee.address, Port: to.podPort, Dialled: netip.AddrPortFrom(to.clusterIP, to.port), Name: to.service, NameSource: event.NameService,
		Identity: to.derived, Evidence: event.EvidenceKubernetes,
	}
	if p.workload.Evidence != event.EvidenceSVID || !to.mesh {
		return peer, nil
	}
	peer.Identity, peer.Evidence = to.id, event.EvidenceSVID
	return peer, &event.TLS{
		Version: "1.3", SNI: to.service, ALPN: "h2", Mutual: true, Verified: true, Provenance: "full",
		PeerCertificate: w.certificate(callee, at), OwnCertificate: w.certificate(p, at),
	}
}

// addressHours is how long a place answers with an address.
const addressHours = 5

func (w *world) peerOutside(to *place, at time.Duration) (event.Peer, *event.TLS) {
	address := to.addresses[mix(to.hash, uint64(at/(addressHours*time.Hour)))%uint64(len(to.addresses))]
	peer := event.Peer{Address: address, Port: to.port, Name: to.name, NameSource: to.source}
	if to.dialled.IsValid() {
		peer.Dialled = netip.AddrPortFrom(to.dialled, to.dialPort)
	}
	if !to.tls {
		return peer, nil
	}
	version := "1.3"
	if to.hash%7 == 0 {
		version = "1.2"
	}
	return peer, &event.TLS{
		Version: version, SNI: to.name, ALPN: "h2", Verified: true, Provenance: "full",
		PeerCertificate: to.certificateAt(w, at),
	}
}

// seenOf cuts what handshakes say down to what can be seen of a member's program, and of how an edge is used.
func (w *world) seenOf(m *member, e uint64, tls *event.TLS) {
	switch {
	case tls == nil:
	case w.blind(m):
		tls.Verified, tls.PeerCertificate, tls.OwnCertificate, tls.Provenance = false, nil, nil, "wire-only"
	case share(mix(e, 12)) < w.Unverified:
		tls.Verified = false
	}
}

// blind says that nobody can see the certificates of a member's program. Those on the mesh are all seen.
func (w *world) blind(m *member) bool { return !m.mesh && share(mix(m.hash, 13)) < w.WireOnly }
