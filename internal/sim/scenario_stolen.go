package sim

import (
	"time"

	"github.com/ambit-nhi/ambit/event"
)

var stolenScenarios = []Scenario{
	{
		Name: "leaked-svid-other-node", Family: familyStolen, OWASP: []string{"NHI2:2025"}, Attack: []string{"T1649"},
		Does:  "a registered SVID of production is used by a process on a machine of another pool, toward what its owner reaches anyway",
		Rules: []string{"identity-reuse", "identity-mismatch", "unexpected-executable"}, Lasts: 20 * time.Minute, place: leakedSVID,
	},
	{
		Name: "presented-elsewhere", Family: familyStolen, OWASP: []string{"NHI2:2025", "NHI9:2025"}, Attack: []string{"T1550.001"},
		Does:  "a pod shows the SVID of another service account to a service that trusts that one: its own side and the server's tell different stories",
		Rules: []string{"identity-mismatch", "identity-reuse"}, Lasts: 20 * time.Minute, place: presentedElsewhere,
	},
	{
		Name: "shared-identity", Family: familyStolen, OWASP: []string{"NHI9:2025"}, Attack: []string{"T1078.004"},
		Does:  "a second workload, of another team and image, goes by an identity that is in use, toward the same resources",
		Rules: []string{"identity-reuse", "identity-mismatch", "unexpected-executable"}, Lasts: 4 * time.Hour, place: sharedIdentity,
	},
	{
		Name: "deleted-account-active", Family: familyStolen, OWASP: []string{"NHI1:2025"}, Attack: []string{"T1078"},
		Does:  "an account that was deleted days before connects again, to what it used to reach",
		Rules: []string{"dormant-wakeup", "dormant-identity", "undeclared-identity", "identity-reuse"}, Lasts: time.Hour, place: deletedActive,
	},
	{
		Name: "long-lived-credential", Family: familyStolen, OWASP: []string{"NHI7:2025"}, Attack: []string{"T1649"},
		Does:  "an identity that has shown certificates of an hour begins to show one of ten years",
		Rules: []string{"long-lived-credential", "rotation-stalled"}, Lasts: 3 * time.Hour, place: longLived,
	},
}

func leakedSVID(s *stage) bool {
	m := s.victim(func(m *member) bool { return m.env == "prod" && m.registry && s.meshTarget(m) != nil })
	if m == nil {
		return false
	}
	to := s.meshTarget(m)
	thief := s.pod(m, s.at)
	thief.machine = s.slots[s.prodSlots+s.dice.IntN(len(s.slots)-s.prodSlots)].at(s.at)
	thief.address = thief.machine.address
	certificate := s.svidOf(thief.hash, s.at) // the very one of the pod
	thief.workload = event.Workload{Identity: m.id, Evidence: event.EvidenceSVID, Unit: "session-c2.scope", Executable: "/usr/bin/python3.12", Cgroup: "user.slice/session-c2.scope"}
	s.about(m.id)
	for i := range 6 {
		at := s.at + time.Duration(i)*3*time.Minute
		s.present(thief, m, to, certificate, at, flow{connections: 3, sent: 4000, received: 90_000})
	}
	return true
}

// meshTarget is a service that a member reaches with its SVID.
func (s *stage) meshTarget(m *member) *member {
	for _, e := range m.edges {
		if e.to != nil && e.to.mesh && e.from < s.at && e.until > s.at && e.to.alive(s.at) && e.to.alive(s.at+s.attack.Scenario.Lasts) && e.rate > 2 {
			return e.to
		}
	}
	return nil
}

// present has a pod show a certificate of somebody. The server takes its word.
func (s *stage) present(p *pod, owner, to *member, certificate *event.Certificate, at time.Duration, f flow) {
	callee := s.pod(to, at)
	peer, _ := s.peerMember(p, to, callee, at)
	peer.Identity, peer.Evidence = to.id, event.EvidenceSVID
	tls := event.TLS{
		Version: "1.3", SNI: to.service, Mutual: true, Verified: true, Provenance: "full", PeerCertificate: s.svidOf(callee.hash, at), OwnCertificate: certificate,
	}
	s.reach(p, at, peer, &tls, f)
	other := tls
	other.PeerCertificate, other.OwnCertificate = tls.OwnCertificate, tls.PeerCertificate
	s.accept(callee, to, at, event.Peer{Address: p.address, Identity: owner.id, Evidence: event.EvidenceSVID}, &other, f)
	s.about(to.id)
}

func presentedElsewhere(s *stage) bool {
	owner := s.victim(func(m *member) bool { return m.env == "prod" && m.mesh && s.meshTarget(m) != nil })
	if owner == nil {
		return false
	}
	to := s.meshTarget(owner)
	thief := s.victim(func(m *member) bool { return m.env == "prod" && m != to && m.team != owner.team && m.reaches(to) })
	if thief == nil {
		thief = s.victim(func(m *member) bool { return m.env == "prod" && m != to && m.team != owner.team })
	}
	if thief == nil {
		return false
	}
	p, certificate := s.pod(thief, s.at), s.svidOf(s.pod(owner, s.at).hash, s.at)
	s.about(thief.id, thief.derived, owner.id)
	for i := range 6 {
		s.present(p, owner, to, certificate, s.at+time.Duration(i)*3*time.Minute, flow{connections: 2, sent: 3000, received: 60_000})
	}
	return true
}

func sharedIdentity(s *stage) bool {
	m := s.victim(func(m *member) bool { return m.env == "prod" && m.registry && s.meshTarget(m) != nil })
	other := s.victim(func(m *member) bool { return m.env == "prod" })
	if m == nil || other == nil {
		return false
	}
	to := s.meshTarget(m)
	p := s.pod(other, s.at)
	p.workload.Identity, p.workload.Evidence = m.id, event.EvidenceSVID
	s.about(m.id)
	for i := range 24 {
		at := s.at + time.Duration(i)*10*time.Minute
		s.present(p, m, to, s.svidOf(p.hash, at), at, flow{connections: 4, sent: 9000, received: 12_000})
	}
	return true
}

func deletedActive(s *stage) bool {
	m := s.draw(func(m *member) bool { return m.deleted && m.gone+2*day < s.at && len(m.edges) > 1 })
	if m == nil {
		return false
	}
	before := m.gone - time.Hour
	p := s.podAt(m, 0, before)
	p.machine = s.slots[s.dice.IntN(s.prodSlots)].at(s.at)
	s.about(m.id)
	for i, e := range m.edges {
		if e.from > before || e.to != nil && !e.to.alive(s.at+time.Hour) {
			continue
		}
		at := s.at + time.Duration(i)*2*time.Minute
		if e.to == nil {
			s.reachPlace(&p, e.there, at, flow{connections: 3, sent: 9000, received: 9000})
		} else if e.to != s.dns {
			s.enter(&p, e.to, at, flow{connections: 3, sent: 9000, received: 200_000})
		}
	}
	return true
}

func longLived(s *stage) bool {
	m := s.victim(func(m *member) bool { return m.mesh && s.meshTarget(m) != nil })
	if m == nil {
		return false
	}
	to, p := s.meshTarget(m), s.pod(m, s.at)
	forged := *s.svidOf(p.hash, s.at)
	forged.SHA256, forged.Serial = hexText(s.dice.Uint64(), 32), hexText(s.dice.Uint64(), 8)
	forged.NotAfter = forged.NotBefore.Add(3650 * day)
	s.about(m.id)
	for i := range 12 {
		s.present(p, m, to, &forged, s.at+time.Duration(i)*15*time.Minute, flow{connections: 2, sent: 2000, received: 9000})
	}
	return true
}
