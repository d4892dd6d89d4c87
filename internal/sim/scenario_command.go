package sim

import (
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

var commandScenarios = []Scenario{
	{
		Name: "beacon-to-name", Family: familyCommand, OWASP: []string{"NHI3:2025"}, Attack: []string{"T1071.001"},
		Does:  "after a deploy a library of the service's own program asks a new name on the internet every 30 minutes, with a few hundred bytes",
		Rules: nil, Lasts: 2 * day, place: beaconToName,
	},
	{
		Name: "beacon-to-address", Family: familyCommand, OWASP: []string{"NHI3:2025"}, Attack: []string{"T1071.001", "T1571"},
		Does:  "a service asks a bare address at an unusual port every 45 minutes",
		Rules: nil, Lasts: 2 * day, place: beaconToAddress,
	},
	{
		Name: "reverse-shell", Family: familyCommand, OWASP: []string{"NHI10:2025"}, Attack: []string{"T1059.004", "T1571"},
		Does:  "a shell in a pod connects to a bare address on the internet, and somebody types",
		Rules: []string{"unexpected-executable", "human-use"}, Lasts: time.Hour, place: reverseShell,
	},
	{
		Name: "domain-generation", Family: familyCommand, OWASP: []string{"NHI3:2025"}, Attack: []string{"T1568.002"},
		Does:  "a service tries 60 names that nobody knows, and one of them answers",
		Rules: []string{"fan-out", "new-reach-burst"}, Lasts: 3 * time.Hour, place: domainGeneration,
	},
}

func beaconToName(s *stage) bool {
	deployed := func(m *member) (time.Duration, bool) {
		for _, at := range m.deploys {
			if at > s.at && at < s.at+2*day {
				return at, true
			}
		}
		return 0, false
	}
	m := s.victim(func(m *member) bool {
		at, ok := deployed(m)
		return m.env == "prod" && ok && m.alive(at+3*day)
	})
	if m == nil {
		return false
	}
	s.at, _ = deployed(m)
	s.beacon(m, s.stranger(fmt.Sprintf("cdn.telemetry-%x.example", s.dice.IntN(1<<24)), 443), 10*time.Minute, 30*time.Minute)
	return true
}

func beaconToAddress(s *stage) bool {
	m := s.victim(service("prod"))
	if m == nil {
		return false
	}
	s.beacon(m, s.stranger("", 8443), 0, 45*time.Minute)
	return true
}

func (s *stage) beacon(m *member, to *place, after, every time.Duration) {
	s.about(m.id)
	for at := s.at + after; at < s.at+2*day; at += time.Duration(s.dice.between(.8, 1.2) * float64(every)).Truncate(time.Millisecond) {
		s.reachPlace(s.pod(m, at), to, at, flow{connections: 1, sent: 400, received: 250})
	}
}

func reverseShell(s *stage) bool {
	m := s.victim(service("prod"))
	if m == nil {
		return false
	}
	p := s.pod(m, s.at)
	p.workload.Executable = "/bin/bash"
	to := s.stranger("", 443)
	s.about(m.id)
	for i := range 20 {
		s.reachPlace(p, to, s.at+time.Duration(i)*2*time.Minute, flow{connections: 1, sent: 3000, received: 200})
	}
	return true
}

func domainGeneration(s *stage) bool {
	m := s.victim(service("prod"))
	if m == nil {
		return false
	}
	p := s.pod(m, s.at)
	s.about(m.id)
	for i := range 60 {
		to := s.stranger(hexText(s.dice.Uint64(), 5)+".example", 443)
		f := flow{connections: 1, failed: 1, err: "timeout", protocol: event.TCP}
		if i == 40 {
			f = flow{connections: 1, sent: 300, received: 90_000}
		}
		s.reachPlace(p, to, s.at+time.Duration(i)*2*time.Minute, f)
	}
	return true
}
