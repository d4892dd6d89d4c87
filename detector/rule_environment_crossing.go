package detector

import "github.com/ambit-nhi/ambit/event"

var ruleEnvironmentCrossing = rule{
	name:     "environment-crossing",
	about:    "An identity of one environment (production, staging, development, test, build) reaches another one for the first time.",
	advice:   "Ask the owners of both sides; a credential of one environment should not work in another.",
	severity: event.High,
	owasp:    []string{"NHI5:2025", "NHI8:2025"}, // environment isolation
	attack:   []string{"T1021"},                  // remote services
}
