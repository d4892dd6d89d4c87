package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Attack is one attack that was placed: the ground truth.
type Attack struct {
	Name       string // of the scenario, with a number
	Scenario   *Scenario
	Identities []event.Identity // those that a finding may be about; the first is the one that is abused
	Resources  []event.Resource // what it reaches, known ones among them
	From       time.Time        // when its first observation is told
	Until      time.Time        // when its last one is
	Told       int              // observations

	staged []staged
}

// staged is an observation of an attack.
type staged struct {
	at          time.Duration
	on          *machine
	observation event.Observation
}

// Finds says whether a finding, told at a time, finds the attack: it is about one of its identities, in its time or within an hour after, and either names one of its
// resources or is by a rule that is meant for such attacks.
func (a *Attack) Finds(at time.Time, id event.Identity, r event.Resource, rule string) bool {
	if at.Before(a.From) || at.After(a.Until.Add(time.Hour)) || !slices.Contains(a.Identities, id) {
		return false
	}
	return slices.Contains(a.Resources, r) || slices.Contains(a.Scenario.Rules, rule)
}

// placeAttacks draws when each scenario happens, and to whom.
func (w *world) placeAttacks() []Attack {
	var list []Attack
	used := map[*member]bool{}
	for i := range scenarios {
		for n := range w.Repeat {
			const tries = 50
			for try := range tries {
				a := Attack{Name: fmt.Sprintf("%s/%d", scenarios[i].Name, n+1), Scenario: &scenarios[i]}
				s := &stage{world: w, dice: newDice(mix(w.Seed, hashText(a.Name)), uint64(try)), attack: &a, used: used}
				s.at = s.moment(scenarios[i].Lasts)
				if scenarios[i].place(s) && len(a.staged) > 0 {
					s.finish()
					list = append(list, a)
					break
				}
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Attack) int { return a.From.Compare(b.From) })
	return list
}

// stage is where a scenario is played.
type stage struct {
	*world
	dice   *dice
	attack *Attack
	used   map[*member]bool
	taken  []*member
	at     time.Duration // when it begins
}

// moment draws when something begins that lasts so long: after a third of the time, so that there was enough to learn from.
func (s *stage) moment(lasts time.Duration) time.Duration {
	end := time.Duration(s.Days) * day
	from, to := end/3, end-end/20-lasts
	if to < from {
		to = from + time.Minute
	}
	return (from + time.Duration(s.dice.Float64()*float64(to-from))).Truncate(time.Second)
}

// finish fills in the truth.
func (s *stage) finish() {
	a := s.attack
	slices.SortStableFunc(a.staged, func(x, y staged) int { return int(x.at - y.at) })
	a.From, a.Until, a.Told = a.staged[0].observation.Time, a.staged[len(a.staged)-1].observation.Time, len(a.staged)
	for _, m := range s.taken {
		s.used[m] = true
	}
}

// victim draws a member that fits and is in no other attack; nil if there is none. It acts from a day before the attack until its end.
func (s *stage) victim(fits func(*member) bool) *member {
	return s.draw(func(m *member) bool {
		return m.kind == kindService && !m.wide && m.alive(s.at-min(s.at/2, 8*day)) && m.alive(s.at+s.attack.Scenario.Lasts+time.Hour) && fits(m)
	})
}

func (s *stage) draw(fits func(*member) bool) *member {
	start := s.dice.IntN(len(s.members))
	for i := range s.members {
		if m := s.members[(start+i)%len(s.members)]; !s.used[m] && !slices.Contains(s.taken, m) && fits(m) {
			s.taken = append(s.taken, m)
			return m
		}
	}
	return nil
}

// target draws a member that the other does not reach; it may be in several attacks.
func (s *stage) target(m *member, fits func(*member) bool) *member {
	start := s.dice.IntN(len(s.members))
	for i := range s.members {
		if to := s.members[(start+i)%len(s.members)]; to != m && to.alive(s.at) && to.alive(s.at+s.attack.Scenario.Lasts) && !m.reaches(to) && fits(to) {
			return to
		}
	}
	return nil
}

func (m *member) reaches(to *member) bool {
	return slices.ContainsFunc(m.edges, func(e *edge) bool { return e.to == to })
}

func (m *member) uses(p *place) bool {
	return slices.ContainsFunc(m.edges, func(e *edge) bool { return e.there == p })
}

// about names identities that findings may be about.
func (s *stage) about(ids ...event.Identity) {
	for _, id := range ids {
		if !slices.Contains(s.attack.Identities, id) {
			s.attack.Identities = append(s.attack.Identities, id)
		}
	}
}

// pod is one of a member at a time.
func (s *stage) pod(m *member, at time.Duration) *pod {
	p := s.podAt(m, s.dice.IntN(m.replicas), at)
	return &p
}

// flow is what an attack does on one edge.
type flow struct {
	connections, failed uint64
	sent, received      uint64
	err                 string
	protocol            event.Protocol // TCP where empty
}

// reach tells of one use of something outside: the first at once, the rest when the interval ends.
func (s *stage) reach(p *pod, at time.Duration, peer event.Peer, tls *event.TLS, f flow) {
	if f.protocol == "" {
		f.protocol = event.TCP
	}
	first := event.Counts{Connections: min(1, f.connections), Failed: min(1, f.failed)}
	s.tell(p, at+250*time.Millisecond, at, event.Outbound, f.protocol, peer, tls, first, f.err)
	rest := event.Counts{Connections: f.connections - first.Connections, Failed: f.failed - first.Failed, BytesSent: f.sent, BytesReceived: f.received}
	if rest != (event.Counts{}) {
		s.tell(p, at+tick, at+time.Second, event.Outbound, f.protocol, peer, tls, rest, f.err)
	}
}

// enter tells of one use of another identity, from both sides.
func (s *stage) enter(p *pod, to *member, at time.Duration, f flow) {
	callee := s.pod(to, at)
	peer, tls := s.peerMember(p, to, callee, at)
	s.reach(p, at, peer, tls, f)
	if f.connections > f.failed {
		s.accept(callee, to, at, event.Peer{Address: p.address, Identity: p.derived, Evidence: event.EvidenceKubernetes}, nil, f)
	}
}

// accept tells of the side that is reached.
func (s *stage) accept(callee *pod, to *member, at time.Duration, from event.Peer, tls *event.TLS, f flow) {
	from.Port = to.podPort
	s.tell(callee, at+300*time.Millisecond, at, event.Inbound, event.TCP, from, tls, event.Counts{Connections: min(1, f.connections-f.failed)}, "")
	s.tell(callee, at+tick, at+time.Second, event.Inbound, event.TCP, from, tls, event.Counts{Connections: f.connections - f.failed - min(1, f.connections-f.failed), BytesSent: f.received, BytesReceived: f.sent}, "")
}

// tell adds one observation, if the machine is watched then. It does not cross the full hour.
func (s *stage) tell(p *pod, at, first time.Duration, way event.Direction, protocol event.Protocol, peer event.Peer, tls *event.TLS, c event.Counts, err string) {
	if hour := first.Truncate(time.Hour); at >= hour+time.Hour {
		at = hour + time.Hour - time.Microsecond
	}
	b := p.machine.watched(at)
	if b == nil || b.from > first || at >= time.Duration(s.Days)*day || c == (event.Counts{}) {
		return
	}
	if c.Failed == 0 {
		err = ""
	}
	if c.Failed > 0 && c.Failed == c.Connections {
		tls = nil
	}
	o := event.Observation{
		Time: s.Start.Add(at), FirstTime: s.Start.Add(first), Node: p.machine.name, Workload: p.workload, Direction: way, Protocol: protocol, Peer: peer, TLS: tls, Counts: c, Error: err,
	}
	s.attack.staged = append(s.attack.staged, staged{at, p.machine, o})
	if r := event.ResourceOf(&o); way == event.Outbound && !slices.Contains(s.attack.Resources, r) {
		s.attack.Resources = append(s.attack.Resources, r)
	}
}

// stranger is a place on the internet that nobody reaches.
func (s *stage) stranger(name string, port uint16) *place {
	p := s.outside(name, port, 1)
	p.addresses[0] = publicAddress(mix(p.hash, s.dice.Uint64()))
	if name == "" {
		p.source = ""
	}
	return p
}

func (s *stage) reachPlace(p *pod, to *place, at time.Duration, f flow) {
	peer, tls := s.peerOutside(to, at)
	s.seenOf(p.member, mix(p.member.hash, to.hash), tls)
	if f.protocol == "" {
		f.protocol = to.protocol
	}
	if to.name == "" {
		tls = nil
	}
	s.reach(p, at, peer, tls, f)
}

func service(env string) func(*member) bool { return func(m *member) bool { return m.env == env } }
