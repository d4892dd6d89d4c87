package sim

import (
	"fmt"
	"time"
)

var cloudScenarios = []Scenario{
	{
		Name: "metadata-theft", Family: familyCloud, OWASP: []string{"NHI6:2025"}, Attack: []string{"T1552.005"},
		Does:  "a service asks the machine's metadata service for credentials, and a new cloud name with them",
		Rules: []string{"metadata-access"}, Lasts: 20 * time.Minute, place: metadataTheft,
	},
	{
		Name: "metadata-refused", Family: familyCloud, OWASP: []string{"NHI6:2025"}, Attack: []string{"T1552.005"},
		Does:  "a service tries the machine's metadata service, and is refused",
		Rules: []string{"metadata-access"}, Lasts: 20 * time.Minute, place: metadataRefused,
	},
	{
		Name: "api-server-access", Family: familyCloud, OWASP: []string{"NHI5:2025"}, Attack: []string{"T1552.007", "T1613"},
		Does:  "a service that never did lists what the API server of the cluster gives it",
		Rules: []string{"scope-violation"}, Lasts: 20 * time.Minute, place: apiServerAccess,
	},
	{
		Name: "secret-store-access", Family: familyCloud, OWASP: []string{"NHI5:2025", "NHI2:2025"}, Attack: []string{"T1555"},
		Does:  "a service that never did reads from the secret store",
		Rules: []string{"scope-violation"}, Lasts: 20 * time.Minute, place: secretStoreAccess,
	},
}

func metadataTheft(s *stage) bool {
	m := s.victim(func(m *member) bool { return !m.uses(s.metadata) })
	if m == nil {
		return false
	}
	p := s.pod(m, s.at)
	s.about(m.id)
	for i := range 3 {
		s.reachPlace(p, s.metadata, s.at+time.Duration(i)*time.Minute, flow{connections: 2, sent: 400, received: 3000})
	}
	s.reachPlace(p, s.stranger(fmt.Sprintf("sts.cloud-%x.example", s.dice.IntN(1<<16)), 443), s.at+5*time.Minute, flow{connections: 2, sent: 2000, received: 4000})
	return true
}

func metadataRefused(s *stage) bool {
	m := s.victim(func(m *member) bool { return !m.uses(s.metadata) })
	if m == nil {
		return false
	}
	p := s.pod(m, s.at)
	s.about(m.id)
	s.reachPlace(p, s.metadata, s.at, flow{connections: 3, failed: 3, err: "refused"})
	return true
}

func apiServerAccess(s *stage) bool {
	m := s.victim(func(m *member) bool { return m.env == "prod" && !m.uses(s.apiserver) })
	if m == nil {
		return false
	}
	p := s.pod(m, s.at)
	s.about(m.id)
	for i := range 4 {
		s.reachPlace(p, s.apiserver, s.at+time.Duration(i)*2*time.Minute, flow{connections: 2, sent: 4000, received: 600_000})
	}
	return true
}

func secretStoreAccess(s *stage) bool {
	vault := s.find("prod", "vault", "vault")
	m := s.victim(func(m *member) bool { return m.env == "prod" && !m.reaches(vault) })
	if m == nil {
		return false
	}
	p := s.pod(m, s.at)
	s.about(m.id)
	for i := range 4 {
		s.enter(p, vault, s.at+time.Duration(i)*3*time.Minute, flow{connections: 1, sent: 1200, received: 9000})
	}
	return true
}
