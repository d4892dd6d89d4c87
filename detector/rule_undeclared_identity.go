package detector

import (
	"fmt"

	"github.com/ambit-nhi/ambit/event"
)

var ruleUndeclaredIdentity = rule{
	name:     "undeclared-identity",
	about:    "An identity acts after its account or registration was removed from the inventory.",
	advice:   "Find out which workload still holds its credential, and revoke that.",
	severity: event.High,
	owasp:    []string{"NHI1:2025"}, // improper offboarding
	attack:   []string{"T1078"},
}

// offboarding is how long after its removal an identity may still finish what it does: pods end, tokens run out.
const offboarding = hourMicros

func (s *sight) undeclared() {
	gone := s.id.profile.gone
	if gone == 0 || s.first < gone+offboarding || s.o.Counts.Connections == 0 || s.told(&ruleUndeclaredIdentity, wholeIdentity) {
		return
	}
	s.tell(alarm{rule: &ruleUndeclaredIdentity, what: wholeIdentity, score: 0.92, severity: ruleUndeclaredIdentity.severity,
		title: fmt.Sprintf("%s acts although its account is gone", shortName(&s.o.Workload)),
		explanation: []string{
			fmt.Sprintf("%s connected at %s.", nameOf(s.o), clock(s.o.First())),
			fmt.Sprintf("It is not in the inventory since %s.", clockMicros(gone)),
		}})
}
