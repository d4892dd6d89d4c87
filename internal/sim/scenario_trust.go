package sim

import (
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

var trustScenarios = []Scenario{
	{
		Name: "peer-impersonation", Family: familyTrust, OWASP: []string{"NHI4:2025"}, Attack: []string{"T1557"},
		Does:  "what answers at a service's name proves to be another workload of the cluster",
		Rules: []string{"identity-mismatch", "trust-downgrade"}, Lasts: time.Hour, place: peerImpersonation,
	},
	{
		Name: "downgrade-to-plain", Family: familyTrust, OWASP: []string{"NHI4:2025"}, Attack: []string{"T1557", "T1040"},
		Does:  "connections that always carried SVIDs on both sides become plain",
		Rules: []string{"trust-downgrade"}, Lasts: 3 * time.Hour, place: downgradeToPlain,
	},
	{
		Name: "downgrade-of-version", Family: familyTrust, OWASP: []string{"NHI4:2025"}, Attack: []string{"T1557", "T1562.010"},
		Does:  "connections to a name on the internet that spoke TLS 1.3 speak TLS 1.0, with nothing verified",
		Rules: []string{"trust-downgrade"}, Lasts: 3 * time.Hour, place: downgradeOfVersion,
	},
	{
		Name: "expired-certificate", Family: familyTrust, OWASP: []string{"NHI4:2025"}, Attack: []string{"T1649"},
		Does:  "a service accepts a server whose certificate ended a month ago",
		Rules: []string{"trust-downgrade", "rotation-stalled"}, Lasts: 3 * time.Hour, place: expiredCertificate,
	},
	{
		Name: "self-signed-peer", Family: familyTrust, OWASP: []string{"NHI4:2025"}, Attack: []string{"T1557", "T1553.004"},
		Does:  "a name on the internet answers with a certificate of another issuer, at another address, and nobody verifies it",
		Rules: []string{"trust-downgrade", "identity-mismatch"}, Lasts: 3 * time.Hour, place: selfSigned,
	},
}

// onMesh draws a member and a service that it reaches with SVIDs.
func (s *stage) onMesh() (m, to *member, p *pod) {
	m = s.victim(func(m *member) bool { return m.env == "prod" && m.mesh && s.meshTarget(m) != nil })
	if m == nil {
		return nil, nil, nil
	}
	s.about(m.id)
	return m, s.meshTarget(m), s.pod(m, s.at)
}

func peerImpersonation(s *stage) bool {
	m, to, p := s.onMesh()
	if m == nil {
		return false
	}
	impostor := s.victim(func(x *member) bool { return x.mesh && x != to && !m.reaches(x) && x.team != to.team })
	if impostor == nil {
		return false
	}
	s.about(to.id, impostor.id)
	for i := range 6 {
		at := s.at + time.Duration(i)*8*time.Minute
		other := s.pod(impostor, at)
		peer := event.Peer{
			Address: other.address, Port: to.podPort, Dialled: netip.AddrPortFrom(to.clusterIP, to.port), Name: to.service, NameSource: event.NameService,
			Identity: impostor.id, Evidence: event.EvidenceSVID,
		}
		tls := &event.TLS{
			Version: "1.3", SNI: to.service, ALPN: "h2", Mutual: true, Verified: true, Provenance: "full", PeerCertificate: s.svidOf(other.hash, at), OwnCertificate: s.svidOf(p.hash, at),
		}
		s.reach(p, at, peer, tls, flow{connections: 4, sent: 9000, received: 3000})
	}
	return true
}

func downgradeToPlain(s *stage) bool {
	m, to, p := s.onMesh()
	if m == nil {
		return false
	}
	s.about(to.id)
	for i := range 12 {
		at := s.at + time.Duration(i)*12*time.Minute
		callee := s.pod(to, at)
		peer, _ := s.peerMember(p, to, callee, at)
		peer.Evidence = event.EvidenceKubernetes // by its address alone
		s.reach(p, at, peer, nil, flow{connections: 6, sent: 9000, received: 30_000})
		s.accept(callee, to, at, event.Peer{Address: p.address, Identity: p.derived, Evidence: event.EvidenceKubernetes}, nil, flow{connections: 6, sent: 9000, received: 30_000})
	}
	return true
}

// onSaaS draws a member and a name on the internet that it reaches.
func (s *stage) onSaaS() (*member, *place, *pod) {
	fits := func(e *edge) bool {
		return e.there != nil && e.there.tls && e.there.source == event.NameDNS && share(mix(e.hash, 12)) >= s.Unverified
	}
	m := s.victim(func(m *member) bool { return m.env == "prod" && !s.blind(m) && s.busy(m, fits) != nil })
	if m == nil {
		return nil, nil, nil
	}
	s.about(m.id)
	return m, s.busy(m, fits).there, s.pod(m, s.at)
}

// spoil tells of connections to a known name whose handshakes are not what they were.
func (s *stage) spoil(change func(*event.Peer, *event.TLS)) bool {
	m, to, p := s.onSaaS()
	if m == nil {
		return false
	}
	for i := range 12 {
		at := s.at + time.Duration(i)*12*time.Minute
		peer, tls := s.peerOutside(to, at)
		certificate := *tls.PeerCertificate
		tls.PeerCertificate, tls.Verified = &certificate, false
		change(&peer, tls)
		s.reach(p, at, peer, tls, flow{connections: 4, sent: 9000, received: 9000})
	}
	return true
}

func downgradeOfVersion(s *stage) bool {
	return s.spoil(func(_ *event.Peer, t *event.TLS) { t.Version, t.ALPN = "1.0", "" })
}

func expiredCertificate(s *stage) bool {
	ended := s.Start.Add(s.at - 30*day)
	return s.spoil(func(_ *event.Peer, t *event.TLS) {
		t.PeerCertificate.NotAfter, t.PeerCertificate.NotBefore = ended, ended.Add(-90*day)
	})
}

func selfSigned(s *stage) bool {
	sum, address := s.dice.Uint64(), publicAddress(s.dice.Uint64())
	return s.spoil(func(p *event.Peer, t *event.TLS) {
		p.Address = address
		t.PeerCertificate.SHA256, t.PeerCertificate.Serial, t.PeerCertificate.Issuer = hexText(sum, 32), "01", "CN=localhost"
	})
}
