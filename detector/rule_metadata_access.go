package detector

import "github.com/ambit-nhi/ambit/event"

var ruleMetadataAccess = rule{
	name:     "metadata-access",
	about:    "An identity reaches a cloud metadata service for the first time, which hands out the credentials of the machine or workload.",
	advice:   "If its program does not use a cloud's SDK, take it for an attack: stop it, and rotate the credentials of that machine.",
	severity: event.High,
	owasp:    []string{"NHI5:2025"},
	attack:   []string{"T1552.005"}, // cloud instance metadata API
}
