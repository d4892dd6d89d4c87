package detector

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

var ruleNewReach = rule{
	name:     "new-reach",
	about:    "A stable identity reaches, or tries to reach, a resource that it never reached while it was learned.",
	advice:   "Ask the owner whether it should; if nobody knows of it, deny it and look at what ran there.",
	severity: event.Medium,
	owasp:    []string{"NHI5:2025"}, // overprivileged: it can reach what it does not need
}

// reachRules are those that judge the first use of a resource; which one depends on where it is.
var reachRules = [...]*rule{&ruleNewReach, &ruleMetadataAccess, &ruleEnvironmentCrossing, &ruleScopeViolation}

// scopeIndex is the place of the last one among them.
const scopeIndex = 3

// newReach tells of an edge's first use.
func (s *sight) newReach(key edgeKey, e *edge, r event.Resource, novel surprise) {
	z := s.d.threshold.at(s.first, s.d.budget())
	if s.id.profile.fan.fresh <= 1 { // of many at once, one stands for all
		s.d.threshold.note(novel.points, s.first)
	}
	s.tellReach(key, e, r, novel, z, "")
}

// budget is how many alerts a day may bring, of all identities that are known.
func (d *Detector) budget() float64 {
	return max(d.config.AlertsPerDay*float64(len(d.identities))/1000, 0.05)
}

// tellReach makes an edge one that has a finding.
func (s *sight) tellReach(key edgeKey, e *edge, r event.Resource, novel surprise, z float64, note string) {
	o, which := s.o, 0
	switch {
	case novel.place == placeMetadata:
		which = 1
	case novel.crossing:
		which = 2
	}
	verb := "reached"
	if allFailed(o) {
		verb = "tried to reach"
	}
	where := &places[novel.place]
	what := spoken(r)
	if where.word != "" {
		what += ", " + where.word + ","
	}
	explanation := []string{whoReached(r, o), outcome(o)}
	if where.why != "" {
		explanation = append(explanation, fmt.Sprintf(where.why, cmp.Or(addressText(o), o.Peer.Name, spoken(r))))
	}
	explanation = append(explanation, novel.reasons...)
	if note != "" {
		explanation = append(explanation, note)
	}
	a := alarm{
		rule: reachRules[which], resource: r, score: novel.probability(), severity: severityAt(novel.points, z), count: o.Counts.Connections,
		title:       fmt.Sprintf("%s %s %s for the first time", shortName(&o.Workload), verb, what),
		explanation: explanation, owasp: where.owasp, attack: where.attack,
	}
	if !s.allow(&a) {
		e.state = edgeSilent
		return
	}
	if !s.d.spendAll(a.severity, s.first) {
		if s.learned {
			e.state = edgeFolded
		}
		s.flood()
		return
	}
	e.state, e.rule = edgeTold, uint8(which)
	f := s.finding(a)
	s.reached = f.Severity
	s.d.newFinding(findingKey{key, reachRules[which]}, f, &s.out)
	s.out = append(s.out, f)
}

// severityAt is the severity of a surprise where z is the threshold.
func severityAt(points, z float64) event.Severity {
	switch {
	case points >= z+5:
		return event.Critical
	case points >= z+2:
		return event.High
	case points >= z:
		return event.Medium
	}
	return event.Low
}

// enoughStable is how many identities must be learned before others are compared with them.
const enoughStable = 10

// learningPenalty is how much more it takes to tell something while an identity is learned.
const learningPenalty = 1.0

// early judges a new edge of an identity that is still learned. Nearly all of them become normal; what would be blatant in any identity is told, so that an
// attack that begins with the workload does not write its own permit.
func (s *sight) early(key edgeKey, e *edge, r event.Resource, novel surprise) {
	if s.d.stable < enoughStable {
		return // there is nothing to compare with yet
	}
	novel.points -= learningPenalty
	z := s.d.threshold.at(s.first, s.d.budget())
	if novel.points < z || s.o.Counts.Connections == 0 {
		return
	}
	if !s.id.spend(s.first, s.d.config.FindingsPerMinute) {
		return
	}
	s.tellReach(key, e, r, novel, z, "It is told although the identity is still learned, because nobody like it does that.")
}

// confirm judges a candidate when it is used after learning. What was used on several occasions becomes normal, unless its identity came when the others
// were learned already, and nobody else ever reached that place: what is in a workload from its first hour would write its own permit.
func (s *sight) confirm(key edgeKey, e *edge, r event.Resource, once bool) {
	if s.d.stable < enoughStable {
		return // there is nothing to compare with yet
	}
	alone := false
	if !once {
		if alone = s.alone(key, e, r); !alone {
			e.state = edgeConfirmed
			return
		}
	}
	novel := s.d.surpriseOf(s.id, e, r, s.o, s.news)
	z := s.d.threshold.at(s.first, s.d.budget())
	note := fmt.Sprintf("It was reached once before, at %s, while the identity was learned; that alone does not make it normal.", clockMicros(e.first))
	if alone {
		note = fmt.Sprintf("It did so from its start, at %s, on; but the identity is new in a cluster that is known, and nobody else ever reached that.", clockMicros(e.first))
	} else {
		novel.points -= 1
	}
	if novel.points < z {
		if !once {
			e.state = edgeConfirmed
		}
		return
	}
	if s.id.spend(s.first, s.d.config.FindingsPerMinute) {
		s.tellReach(key, e, r, novel, z, note)
	}
}

// alone says that the identity is new among learned ones, and the only one that ever reached a place outside or one that matters.
func (s *sight) alone(key edgeKey, e *edge, r event.Resource) bool {
	p := placeOf(s.o)
	if p != placePublic && !p.sensitive() {
		return false
	}
	w := s.measured()
	if s.d.settled == 0 || w.first <= s.d.settled || s.id.profile.created != 0 && w.first-s.id.profile.created > dayMicros {
		return false
	}
	return s.d.users[key.resource].all == 1
}

// confidence says how well the baseline was known when it was left: by the share of time that was watched, and by how far past the learning
// time that is. It is 0.5 at its end without gaps, and nears 1.
func confidence(w watch, learn time.Duration, at int64) float64 {
	lived := time.Duration(at-w.first) * time.Microsecond
	if lived <= 0 {
		return 0
	}
	share := min(float64(w.total)/float64(lived), 1)
	return math.Round(100*share*float64(w.total)/float64(w.total+learn)) / 100
}

// normal sums up what was learned of an identity.
type normal struct {
	resources int
	newest    int64  // when the last of them was first reached, µs
	top       []edge // the most used
}

// topResources is how many resources a finding names as normal.
const topResources = 5

func (d *Detector) normal(id *identity) normal {
	var n normal
	order := func(a, b edge) int {
		if c := cmp.Compare(b.connections, a.connections); c != 0 {
			return c
		}
		return cmp.Compare(d.resources[a.resource].String(), d.resources[b.resource].String())
	}
	d.eachEdge(id, func(e *edge) {
		if !e.normal() {
			return
		}
		n.resources++
		n.newest = max(n.newest, e.first)
		i, _ := slices.BinarySearchFunc(n.top, *e, order)
		if i < topResources {
			n.top = slices.Insert(n.top, i, *e)
			n.top = n.top[:min(len(n.top), topResources)]
		}
	})
	return n
}
