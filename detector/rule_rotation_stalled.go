package detector

import (
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

var ruleRotationStalled = rule{
	name:     "rotation-stalled",
	about:    "An identity goes on with a certificate that it used to renew earlier, and that is about to end, or has ended.",
	advice:   "Look at what issues its certificates (the SPIRE agent, cert-manager) on that node.",
	severity: event.Low,
	owasp:    []string{"NHI7:2025"},
	attack:   []string{"T1649"}, // a key that is not renewed may be in other hands
}

func (s *sight) stalled(own *event.Certificate) {
	c := &s.id.profile.own
	if own.SHA256 != c.sha || c.after == 0 {
		return
	}
	late := c.rotations >= 2 && c.interval > 0 && s.first-c.notBefore > 2*c.interval && c.after-s.first < (c.after-c.notBefore)/5
	ended := s.first > c.after
	if !late && !ended || s.told(&ruleRotationStalled, wholeIdentity) {
		return
	}
	severity, score, state := event.Low, 0.5, "ends at "+clockMicros(c.after)
	if ended {
		severity, score, state = event.Medium, 0.7, "ended at "+clockMicros(c.after)
	}
	reasons := []string{fmt.Sprintf("The certificate %.16s… %s, and is still presented by %s.", own.SHA256, state, nameOf(s.o))}
	if c.interval > 0 {
		reasons = append(reasons, fmt.Sprintf("It was renewed %d times before, the last time after %s.", c.rotations, spell(time.Duration(c.interval)*time.Microsecond)))
	}
	s.tell(alarm{rule: &ruleRotationStalled, what: wholeIdentity, score: score, severity: severity,
		title: fmt.Sprintf("%s does not renew its certificate, which %s", shortName(&s.o.Workload), state), explanation: reasons})
}
