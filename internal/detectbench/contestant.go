package main

import (
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/sim"
)

// contestant is something that tells of what is unusual.
type contestant interface {
	// take gets all records of an hour, and tells of each alert as soon as it knows, also of those that have changed.
	take(hour []sim.Record, tell func(alert))
}

// alert is something that a human would see.
type alert struct {
	at       time.Time // of the record that brought it
	key      string    // the same for an alert that is told again
	rule     string
	severity event.Severity
	identity event.Identity
	resource event.Resource
	cause    sim.Cause // of the record
}

var severities = map[event.Severity]int{event.Info: 1, event.Low: 2, event.Medium: 3, event.High: 4, event.Critical: 5}

func (a *alert) counts() bool { return severities[a.severity] >= severities[event.Medium] }

// The contestants, in the order of the report.
const (
	theDetector = iota
	theFirstSeen
	theProfile
	contestants
)

var names = [contestants]string{"ambit", "first-seen, 14 days", "container profile, 24 h"}

func newContestants() [contestants]contestant {
	return [contestants]contestant{newAmbit(), newFirstSeen(), newProfile()}
}
