package detector

import (
	"fmt"

	"github.com/ambit-nhi/ambit/event"
)

var ruleFanOut = rule{
	name:     "fan-out",
	about:    "An identity tries many resources that are new to it in ten minutes, far more than its own habit explains: a scan, or names that are made up.",
	advice:   "Stop the workload unless its owner is rolling out a new version right now.",
	severity: event.High,
	owasp:    []string{"NHI5:2025"},
	attack:   []string{"T1046"}, // network service discovery
}

// fanLeast is how many new resources are told as one finding at least, and fanChance how improbable they must be.
const (
	fanLeast  = 8
	fanChance = 1e-6
)

// fanOut judges how many new resources came together, and says whether this one is counted in the finding about that.
func (s *sight) fanOut() bool {
	f := &s.id.profile.fan
	if s.silent(&ruleFanOut) {
		return false
	}
	if f.told {
		s.told(&ruleFanOut, wholeIdentity)
		return true
	}
	if f.fresh < fanLeast {
		return false
	}
	daily := s.id.profile.novelty.expected(s.first)
	mean := daily / 24 / 6
	if f.failed*2 < f.fresh && s.d.graced(s.id, s.first) {
		mean = max(mean, fanLeast)
	}
	chance := poissonTail(f.fresh, mean)
	if chance > fanChance {
		return false
	}
	f.told = true
	if s.told(&ruleFanOut, wholeIdentity) {
		return true
	}
	explanation := []string{
		fmt.Sprintf("%s tried %d resources in ten minutes that it had never reached; %d of them did not answer.", nameOf(s.o), f.fresh, f.failed),
		fmt.Sprintf("It reaches about %s new resources a day, so this many by chance is less probable than one in a million.", decimal(daily)),
	}
	s.tell(alarm{
		rule: &ruleFanOut, what: wholeIdentity, score: 0.97, severity: ruleFanOut.severity, count: uint64(f.fresh),
		title:       fmt.Sprintf("%s tries many new resources: %d in ten minutes", shortName(&s.o.Workload), f.fresh),
		explanation: explanation,
	})
	return true
}
