package sim

import (
	"fmt"
	"time"
)

var poisonScenarios = []Scenario{
	{
		Name: "poisoned-start", Family: familyPoison, OWASP: []string{"NHI3:2025"}, Attack: []string{"T1195.002", "T1071.001"},
		Does:  "a service is new and compromised from its first hour: it asks a new name on the internet every two hours for four days, by one of its replicas",
		Rules: nil, Lasts: 4 * day, place: poisonedStart,
	},
	{
		Name: "poisoned-once", Family: familyPoison, OWASP: []string{"NHI3:2025"}, Attack: []string{"T1195.002", "T1041"},
		Does:  "while it is learned, a new service reaches a database of another team and a bare address once; days later it uses them in earnest",
		Rules: []string{"volume"}, Lasts: 5 * day, place: poisonedOnce,
	},
}

// newcomer draws a service that begins late enough and lasts.
func (s *stage) newcomer() *member {
	end := time.Duration(s.Days) * day
	m := s.draw(func(m *member) bool {
		return m.kind == kindService && m.born > end/8 && m.born+s.attack.Scenario.Lasts+6*time.Hour < end && m.gone == never && !m.wide
	})
	if m != nil {
		s.at = m.born + 20*time.Minute
		s.about(m.id)
	}
	return m
}

func poisonedStart(s *stage) bool {
	m := s.newcomer()
	if m == nil {
		return false
	}
	to := s.stranger(fmt.Sprintf("update.pkg-%x.example", s.dice.IntN(1<<24)), 443)
	for i := range 48 {
		at := s.at + time.Duration(i)*2*time.Hour
		p := s.podAt(m, 0, at)
		s.reachPlace(&p, to, at, flow{connections: 1, sent: 700, received: 500})
	}
	return true
}

func poisonedOnce(s *stage) bool {
	m := s.newcomer()
	if m == nil {
		return false
	}
	db := s.target(m, func(to *member) bool { return to.function == "db" && to.env == m.env && to.team != m.team })
	if db == nil {
		return false
	}
	to := s.stranger("", 443)
	s.enter(s.pod(m, s.at), db, s.at, flow{connections: 1, sent: 300, received: 900})
	s.reachPlace(s.pod(m, s.at), to, s.at+5*time.Minute, flow{connections: 1, sent: 300, received: 300})
	later := s.at + s.attack.Scenario.Lasts - 3*time.Hour
	for i := range 12 {
		at := later + time.Duration(i)*10*time.Minute
		s.enter(s.pod(m, at), db, at, flow{connections: 2, sent: 2000, received: 20_000_000})
		s.reachPlace(s.pod(m, at), to, at+2*time.Minute, flow{connections: 1, sent: 40_000_000, received: 3000})
	}
	return true
}
