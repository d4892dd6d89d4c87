package detector

import (
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

var ruleDormantWakeup = rule{
	name:     "dormant-wakeup",
	about:    "An identity that had been silent for far longer than is its rhythm connects again.",
	advice:   "Ask the owner what woke it; if nobody did, take its credential for stolen.",
	severity: event.Medium,
	owasp:    []string{"NHI1:2025"}, // improper offboarding
	attack:   []string{"T1078"},     // valid accounts
}

// dormantLeast is the shortest silence that is told.
const dormantLeast = 14 * dayMicros

// wakeup judges the pause before this observation.
func (s *sight) wakeup() {
	p := &s.id.profile
	if s.news.pause < dormantLeast || s.news.pause < p.rhythm(s.news.longest) || s.o.Counts.Connections == 0 {
		return
	}
	from := s.first - s.news.pause
	covered := s.d.watchedBetween(s.id, from, s.first)
	if share := float64(covered) / float64(s.news.pause); share < 0.5 { // it may not have been silent at all
		return
	}
	severity, score := event.Low, 0.5
	reasons := []string{fmt.Sprintf("%s connected at %s, after %s of silence.", nameOf(s.o), clock(s.o.First()), spell(time.Duration(s.news.pause)*time.Microsecond))}
	if s.news.longest > 0 {
		reasons = append(reasons, fmt.Sprintf("Its longest silence before was %s; it was active on %s.",
			spell(time.Duration(s.news.longest)*time.Microsecond), plural(uint64(p.days), "day")))
	}
	raise := func(reason string) {
		severity, score = event.Medium, min(score+0.2, 0.95)
		reasons = append(reasons, reason)
	}
	if s.news.newExecutable {
		raise(s.o.Workload.Executable + " never connected in its name before.")
	}
	if s.news.newHolder {
		raise("It is carried by " + holderName(&s.o.Workload) + ", which never carried it before.")
	}
	if s.o.Workload.Interactive {
		raise("A person is at a terminal.")
	}
	if s.o.Direction == event.Outbound {
		r := event.ResourceOf(s.o)
		what, known := s.d.resIndex[r]
		var e *edge
		if known {
			e = s.d.edges.find(edgeKey{s.who, what})
		}
		if e == nil || e.first >= s.first {
			raise("It reached " + r.String() + ", which it never did before its silence.")
		}
	}
	if p.days > 5 { // not a job that runs now and then
		raise("Before it fell silent it was in daily use.")
	}
	if s.told(&ruleDormantWakeup, wholeIdentity) {
		return
	}
	s.tell(alarm{rule: &ruleDormantWakeup, what: wholeIdentity, score: score, severity: severity,
		title:       fmt.Sprintf("%s is active again after %s", shortName(&s.o.Workload), spell(time.Duration(s.news.pause)*time.Microsecond)),
		explanation: reasons})
}
