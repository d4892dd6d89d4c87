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
	reason, how := "", "with less protection than before"
	switch t := o.TLS; {
	case lost:
		reason = fmt.Sprintf("It was %s before (%d times); now it is %s.", trustWords[before.level], before.times, trustWords[now])
	case t == nil:
		return
	case s.id.downgraded && now >= trustVerified && now >= before.level && before.times >= established && !broken(t, o):
		s.restored(what, r, now)
		return
	case t.Version == "1.0" || t.Version == "1.1" || t.Version == "ssl3":
		reason, how = fmt.Sprintf("The version is TLS %s, which is broken (RFC 8996).", t.Version), "by TLS "+t.Version+", which is broken"
	case t.PeerCertificate != nil && !t.PeerCertificate.NotAfter.IsZero() && t.PeerCertificate.NotAfter.Before(o.First()):
		how = "and accepts its expired certificate"
		reason = fmt.Sprintf("The peer's certificate ended at %s, and was accepted.", clock(t.PeerCertificate.NotAfter))
	default:
		return
	}
	s.id.downgraded = true
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
		title:       fmt.Sprintf("%s reaches %s %s", shortName(&o.Workload), spoken(r), how),
		explanation: []string{whoConnected(r, o), reason}})
}

// broken says what no level of trust excuses.
func broken(t *event.TLS, o *event.Observation) bool {
	switch t.Version {
	case "1.0", "1.1", "ssl3":
		return true
	}
	return t.PeerCertificate != nil && !t.PeerCertificate.NotAfter.IsZero() && t.PeerCertificate.NotAfter.Before(o.First())
}

// restored ends what was told of a way that is protected as it was before.
func (s *sight) restored(what uint32, r event.Resource, now trustLevel) {
	if i, known := s.d.resIndex[r]; known && what == wholeIdentity {
		what = i
	}
	begin := len(s.out)
	reason := fmt.Sprintf("It is %s again since %s.", trustWords[now], clockMicros(s.first))
	s.out = s.d.heal(findingKey{edgeKey{s.who, what}, &ruleTrustDowngrade}, s.first, reason, s.out)
	if len(s.out) == begin { // it was told of another name of the way, or there is one more
		return
	}
	s.id.downgraded = false
	for k, t := range s.d.findings.open {
		if k.identity == s.who && k.rule == &ruleTrustDowngrade && t.finding.Status != event.StatusResolved {
			s.id.downgraded = true
		}
	}
}
