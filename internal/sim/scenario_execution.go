package sim

import (
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

var executionScenarios = []Scenario{
	{
		Name: "human-in-pod", Family: familyExecution, OWASP: []string{"NHI10:2025"}, Attack: []string{"T1609"},
		Does:  "at night somebody opens a shell in a pod of production and uses its database and its secrets by hand",
		Rules: []string{"human-use", "unexpected-executable", "off-hours"}, Lasts: time.Hour, place: humanInPod,
	},
	{
		Name: "curl-in-pod", Family: familyExecution, OWASP: []string{"NHI3:2025"}, Attack: []string{"T1105", "T1609"},
		Does:  "curl, which the image never ran, fetches a file from a bare address on the internet, and the file connects back",
		Rules: []string{"unexpected-executable"}, Lasts: 20 * time.Minute, place: curlInPod,
	},
	{
		Name: "known-reach-by-new-program", Family: familyExecution, OWASP: []string{"NHI3:2025"}, Attack: []string{"T1059", "T1213"},
		Does:  "a python in a pod, whose image never ran one, reads from the database that the service uses anyway",
		Rules: []string{"unexpected-executable"}, Lasts: time.Hour, place: knownByNewProgram,
	},
	{
		Name: "bind-shell", Family: familyExecution, OWASP: []string{"NHI5:2025"}, Attack: []string{"T1571", "T1059.004"},
		Does:  "a shell listens in a pod, and another service of the cluster connects to it",
		Rules: []string{"unexpected-executable", "human-use"}, Lasts: 30 * time.Minute, place: bindShell,
	},
	{
		Name: "crypto-mining", Family: familyExecution, OWASP: []string{"NHI3:2025"}, Attack: []string{"T1496"},
		Does:  "a miner in a pod keeps a connection to its pool, with a few bytes a minute",
		Rules: []string{"unexpected-executable"}, Lasts: 12 * time.Hour, place: cryptoMining,
	},
}

func humanInPod(s *stage) bool {
	fits := func(e *edge) bool { return e.to != nil && e.to.function == "db" && e.to.alive(s.at) }
	m := s.victim(func(m *member) bool { return m.env == "prod" && s.busy(m, fits) != nil })
	if m == nil {
		return false
	}
	s.at = s.at.Truncate(day) + time.Hour + time.Duration(s.dice.IntN(7200))*time.Second
	p := s.pod(m, s.at)
	p.workload.Interactive, p.workload.Executable = true, "/usr/bin/psql"
	s.about(m.id)
	for i := range 5 {
		s.enter(p, s.busy(m, fits).to, s.at+time.Duration(i)*6*time.Minute, flow{connections: 1, sent: 900, received: 300_000})
	}
	if vault := s.find("prod", "vault", "vault"); vault != nil {
		p.workload.Executable = "/usr/bin/curl"
		s.enter(p, vault, s.at+35*time.Minute, flow{connections: 2, sent: 900, received: 9000})
	}
	return true
}

func curlInPod(s *stage) bool {
	m := s.victim(service("prod"))
	if m == nil {
		return false
	}
	p := s.pod(m, s.at)
	p.workload.Executable = "/usr/bin/curl"
	s.about(m.id)
	s.reachPlace(p, s.stranger("", 80), s.at, flow{connections: 1, sent: 120, received: 4_000_000})
	p.workload.Executable = "/tmp/.x"
	back := s.stranger("", 4444)
	for i := range 15 {
		s.reachPlace(p, back, s.at+time.Duration(i+1)*time.Minute, flow{connections: 1, sent: 5000, received: 900})
	}
	return true
}

func knownByNewProgram(s *stage) bool {
	fits := func(e *edge) bool { return e.to != nil && e.to.kind == kindStore && e.to.alive(s.at) && e.to != s.dns }
	m := s.victim(func(m *member) bool { return m.env == "prod" && s.busy(m, fits) != nil })
	if m == nil {
		return false
	}
	p := s.pod(m, s.at)
	p.workload.Executable = "/tmp/python3"
	s.about(m.id)
	for i := range 6 {
		s.enter(p, s.busy(m, fits).to, s.at+time.Duration(i)*5*time.Minute, flow{connections: 2, sent: 900, received: 50_000})
	}
	return true
}

func bindShell(s *stage) bool {
	m := s.victim(service("prod"))
	from := s.victim(service("prod"))
	if m == nil || from == nil {
		return false
	}
	p, other := s.pod(m, s.at), s.pod(from, s.at)
	p.workload.Executable, p.workload.Interactive = "/bin/bash", true
	other.workload.Executable = "/usr/bin/nc"
	s.about(m.id, from.id)
	for i := range 5 {
		at := s.at + time.Duration(i)*4*time.Minute
		f := flow{connections: 1, sent: 900, received: 30_000}
		s.reach(other, at, event.Peer{Address: p.address, Port: 4444, Identity: m.derived, Evidence: event.EvidenceKubernetes}, nil, f)
		shell := *m
		shell.podPort = 4444
		s.accept(p, &shell, at, event.Peer{Address: other.address, Identity: from.derived, Evidence: event.EvidenceKubernetes}, nil, f)
	}
	return true
}

func cryptoMining(s *stage) bool {
	m := s.victim(func(*member) bool { return true })
	if m == nil {
		return false
	}
	to := s.stranger(fmt.Sprintf("pool.coins-%x.example", s.dice.IntN(1<<20)), 3333)
	p := s.pod(m, s.at)
	p.workload.Executable = "/tmp/kdevtmpfsi"
	s.about(m.id)
	for i := range 140 {
		s.reachPlace(p, to, s.at+time.Duration(i)*5*time.Minute, flow{connections: 1, sent: 2500, received: 4000})
	}
	return true
}
