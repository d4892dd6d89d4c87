package sim

import (
	"time"

	"github.com/ambit-nhi/ambit/event"
)

var dormantScenarios = []Scenario{
	{
		Name: "dormant-revived", Family: familyDormant, OWASP: []string{"NHI1:2025"}, Attack: []string{"T1078.004"},
		Does:  "an account that fell silent weeks ago acts again, on what it used to reach",
		Rules: []string{"dormant-wakeup", "dormant-identity"}, Lasts: time.Hour, place: dormantRevived,
	},
	{
		Name: "dormant-revived-new-reach", Family: familyDormant, OWASP: []string{"NHI1:2025", "NHI5:2025"}, Attack: []string{"T1078.004", "T1021"},
		Does:  "an account that fell silent weeks ago acts again, and reaches a database that it never used",
		Rules: []string{"dormant-wakeup", "dormant-identity"}, Lasts: time.Hour, place: dormantNewReach,
	},
	{
		Name: "never-used-account", Family: familyDormant, OWASP: []string{"NHI1:2025", "NHI5:2025"}, Attack: []string{"T1078.004"},
		Does:  "an account that was declared long ago and never seen is used for the first time, toward the API server and the secret store",
		Rules: []string{"never-used", "dormant-wakeup", "metadata-access"}, Lasts: time.Hour, place: neverUsed,
	},
	{
		Name: "off-hours", Family: familyDormant, OWASP: []string{"NHI10:2025"}, Attack: []string{"T1078"},
		Does:  "an identity that acts in working hours alone acts at night, on what it reaches anyway",
		Rules: []string{"off-hours", "dormant-wakeup", "volume"}, Lasts: 2 * time.Hour, place: offHours,
	},
}

// dormant draws an account that has been silent for two weeks, or for a quarter of the time that is simulated.
func (s *stage) dormant() (*member, *pod) {
	silence := min(14*day, time.Duration(s.Days)*day/4)
	m := s.draw(func(m *member) bool {
		return m.kind == kindService && !m.deleted && m.gone != never && m.gone+silence < s.at && len(m.edges) > 1
	})
	if m == nil {
		return nil, nil
	}
	p := s.podAt(m, 0, m.gone-time.Hour)
	p.workload.Pod += "-x"
	p.machine = s.slots[s.dice.IntN(s.prodSlots)].at(s.at)
	s.about(m.id)
	return m, &p
}

func dormantRevived(s *stage) bool {
	m, p := s.dormant()
	if m == nil {
		return false
	}
	for i, e := range m.edges {
		if e.to == nil && e.from < m.gone && e.there.source == event.NameDNS {
			s.reachPlace(p, e.there, s.at+time.Duration(i)*2*time.Minute, flow{connections: 4, sent: 9000, received: 9000})
		}
		if e.to != nil && e.from < m.gone && e.to.alive(s.at) && e.to.alive(s.at+time.Hour) && e.to != s.dns {
			s.enter(p, e.to, s.at+time.Duration(i)*2*time.Minute, flow{connections: 4, sent: 9000, received: 90_000})
		}
	}
	return true
}

func dormantNewReach(s *stage) bool {
	m, p := s.dormant()
	if m == nil {
		return false
	}
	to := s.target(m, func(to *member) bool { return to.function == "db" && to.env == m.env && to.team != m.team })
	if to == nil {
		return false
	}
	for i := range 4 {
		s.enter(p, to, s.at+time.Duration(i)*5*time.Minute, flow{connections: 3, sent: 3000, received: 900_000})
	}
	return true
}

func neverUsed(s *stage) bool {
	m := s.draw(func(m *member) bool { return m.kind == kindIdle })
	if m == nil {
		return false
	}
	m.prod = true
	p := s.pod(m, s.at)
	p.workload.Executable = "/usr/bin/kubectl"
	s.about(m.id)
	s.reachPlace(p, s.apiserver, s.at, flow{connections: 6, sent: 9000, received: 300_000})
	if vault := s.find("prod", "vault", "vault"); vault != nil {
		s.enter(p, vault, s.at+3*time.Minute, flow{connections: 4, sent: 4000, received: 40_000})
	}
	return true
}

func offHours(s *stage) bool {
	m := s.victim(func(m *member) bool { return m.season == seasonStrict && m.env == "prod" && len(m.edges) > 2 })
	if m == nil {
		return false
	}
	s.at = s.at.Truncate(day) + 2*time.Hour + time.Duration(s.dice.IntN(3600))*time.Second
	p := s.pod(m, s.at)
	s.about(m.id)
	for i, e := range m.edges {
		if e.from < s.at && e.to != nil && e.to.alive(s.at) && e.to != s.dns && e.rate > 1 {
			for j := range 4 {
				s.enter(p, e.to, s.at+time.Duration(i+j*10)*time.Minute, flow{connections: 5, sent: 9000, received: 400_000})
			}
		}
	}
	return true
}
