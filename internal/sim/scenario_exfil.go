package sim

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

var exfilScenarios = []Scenario{
	{
		Name: "slow-exfiltration", Family: familyExfil, OWASP: []string{"NHI5:2025"}, Attack: []string{"T1567", "T1030"},
		Does:  "a service sends 2 MB to a new name on the internet every 20 minutes, for three days",
		Rules: []string{"volume"}, Lasts: 3 * day, place: slowExfiltration,
	},
	{
		Name: "burst-exfiltration", Family: familyExfil, OWASP: []string{"NHI5:2025"}, Attack: []string{"T1048"},
		Does:  "a service sends 6 GB to a bare address on the internet within a quarter of an hour",
		Rules: []string{"volume"}, Lasts: 20 * time.Minute, place: burstExfiltration,
	},
	{
		Name: "known-saas-exfiltration", Family: familyExfil, OWASP: []string{"NHI3:2025"}, Attack: []string{"T1567"},
		Does:  "a service sends hundreds of times its usual volume to a name that it reaches every day",
		Rules: []string{"volume"}, Lasts: 5 * time.Hour, place: knownExfiltration,
	},
	{
		Name: "database-dump", Family: familyExfil, OWASP: []string{"NHI5:2025"}, Attack: []string{"T1213", "T1530"},
		Does:  "a service reads hundreds of times its usual volume from its own database",
		Rules: []string{"volume"}, Lasts: 3 * time.Hour, place: databaseDump,
	},
	{
		Name: "dns-tunnel", Family: familyExfil, OWASP: []string{"NHI5:2025"}, Attack: []string{"T1048", "T1071.004"},
		Does:  "a service sends data in the questions that it asks the cluster's resolver, and a foreign resolver when that is slow",
		Rules: []string{"volume", "fan-out"}, Lasts: 6 * time.Hour, place: dnsTunnel,
	},
}

func slowExfiltration(s *stage) bool {
	m := s.victim(service("prod"))
	if m == nil {
		return false
	}
	to := s.stranger(fmt.Sprintf("files.drop-%x.example", s.dice.IntN(1<<24)), 443)
	s.about(m.id)
	for i := range 3 * 72 {
		at := s.at + time.Duration(i)*20*time.Minute
		s.reachPlace(s.pod(m, at), to, at, flow{connections: 1, sent: uint64(s.dice.between(1.5e6, 2.5e6)), received: 4000})
	}
	return true
}

func burstExfiltration(s *stage) bool {
	m := s.victim(service("prod"))
	if m == nil {
		return false
	}
	to := s.stranger("", 443)
	p := s.pod(m, s.at)
	s.about(m.id)
	for i := range 15 {
		s.reachPlace(p, to, s.at+time.Duration(i)*time.Minute, flow{connections: 1, sent: 400_000_000, received: 90_000})
	}
	return true
}

// busy draws an edge of a member that is in use by day and night, to something that fits.
func (s *stage) busy(m *member, fits func(*edge) bool) *edge {
	for _, e := range m.edges {
		if e.from < s.at-min(s.at/2, 10*day) && e.until > s.at && e.rate > 5 && e.rate < 500 && e.renamed == nil && fits(e) {
			return e
		}
	}
	return nil
}

func knownExfiltration(s *stage) bool {
	fits := func(e *edge) bool { return e.there != nil && e.there.tls && e.there.source == event.NameDNS }
	m := s.victim(func(m *member) bool { return m.env == "prod" && s.busy(m, fits) != nil })
	if m == nil {
		return false
	}
	e := s.busy(m, fits)
	p := s.pod(m, s.at)
	usual := e.rate * e.sent // bytes an hour
	s.about(m.id)
	for i := range 24 {
		s.reachPlace(p, e.there, s.at+time.Duration(i)*10*time.Minute, flow{connections: 3, sent: uint64(max(50*usual, 30e6)), received: 9000})
	}
	return true
}

func databaseDump(s *stage) bool {
	fits := func(e *edge) bool { return e.to != nil && e.to.function == "db" && e.to.alive(s.at) }
	m := s.victim(func(m *member) bool { return m.env == "prod" && s.busy(m, fits) != nil })
	if m == nil {
		return false
	}
	e := s.busy(m, fits)
	p := s.pod(m, s.at)
	usual := e.rate * e.received
	s.about(m.id)
	for i := range 12 {
		s.enter(p, e.to, s.at+time.Duration(i)*10*time.Minute, flow{connections: 2, sent: 3000, received: uint64(max(60*usual, 60e6))})
	}
	return true
}

func dnsTunnel(s *stage) bool {
	m := s.victim(service("prod"))
	if m == nil {
		return false
	}
	p := s.pod(m, s.at)
	foreign := event.Peer{Address: publicAddress(s.dice.Uint64()), Port: 53}
	s.about(m.id)
	for i := range 36 {
		at := s.at + time.Duration(i)*10*time.Minute
		callee := s.pod(s.dns, at)
		peer := event.Peer{
			Address: callee.address, Port: 53, Dialled: netip.AddrPortFrom(s.dns.clusterIP, 53), Name: s.dns.service, NameSource: event.NameService, Identity: s.dns.id,
			Evidence: event.EvidenceKubernetes,
		}
		s.reach(p, at, peer, nil, flow{connections: 4000, sent: 800_000, received: 600_000, protocol: event.UDP})
		if i > 5 {
			s.reach(p, at+time.Minute, foreign, nil, flow{connections: 200, sent: 40_000, received: 30_000, protocol: event.UDP})
		}
	}
	return true
}
