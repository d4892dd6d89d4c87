package detector

import (
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

var ruleLongLivedCredential = rule{
	name:     "long-lived-credential",
	about:    "An identity presents a certificate that is valid for longer than 398 days, which is the most that browsers accept.",
	advice:   "Have it issued for hours or days, by the SPIFFE Workload API for instance.",
	severity: event.Low,
	owasp:    []string{"NHI7:2025"}, // long-lived secrets
	attack:   []string{"T1649"},     // steal or forge authentication certificates
}

const longLived = 398 * 24 * time.Hour

// longLived judges a certificate that follows another one.
func (s *sight) longLived(own *event.Certificate, c *credential) {
	if own.NotBefore.IsZero() || own.NotAfter.IsZero() || own.NotAfter.Sub(own.NotBefore) <= longLived || s.told(&ruleLongLivedCredential, wholeIdentity) {
		return
	}
	life := own.NotAfter.Sub(own.NotBefore)
	severity, score, reasons := ruleLongLivedCredential.severity, 0.4, []string{fmt.Sprintf("The certificate %.16s… is valid from %s to %s.", own.SHA256, clock(own.NotBefore), clock(own.NotAfter))}
	if before := time.Duration(c.after-c.notBefore) * time.Microsecond; c.sha != "" && before > 0 && life > 10*before {
		severity, score = event.Medium, 0.8
		reasons = append(reasons, fmt.Sprintf("Until now its certificates were valid for %s; nobody who renews them does that.", spell(before)))
	}
	s.tell(alarm{rule: &ruleLongLivedCredential, what: wholeIdentity, score: score, severity: severity,
		title:       fmt.Sprintf("%s uses a certificate that is valid for %s", shortName(&s.o.Workload), spell(life)),
		explanation: reasons})
}
