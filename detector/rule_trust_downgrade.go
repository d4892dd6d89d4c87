package detector

import (
	"fmt"

	"github.com/ambit-nhi/ambit/event"
)

var ruleTrustDowngrade = rule{
	name:     "trust-downgrade",
	about:    "A way to a peer that was protected by TLS is so no longer, or less: plain, an old version, or a peer whose certificate is expired or not verified.",
	advice:   "Compare the configuration of both ends with what it was; a peer that accepts less than it did may not be the same.",
	severity: event.Medium,
	owasp:    []string{"NHI4:2025"}, // insecure authentication
	attack:   []string{"T1557"},     // adversary in the middle
}

// protection judges how the way was protected. what is the resource's index, or wholeIdentity where it is not known.
func (s *sight) protection(what uint32, r event.Resource) {
	o := s.o
	before := s.d.trustBefore(s.who, o)
	if o.Counts.Connections == 0 || allFailed(o) {
		return
	}
	s.impostor(before, r)
	now := trustOf(o.TLS)
	lost := before.times >= established && now < before.level && before.level >= trustVerified
	if lost && now == trustPlain && o.Counts.BytesSent+o.Counts.BytesReceived == 0 { // not known yet
		return
	}
	if lost && o.TLS != nil && (o.TLS.Provenance == "wire-only" || o.TLS.Provenance == "inferred") { // seen in part only
		return
	}
	reason := ""
	switch t := o.TLS; {
	case lost:
		reason = fmt.Sprintf("It was %s before (%d times); now it is %s.", trustWords[before.level], before.times, trustWords[now])
	case t == nil:
		return
	case t.Version == "1.0" || t.Version == "1.1" || t.Version == "ssl3":
		reason = fmt.Sprintf("The version is TLS %s, which is broken (RFC 8996).", t.Version)
	case t.PeerCertificate != nil && !t.PeerCertificate.NotAfter.IsZero() && t.PeerCertificate.NotAfter.Before(o.First()):
		reason = fmt.Sprintf("The peer's certificate ended at %s, and was accepted.", clock(t.PeerCertificate.NotAfter))
	default:
		return
	}
	if what == wholeIdentity {
		if i, known := s.d.resIndex[r]; known {
			what = i
		}
	}
	if s.told(&ruleTrustDowngrade, what) {
		return
	}
	severity := event.Medium
	if lost && now == trustPlain && before.level == trustMutual {
		severity = event.High
	}
	s.tell(alarm{rule: &ruleTrustDowngrade, what: what, resource: r, score: 0.8, severity: severity, count: o.Counts.Connections,
		title:       fmt.Sprintf("%s reaches %s with less protection than before", shortName(&o.Workload), r),
		explanation: []string{whoConnected(r, o), reason}})
}
