package sim

import (
	"fmt"
	"net/netip"
	"time"
)

// Times are counted from the beginning of the simulation.

// slot is a place for a machine. The machines in it follow each other.
type slot struct {
	index    int
	machines []*machine
}

// machine is one node, from its start to its replacement.
type machine struct {
	name        string
	hash        uint64
	address     netip.Addr
	from, until time.Duration
	boots       []boot
	phase       time.Duration // of its agent's intervals
	units       []*member
	told        time.Duration // watched until then, as far as the stream has told
}

// boot is a start of a machine's agent, and how long it watched.
type boot struct {
	name        string
	from, until time.Duration
}

func (w *world) addNodes() {
	n := max(4, w.Identities/w.IdentitiesPerNode)
	end := time.Duration(w.Days) * day
	for i := range n {
		s := &slot{index: i}
		d := newDice(mix(w.Seed, hashText("node")), uint64(i))
		from := time.Duration(0)
		for generation := 1; from < end; generation++ {
			until := from + time.Duration(d.between(.5, 1.5)*float64(w.NodeLife))
			if generation == 1 {
				until = time.Duration(d.between(.1, 1.5) * float64(w.NodeLife)) // it was there before
			}
			until = until.Truncate(time.Minute) + time.Duration(d.IntN(3600))*time.Second
			m := &machine{
				name: fmt.Sprintf("node-%03d-%d", i+1, generation), from: from, until: until,
				address: netip.AddrFrom4([4]byte{10, 0, byte(i >> 6), byte(1 + i&63<<2 + generation&3)}),
			}
			m.hash = mix(w.Seed, hashText(m.name))
			m.phase = time.Duration(m.hash % uint64(50*time.Second))
			m.boot(d, &w.Params)
			m.told = m.from
			s.machines = append(s.machines, m)
			from = until
		}
		w.slots = append(w.slots, s)
	}
	w.prodSlots = max(2, int(w.ProdNodes*float64(n)))
}

// boot draws the starts of a machine's agent.
func (m *machine) boot(d *dice, p *Params) {
	from := m.from
	for n := 1; from < m.until; n++ {
		until := m.until
		if p.AgentRestarts > 0 {
			until = min(until, from+time.Duration(d.ExpFloat64()*30/p.AgentRestarts*float64(day)))
		}
		m.boots = append(m.boots, boot{fmt.Sprintf("%s-%d", m.name, n), from, until})
		gap := time.Duration(d.between(.5, 1.5) * float64(p.RestartGap))
		if d.chance(p.LongGaps) {
			gap = time.Duration(d.between(.1, 6) * float64(time.Hour))
		}
		from = until + gap
	}
}

// at is the machine in a slot at a time.
func (s *slot) at(t time.Duration) *machine {
	for i := len(s.machines) - 1; i > 0; i-- {
		if t >= s.machines[i].from {
			return s.machines[i]
		}
	}
	return s.machines[0]
}

// watched is the start of the agent that watched at a time; nil if none did.
func (m *machine) watched(t time.Duration) *boot {
	for i := len(m.boots) - 1; i >= 0; i-- {
		if b := &m.boots[i]; t >= b.from {
			if t > b.until {
				return nil
			}
			return b
		}
	}
	return nil
}
