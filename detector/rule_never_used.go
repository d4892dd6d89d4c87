package detector

import (
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

var ruleNeverUsed = rule{
	name:     "never-used",
	about:    "An identity that was declared long ago and never used is used for the first time.",
	advice:   "Ask its owner; an account that nobody needed for weeks is what attackers look for.",
	severity: event.Medium,
	owasp:    []string{"NHI1:2025", "NHI5:2025"},
	attack:   []string{"T1078"},
}

// neverUsed judges the very first use.
func (s *sight) neverUsed() {
	p := &s.id.profile
	if !s.news.first || p.created == 0 || s.first-p.created < dormantLeast || s.o.Counts.Connections == 0 || s.d.stable < enoughStable {
		return
	}
	severity, score := event.Low, 0.5
	if p := placeOf(s.o); p.sensitive() && p != placeDatabase || isTool(s.o.Workload.Executable) || s.o.Workload.Interactive {
		severity, score = ruleNeverUsed.severity, 0.8
	}
	if s.told(&ruleNeverUsed, wholeIdentity) {
		return
	}
	s.tell(alarm{rule: &ruleNeverUsed, what: wholeIdentity, score: score, severity: severity,
		title: fmt.Sprintf("%s is used for the first time, %s after it was declared", shortName(&s.o.Workload), spell(time.Duration(s.first-p.created)*time.Microsecond)),
		explanation: []string{
			fmt.Sprintf("%s connected at %s.", nameOf(s.o), clock(s.o.First())),
			fmt.Sprintf("It is in the inventory since %s, and was never seen to reach anything or to be reached.", clockMicros(p.created)),
		}})
}
