package main

import (
	"maps"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/sim"
)

// interval is the agents': delays are counted in it.
const interval = 10 * time.Second

// settled is when alerts begin to count: no sooner has the plain rule its history.
func settled(p *sim.Params) time.Duration {
	return min(history, time.Duration(p.Days)*24*time.Hour/4)
}

// score is what became of one contestant with one seed. An alert is counted when it is told for the first time at medium or higher, or rises to a severity that it
// did not have before; that it is told again with a higher count is nothing new to a reader. It is true if it finds an attack, else false.
type score struct {
	attacks []sim.Attack
	params  sim.Params

	told    map[string]int // the highest severity, by key
	found   []found        // of each attack
	days    []int          // alerts of medium or higher told on each day
	trues   int            // since things have settled
	falses  int
	byRule  map[string]int // false ones
	byKind  map[string]int // the same, by the kind of resource
	byCause map[string]int // the same, by what brought them about
	elapsed time.Duration  // processor time in the contestant
}

// found is how an attack was found.
type found struct {
	ok    bool
	delay time.Duration
	rule  string
	low   bool // only below medium
}

func newScore(s *sim.Sim) *score {
	p := s.Params()
	return &score{
		attacks: s.Attacks(), params: p, told: map[string]int{}, found: make([]found, len(s.Attacks())), days: make([]int, p.Days), byRule: map[string]int{}, byKind: map[string]int{}, byCause: map[string]int{},
	}
}

func (s *score) take(a alert) {
	before, now := s.told[a.key], severities[a.severity]
	if now <= before {
		return
	}
	s.told[a.key] = now
	true_ := false
	for i := range s.attacks {
		x := &s.attacks[i]
		if !x.Finds(a.at, a.identity, a.resource, a.rule) {
			continue
		}
		true_ = true
		f := &s.found[i]
		switch {
		case a.counts() && !f.ok:
			*f = found{ok: true, delay: a.at.Sub(x.From), rule: a.rule}
		case !f.ok && !f.low:
			*f = found{low: true, rule: a.rule}
		}
	}
	if !a.counts() || before >= severities[event.Medium] {
		return
	}
	since := a.at.Sub(s.params.Start)
	s.days[min(int(since/(24*time.Hour)), len(s.days)-1)]++
	switch {
	case since < settled(&s.params):
	case true_:
		s.trues++
	default:
		s.falses++
		s.byRule[a.rule]++
		s.byKind[string(a.resource.Kind())]++
		s.byCause[a.cause.String()]++
	}
}

// perDay is the alerts of a day, of 1,000 identities.
func (s *score) perDay() float64 {
	from := int(settled(&s.params) / (24 * time.Hour))
	sum := 0
	for _, n := range s.days[from:] {
		sum += n
	}
	return float64(sum) / float64(len(s.days)-from) * 1000 / float64(s.params.Identities)
}

// earlyPerDay is the same for the days before.
func (s *score) earlyPerDay() float64 {
	until := int(settled(&s.params) / (24 * time.Hour))
	sum := 0
	for _, n := range s.days[:until] {
		sum += n
	}
	return float64(sum) / float64(max(until, 1)) * 1000 / float64(s.params.Identities)
}

// quietFalses are the false alerts that are not about the few identities that reach something new all the time: whoever leaves these out looks good too easily.
func (s *score) quietFalses() int {
	return s.falses - s.byCause[sim.CauseWide.String()] - s.byCause[sim.CausePipeline.String()]
}

func (s *score) share() float64 {
	n := 0
	for i := range s.found {
		if s.found[i].ok {
			n++
		}
	}
	return float64(n) / float64(max(len(s.found), 1))
}

// delays are those of the attacks that were found, in intervals, sorted.
func (s *score) delays() (list []float64) {
	for i := range s.found {
		if s.found[i].ok {
			list = append(list, float64(s.found[i].delay)/float64(interval))
		}
	}
	slices.Sort(list)
	return list
}

// families gives how many attacks there were and how many were found.
func (s *score) families() map[string][2]int {
	out := map[string][2]int{}
	for i := range s.attacks {
		n := out[s.attacks[i].Scenario.Family]
		n[0]++
		if s.found[i].ok {
			n[1]++
		}
		out[s.attacks[i].Scenario.Family] = n
	}
	return out
}

// quantile of a sorted list.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1)+.5)]
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
