package detector

import (
	"fmt"
	"math"

	"github.com/ambit-nhi/ambit/event"
)

var ruleVolume = rule{
	name:     "volume",
	about:    "An identity sends far more bytes to a resource in an hour or a day than it ever did.",
	advice:   "Find out what it sends there; a backup or a migration has an owner who knows.",
	severity: event.Medium,
	owasp:    []string{"NHI5:2025"},
	attack:   []string{"T1048"}, // exfiltration over alternative protocol
}

// What makes an amount one to tell of: so many deviations of its logarithm above the mean, so many times the largest before, so many bytes, after so many periods.
const (
	volumeDeviations = 4.0
	hourlyTimes      = 8
	hourlyLeast      = 32 << 20
	hourlyPeriods    = 24
	dailyTimes       = 4
	dailyLeast       = 64 << 20
	dailyPeriods     = 7
)

// amount judges how much was sent.
func (s *sight) amount(key edgeKey, e *edge, r event.Resource) {
	sent, where := s.o.Counts.BytesSent, placeOf(s.o)
	if where == placeDatabase || where == placeSecret { // what is taken out is what counts
		sent = s.o.Counts.BytesReceived
	}
	if sent == 0 {
		return
	}
	e.send(s.last/hourMicros, sent, where)
	if e.volumes == nil || !s.learned {
		return
	}
	hourly, daily := &e.volumes.hourly, &e.volumes.daily
	least := 1.0
	if where == placeNames { // questions are small
		least = 1.0 / 64
	}
	switch {
	case hourly.unusual(hourlyPeriods, least*hourlyLeast, hourlyTimes):
		hourly.told, daily.told = true, true
		s.tellVolume(key, r, hourly, "hour", hourlyTimes)
	case daily.unusual(dailyPeriods, least*dailyLeast, dailyTimes):
		daily.told = true
		s.tellVolume(key, r, daily, "day", dailyTimes)
	}
}

// unusual says whether the current period is far beyond those before.
func (v *volume) unusual(periods uint16, least, times float64) bool {
	return v.periods >= periods && !v.told && v.sum >= least && v.sum >= times*math.Expm1(float64(v.peak)) && v.excess() >= volumeDeviations
}

func (s *sight) tellVolume(key edgeKey, r event.Resource, v *volume, period string, times int) {
	if s.told(&ruleVolume, key.resource) {
		return
	}
	severity, verb, verbs, way := event.Medium, "sent", "sends", "to"
	if p := placeOf(s.o); p == placeDatabase || p == placeSecret {
		verb, verbs, way = "received", "receives", "from"
	} else if p == placePublic {
		severity = event.High
	}
	s.tell(alarm{rule: &ruleVolume, what: key.resource, resource: r, score: 0.85, severity: severity, count: s.o.Counts.Connections,
		title: fmt.Sprintf("%s %s %s %s %s within one %s", shortName(&s.o.Workload), verb, bytesText(v.sum), way, spoken(r), period),
		explanation: []string{
			fmt.Sprintf("%s %s %s %s %s in the %s of %s, so far.", nameOf(s.o), verb, bytesText(v.sum), way, r, period, clock(s.o.First())),
			fmt.Sprintf("It usually %s %s in each %s in which it is used at all; the most in %d of them was %s, of which this is more than %d times as much.",
				verbs, bytesText(v.usual()), period, v.periods, bytesText(math.Expm1(float64(v.peak))), times),
		}})
}
