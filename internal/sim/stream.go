package sim

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Sim is a simulation that can be run any number of times. It is not safe for concurrent use.
type Sim struct {
	params  Params
	attacks []Attack
}

// New checks the parameters and places the attacks.
func New(p Params) (*Sim, error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	w, err := newWorld(p)
	if err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	s := &Sim{params: p}
	if !p.Calm {
		s.attacks = w.placeAttacks()
	}
	return s, nil
}

// Params are what the simulation was made of.
func (s *Sim) Params() Params { return s.params }

// Attacks is the ground truth, by time of their beginning. None of them are left out: what could not be placed is not there.
func (s *Sim) Attacks() []Attack { return s.attacks }

// Records gives all that a collector is told, in the order of time. Memory is bounded by one hour's records.
func (s *Sim) Records() iter.Seq[*Record] {
	return func(yield func(*Record) bool) {
		for chunk := range s.Hours() {
			for i := range chunk {
				if !yield(&chunk[i]) {
					return
				}
			}
		}
	}
}

// Observations gives the observations alone.
func (s *Sim) Observations() iter.Seq[*event.Observation] {
	return func(yield func(*event.Observation) bool) {
		for r := range s.Records() {
			if r.Observation != nil && !yield(r.Observation) {
				return
			}
		}
	}
}

// Hours gives the records of one hour after the other. A slice and what it refers to are valid until the next.
func (s *Sim) Hours() iter.Seq[[]Record] {
	return func(yield func([]Record) bool) {
		w, err := newWorld(s.params)
		if err != nil {
			panic(err) // New has made the same
		}
		h := &hour{world: w, dice: newDice(0, 0)}
		told := teller{world: w}
		attacks := s.attackItems()
		for n := range s.params.Days * 24 {
			h.begin(n)
			h.fill()
			for len(attacks) > 0 && attacks[0].at < h.until {
				h.inject(attacks[0])
				attacks = attacks[1:]
			}
			slices.SortStableFunc(h.items, func(a, b item) int { return cmp.Compare(a.at, b.at) })
			if !yield(told.records(h)) {
				return
			}
		}
	}
}

// attackItem is an observation of an attack, waiting for its hour.
type attackItem struct {
	at time.Duration
	*staged
}

func (s *Sim) attackItems() []attackItem {
	var list []attackItem
	for i := range s.attacks {
		for j := range s.attacks[i].staged {
			list = append(list, attackItem{s.attacks[i].staged[j].at, &s.attacks[i].staged[j]})
		}
	}
	slices.SortStableFunc(list, func(a, b attackItem) int { return cmp.Compare(a.at, b.at) })
	return list
}

func (h *hour) inject(a attackItem) {
	h.items = append(h.items, item{a.at, whatObservation, len(h.observations), a.on, CauseAttack})
	h.observations = append(h.observations, a.observation)
}

// teller turns an hour into records, and says what was watched.
type teller struct {
	*world
	list    []Record
	watches []Watch
}

func (t *teller) records(h *hour) []Record {
	t.list, t.watches = t.list[:0], t.watches[:0]
	t.watches = slices.Grow(t.watches, len(h.items)+2*len(t.slots)) // pointers into it stay
	for _, it := range h.items {
		r := Record{At: t.Start.Add(it.at), Cause: it.cause}
		if it.on != nil {
			t.watch(it.on, it.at)
		}
		switch it.what {
		case whatObservation:
			r.Observation = &h.observations[it.index]
		case whatSight:
			r.Sight = &h.sights[it.index]
		case whatDeclaration:
			r.Declaration = &h.declarations[it.index]
		}
		t.list = append(t.list, r)
	}
	for _, s := range t.slots { // those that had nothing to tell send heartbeats
		if m := s.at(h.until - 1); m.watched(h.until-1) != nil {
			t.watch(m, h.until-1)
		}
	}
	return t.list
}

// watch tells that a machine was watched until a time, with the start of its agent that watched then.
func (t *teller) watch(m *machine, at time.Duration) {
	b := m.watched(at)
	if b == nil || m.told == at {
		return
	}
	m.told = at
	t.watches = append(t.watches, Watch{m.name, b.name, t.Start.Add(b.from), t.Start.Add(at)})
	t.list = append(t.list, Record{At: t.Start.Add(at), Watch: &t.watches[len(t.watches)-1]})
}
