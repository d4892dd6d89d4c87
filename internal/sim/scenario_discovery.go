package sim

import (
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

var discoveryScenarios = []Scenario{
	{
		Name: "port-scan", Family: familyDiscovery, OWASP: []string{"NHI5:2025"}, Attack: []string{"T1046"},
		Does:  "a service tries 120 ports of one pod; nearly all of them refuse",
		Rules: []string{"fan-out", "new-reach-burst"}, Lasts: 10 * time.Minute, place: portScan,
	},
	{
		Name: "address-sweep", Family: familyDiscovery, OWASP: []string{"NHI5:2025"}, Attack: []string{"T1046", "T1018"},
		Does:  "a service tries one port at 200 addresses of the pods' network; most are nobody's",
		Rules: []string{"fan-out", "new-reach-burst"}, Lasts: 20 * time.Minute, place: addressSweep,
	},
	{
		Name: "slow-sweep", Family: familyDiscovery, OWASP: []string{"NHI5:2025"}, Attack: []string{"T1046"},
		Does:  "a service tries another service of the cluster every quarter of an hour, for ten hours",
		Rules: []string{"fan-out", "new-reach-burst", "scope-violation"}, Lasts: 11 * time.Hour, place: slowSweep,
	},
}

func portScan(s *stage) bool {
	m := s.victim(service("prod"))
	if m == nil {
		return false
	}
	to := s.target(m, func(to *member) bool { return to.kind == kindService && to.env == "prod" })
	if to == nil {
		return false
	}
	p, callee := s.pod(m, s.at), s.pod(to, s.at)
	s.about(m.id)
	for i := range 120 {
		f := flow{connections: 1, failed: 1, err: "refused"}
		peer := event.Peer{Address: callee.address, Port: uint16(20 + s.dice.IntN(10_000)), Identity: to.derived, Evidence: event.EvidenceKubernetes}
		if i == 70 {
			peer.Port, f = to.podPort, flow{connections: 1, sent: 40, received: 200}
		}
		s.reach(p, s.at+time.Duration(i)*400*time.Millisecond, peer, nil, f)
	}
	return true
}

func addressSweep(s *stage) bool {
	m := s.victim(func(*member) bool { return true })
	if m == nil {
		return false
	}
	p := s.pod(m, s.at)
	s.about(m.id)
	near := podNetwork(s.dice.Uint64())
	for i := range 200 {
		a := near.As4()
		a[3] = byte(2 + i)
		peer := event.Peer{Address: netip.AddrFrom4(a), Port: 5432}
		if i >= 64 { // the agent tells the network from there
			peer.Range = netip.PrefixFrom(peer.Address, 24).Masked()
		}
		s.reach(p, s.at+time.Duration(i)*3*time.Second, peer, nil, flow{connections: 1, failed: 1, err: "timeout"})
	}
	return true
}

func slowSweep(s *stage) bool {
	m := s.victim(service("prod"))
	if m == nil {
		return false
	}
	s.about(m.id)
	for i := range 40 {
		at := s.at + time.Duration(i)*15*time.Minute
		to := s.target(m, func(to *member) bool { return to.kind == kindService || to.kind == kindStore })
		if to == nil {
			return false
		}
		f := flow{connections: 1, sent: 90, received: 300}
		if i%3 > 0 {
			f = flow{connections: 2, failed: 2, err: "timeout"}
		}
		s.enter(s.pod(m, at), to, at, f)
	}
	return true
}
