package detector

import (
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Its identity is the one whose finding was the first that was not told. Its count is the number of those, its last time when the last of them was.
var ruleFindingFlood = rule{
	name:     "finding-flood",
	about:    "More findings come within a minute, of all identities together, than people can read; this one finding counts the rest.",
	advice:   "Look for what the first findings of that minute have in common: a rollout, an outage of names, or one attacker in many places.",
	severity: event.High,
	owasp:    []string{"NHI5:2025"},
	attack:   []string{"T1562"}, // impair defenses
}

// floodPause is how long nothing must be folded before the next time has a finding of its own.
const floodPause = dayMicros

// budget of a minute. What is high or critical has its own, so that noise does not hide it.
type minuteBudget struct {
	minute int64
	told   [2]int
}

// spendAll takes one of the findings that all identities together have in the minute of a time (µs).
func (d *Detector) spendAll(severity event.Severity, at int64) bool {
	b := &d.minute
	if m := at / minuteMicros; m > b.minute {
		*b = minuteBudget{minute: m}
	}
	told := &b.told[0]
	if severity == event.High || severity == event.Critical {
		told = &b.told[1]
	}
	if *told >= d.config.AllFindingsPerMinute {
		return false
	}
	*told++
	return true
}

// flood counts a finding that is not told in the summary.
func (s *sight) flood() {
	d := s.d
	k := findingKey{edgeKey{d.flooded, wholeIdentity}, &ruleFindingFlood}
	if t := d.findings.open[k]; t != nil && s.first-t.finding.LastTime.UnixMicro() < floodPause {
		if t.again(s.first) {
			t.raise(t.finding.Count+1, s.first)
			s.out = append(s.out, t.give())
			return
		}
		s.out = d.update(k, t.finding.Count+1, s.first, s.first, s.out)
		return
	}
	d.flooded = s.who
	k.identity = s.who
	if t := d.findings.open[k]; t != nil { // it was its turn once before
		t.again(s.first)
		s.out = d.update(k, t.finding.Count+1, s.first, s.first, s.out)
		return
	}
	limit := d.config.AllFindingsPerMinute
	a := alarm{
		rule: &ruleFindingFlood, what: wholeIdentity, score: 0.9, severity: ruleFindingFlood.severity, count: 1,
		title: fmt.Sprintf("More than %d findings came within a minute; the rest is counted here", limit),
		explanation: []string{
			fmt.Sprintf("In the minute of %s there were more than %d findings of all identities together; the first that was not told is of %s.",
				clockMicros(s.first/minuteMicros*minuteMicros), limit, nameOf(s.o)),
			"Its count is how many were not told one by one, in that minute and in later ones like it; what was reached stands in the reach of each identity all the same.",
		},
	}
	if !s.allow(&a) {
		return
	}
	f := s.finding(a)
	f.LastTime = time.UnixMicro(s.first).UTC()
	d.newFinding(k, f, &s.out)
	s.out = append(s.out, f)
}

// spend takes one of the findings that the identity, and all together, have in this minute. Where there is none left, the finding is counted in a summary.
func (s *sight) spend(severity event.Severity) bool {
	switch {
	case !s.id.spend(s.first, s.d.config.FindingsPerMinute):
		s.fold()
		return false
	case !s.d.spendAll(severity, s.first):
		s.flood()
		return false
	}
	return true
}
