package sim

import (
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

var lateralScenarios = []Scenario{
	{
		Name: "database-of-another-team", Family: familyLateral, OWASP: []string{"NHI5:2025"}, Attack: []string{"T1021", "T1213"},
		Does:  "a service of production opens the database of another team, by the program that it runs anyway",
		Rules: []string{"scope-violation"}, Lasts: 30 * time.Minute, place: lateralDatabase,
	},
	{
		Name: "cross-environment", Family: familyLateral, OWASP: []string{"NHI8:2025"}, Attack: []string{"T1021"},
		Does:  "a service of development reaches the same team's database in production",
		Rules: []string{"environment-crossing", "scope-violation"}, Lasts: 30 * time.Minute, place: crossEnvironment,
	},
	{
		Name: "runner-into-production", Family: familyLateral, OWASP: []string{"NHI6:2025", "NHI8:2025"}, Attack: []string{"T1195", "T1021"},
		Does:  "a runner of pipelines, which reaches development and staging, opens a database of production",
		Rules: []string{"environment-crossing", "scope-violation"}, Lasts: 20 * time.Minute, place: runnerIntoProduction,
	},
	{
		Name: "unit-into-pods", Family: familyLateral, OWASP: []string{"NHI5:2025"}, Attack: []string{"T1611", "T1021"},
		Does:  "a systemd unit of a node, which talks to the control plane, connects to databases in pods",
		Rules: []string{"scope-violation", "fan-out"}, Lasts: 20 * time.Minute, place: unitIntoPods,
	},
	{
		Name: "ssh-to-node", Family: familyLateral, OWASP: []string{"NHI5:2025"}, Attack: []string{"T1021.004"},
		Does:  "a service opens SSH to the nodes of the cluster",
		Rules: []string{"scope-violation", "fan-out"}, Lasts: 20 * time.Minute, place: sshToNode,
	},
}

func lateralDatabase(s *stage) bool {
	m := s.victim(service("prod"))
	if m == nil {
		return false
	}
	to := s.target(m, func(to *member) bool { return to.function == "db" && to.env == "prod" && to.team != m.team })
	if to == nil {
		return false
	}
	p := s.pod(m, s.at)
	s.about(m.id)
	for i := range 5 {
		s.enter(p, to, s.at+time.Duration(i)*4*time.Minute, flow{connections: 3, sent: 2500, received: 700_000})
	}
	return true
}

func crossEnvironment(s *stage) bool {
	m := s.victim(service("dev"))
	if m == nil {
		return false
	}
	to := s.find("prod", m.team, "db")
	if to == nil {
		return false
	}
	p := s.pod(m, s.at)
	s.about(m.id)
	for i := range 4 {
		s.enter(p, to, s.at+time.Duration(i)*5*time.Minute, flow{connections: 2, sent: 1800, received: 500_000})
	}
	return true
}

func runnerIntoProduction(s *stage) bool {
	m := s.draw(func(m *member) bool { return m.kind == kindRunner })
	if m == nil {
		return false
	}
	to := s.target(m, func(to *member) bool { return to.function == "db" && to.env == "prod" })
	if to == nil {
		return false
	}
	p := s.pod(m, s.at)
	p.workload.Executable = "/usr/bin/psql"
	s.about(m.id)
	for i := range 3 {
		s.enter(p, to, s.at+time.Duration(i)*3*time.Minute, flow{connections: 2, sent: 1800, received: 2_000_000})
	}
	return true
}

func unitIntoPods(s *stage) bool {
	m := s.draw(func(m *member) bool {
		return m.kind == kindUnit && m.account == "kubelet.service" && m.prod && m.born < s.at-min(s.at/2, 5*day) && m.gone > s.at+time.Hour
	})
	if m == nil {
		return false
	}
	p := s.pod(m, s.at)
	s.about(m.id)
	for i := range 3 {
		to := s.target(m, func(to *member) bool { return to.kind == kindStore && to.env == "prod" })
		if to == nil {
			return false
		}
		s.enter(p, to, s.at+time.Duration(i)*4*time.Minute, flow{connections: 2, sent: 900, received: 90_000})
	}
	return true
}

func sshToNode(s *stage) bool {
	m := s.victim(service("prod"))
	if m == nil {
		return false
	}
	p := s.pod(m, s.at)
	p.workload.Executable = "/usr/bin/ssh"
	s.about(m.id)
	for i := range 4 {
		to := s.slots[s.dice.IntN(s.prodSlots)].at(s.at)
		f := flow{connections: 2, sent: 6000, received: 6000}
		if i%2 == 1 {
			f = flow{connections: 3, failed: 3, err: "refused"}
		}
		s.reach(p, s.at+time.Duration(i)*3*time.Minute, event.Peer{Address: to.address, Port: 22, Name: to.name, NameSource: event.NameNode}, nil, f)
	}
	return true
}

// podNetwork is the address of a pod that may or may not be there.
func podNetwork(h uint64) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 64 + byte(h>>16&63), byte(h >> 8), 2 + byte(h)%250})
}
