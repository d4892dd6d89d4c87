package detector

import (
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// It is told because time passes, and ends by itself when the identity is used.
var ruleDormantIdentity = rule{
	name:     "dormant-identity",
	about:    "An identity is silent for much longer than its own rhythm, or was declared and is never used: nobody would miss it, and nobody would notice who takes it.",
	advice:   "Ask its owner whether it is still needed; if not, remove its account and credentials.",
	severity: event.Low,
	owasp:    []string{"NHI1:2025"}, // improper offboarding
	attack:   []string{"T1078"},     // valid accounts
}

const (
	dormancyLeast = 30 * dayMicros // no silence is dormancy before
	dormancyRare  = 90 * dayMicros // nor this, of who was active on few days: its rhythm is not known
	rareDays      = 5
	dormancyTimes = 3   // its longest silence so far
	dormancySeen  = 0.9 // of the silence, in which some node was watched
)

// dormancy is how long a silence of the identity must be.
func (p *profile) dormancy() int64 {
	least := int64(dormancyLeast)
	if p.since != 0 && p.days < rareDays {
		least = dormancyRare
	}
	return max(least, dormancyTimes*p.longest)
}

// dormant tells of who is silent for too long. Who crossed the mark since the last time is looked at every hour, and all are once a day: what was not
// watched well enough then may be by now.
func (d *Detector) dormant(all bool, out []event.Finding) []event.Finding {
	now := d.clock.now
	var watched []period
	if all {
		d.meetDeclared()
	}
	for i := range d.identities {
		id := &d.identities[i]
		p := &id.profile
		if id.dormant || p.gone != 0 && p.gone <= now {
			continue
		}
		since := p.last
		switch {
		case since != 0:
		case p.restored != 0:
			if since = p.restored; now-d.clock.began < dayMicros { // it may be used all the time
				continue
			}
		case p.created != 0:
			since = max(p.created, d.firstWatched())
		default:
			continue
		}
		mark := since + p.dormancy()
		if since == 0 || now < mark || !all && now-mark > hourMicros+dayMicros/12 {
			continue
		}
		if watched == nil {
			watched = d.watchedAnywhere()
		}
		if float64(overlap(watched, since, mark)) < dormancySeen*float64(mark-since) {
			continue
		}
		out = d.tellDormant(uint32(i), since, mark, out)
	}
	return out
}

// meetDeclared makes identities of those that were declared long ago and never seen, so that they are looked at like the others.
func (d *Detector) meetDeclared() {
	first := d.firstWatched()
	if first == 0 {
		return
	}
	d.eachDeclared(func(id event.Identity, created, gone int64) {
		if _, seen := d.idIndex[id]; seen || created == 0 || gone != 0 || d.clock.now < max(created, first)+dormancyLeast {
			return
		}
		if who, ok := d.identity(id); ok {
			d.profess(who)
		}
	})
}

func (d *Detector) tellDormant(who uint32, since, mark int64, out []event.Finding) []event.Finding {
	id := &d.identities[who]
	p := &id.profile
	k := findingKey{edgeKey{who, wholeIdentity}, &ruleDormantIdentity}
	w := WorkloadOf(id.id)
	silence := spell(span64(since, mark))
	a := alarm{rule: k.rule, what: wholeIdentity, score: 0.5, severity: k.rule.severity, count: 1}
	if p.since == 0 {
		a.title = fmt.Sprintf("%s was never used in the %s since it was declared", shortName(&w), spell(span64(p.created, mark)))
		a.explanation = []string{fmt.Sprintf("%s is in the inventory since %s; in the %s until %s it neither reached anything nor was reached.", id.id, clockMicros(p.created), silence, clockMicros(mark))}
	} else {
		a.title = fmt.Sprintf("%s is silent for %s, far longer than ever before", shortName(&w), silence)
		a.explanation = []string{fmt.Sprintf("%s neither reached anything nor was reached since %s.", id.id, clockMicros(since))}
		switch {
		case p.longest > 0:
			a.explanation = append(a.explanation, fmt.Sprintf("Its longest silence before was %s; it was active on %s.", spell(time.Duration(p.longest)*time.Microsecond), plural(uint64(max(p.days, 1)), "day")))
		default:
			a.explanation = append(a.explanation, fmt.Sprintf("It was active on %s before.", plural(uint64(max(p.days, 1)), "day")))
		}
	}
	s := sight{d: d, o: &event.Observation{Workload: w}, who: who, id: id, first: mark, last: mark}
	if s.silent(k.rule) || !s.allow(&a) {
		return out
	}
	id.dormant = true
	if t := d.findings.open[k]; t != nil { // it was dormant before
		if t.finding.Status == event.StatusSuppressed || quiet(&t.finding, mark) {
			return out
		}
		f := s.finding(a)
		f.FirstTime, f.Count = t.finding.FirstTime, t.finding.Count+1
		f.Status, f.Verdict, f.Reason, f.By, f.Decided, f.Until = t.finding.Status, t.finding.Verdict, t.finding.Reason, t.finding.By, t.finding.Decided, t.finding.Until
		t.finding = f
		t.turn(event.StatusNew, mark, "It is dormant again.")
		return append(out, t.give())
	}
	if !d.spendAll(a.severity, mark) {
		s.out = out
		s.flood()
		return s.out
	}
	f := s.finding(a)
	d.newFinding(k, f, &out)
	return append(out, f)
}

// awake ends the dormancy of an identity that is used.
func (s *sight) awake() {
	if !s.id.dormant || s.o.Counts.Connections == 0 {
		return
	}
	s.id.dormant = false
	s.out = s.d.heal(findingKey{edgeKey{s.who, wholeIdentity}, &ruleDormantIdentity}, s.first, fmt.Sprintf("It was used again at %s.", clock(s.o.First())), s.out)
}

// WorkloadOf is what an identity says of its workload by itself.
func WorkloadOf(id event.Identity) event.Workload {
	w := event.Workload{Identity: id, Namespace: namespaceOfIdentity(id)}
	if w.Namespace != "" {
		w.ServiceAccount = accountIn(id.String())
	}
	return w
}
