package detector

import (
	"fmt"

	"github.com/ambit-nhi/ambit/event"
)

var ruleOffHours = rule{
	name:     "off-hours",
	about:    "An identity with regular hours is active at a time of the day at which it hardly ever was in weeks.",
	advice:   "Ask the owner whether its schedule was changed.",
	severity: event.Low,
	owasp:    []string{"NHI10:2025"}, // human use of NHI
	attack:   []string{"T1078"},      // valid accounts
}

const (
	offWeeks = 3    // weeks of activity before hours are judged
	offShare = 0.02 // of the hours of the day around this one, those in which it was active before
	onShare  = 0.5  // of its busiest hour of the day: one that acts now and then has no hours
)

// hours judges when it was.
func (s *sight) hours() {
	p := &s.id.profile
	if !s.news.newHour || !s.learned || p.active < offWeeks || s.o.Counts.Connections == 0 || s.o.Workload.Evidence == event.EvidenceProcess {
		return
	}
	hour := s.first / hourMicros
	h := int(hour % 24)
	var days [24]int // on which it was active, by hour of the day
	busiest := 0
	for i, n := range p.week {
		days[i%24] += int(n)
		busiest = max(busiest, days[i%24])
	}
	near := days[(h+23)%24] + days[h] + days[(h+1)%24] - 1 // but for now
	spell := 5 * p.active                                  // working days
	if float64(busiest) < onShare*float64(spell) || float64(near) > offShare*float64(3*spell) {
		return
	}
	if s.told(&ruleOffHours, wholeIdentity) {
		return
	}
	severity := ruleOffHours.severity
	if !casual(s.o.Workload.Namespace) {
		severity = event.Medium
	}
	s.tell(alarm{rule: &ruleOffHours, what: wholeIdentity, score: 0.65, severity: severity,
		title: fmt.Sprintf("%s is active at %02d:00 UTC, outside of its hours", shortName(&s.o.Workload), h),
		explanation: []string{
			fmt.Sprintf("%s connected at %s.", nameOf(s.o), clock(s.o.First())),
			fmt.Sprintf("In %d weeks it was active within an hour of that time of day on %s; in its busiest hour on %d days.", p.active, plural(uint64(max(near, 0)), "day"), busiest),
		}})
}
