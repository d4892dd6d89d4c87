package detector

import (
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

var ruleIdentityReuse = rule{
	name:     "identity-reuse",
	about:    "A certificate or identity is used from where it should not be: another workload carries it, or one and the same key is on two nodes.",
	advice:   "Take the key for stolen: revoke the certificate and look at both places.",
	severity: event.High,
	owasp:    []string{"NHI9:2025"}, // NHI reuse
	attack:   []string{"T1552.004", "T1550"},
}

// holder judges who carries the identity.
func (s *sight) holder() {
	if !s.news.newHolder || s.o.Workload.Evidence != event.EvidenceSVID || !s.learned && len(s.id.profile.holder) < 2 {
		return
	}
	if len(s.id.profile.holder) < 2 || s.told(&ruleIdentityReuse, wholeIdentity) {
		return
	}
	before := s.id.profile.holder[1]
	s.tell(alarm{rule: &ruleIdentityReuse, what: wholeIdentity, score: 0.93, severity: ruleIdentityReuse.severity,
		title: fmt.Sprintf("%s presents the identity %s, which others carried so far", holderName(&s.o.Workload), s.id.id),
		explanation: []string{
			fmt.Sprintf("%s showed a certificate of this identity at %s.", nameOf(s.o), clock(s.o.First())),
			fmt.Sprintf("Until then it was carried by %s, since %s.", listed(s.id.profile.holder.names(), holderOf(&s.o.Workload)), clockMicros(before.first)),
		}})
}

// reuse judges where a certificate's key is.
func (s *sight) reuse(own *event.Certificate) {
	if s.o.Node == "" {
		return
	}
	was := s.d.holders.where.Get(own.SHA256)
	if was != nil && was.identity != s.who && own.Proven && s.first-was.at < dayMicros {
		if !s.told(&ruleIdentityMismatch, wholeIdentity) {
			owner := s.d.identities[was.identity].id
			s.tell(alarm{rule: &ruleIdentityMismatch, what: wholeIdentity, score: 0.95, severity: ruleIdentityMismatch.severity,
				title: fmt.Sprintf("%s presents a certificate of %s", shortName(&s.o.Workload), owner),
				explanation: []string{
					fmt.Sprintf("%s presented the certificate %.16s… at %s, and the handshake completed.", nameOf(s.o), own.SHA256, clock(s.o.First())),
					fmt.Sprintf("The same certificate was presented by %s on node %s %s before; its key should never leave that workload.", owner, was.node,
						spell(time.Duration(max(s.first-was.at, 0))*time.Microsecond)),
				}})
		}
		return
	}
	if was != nil && was.node != s.o.Node && own.Proven && s.o.Workload.Evidence == event.EvidenceSVID && s.first-was.at < hourMicros {
		if !s.told(&ruleIdentityReuse, wholeIdentity) {
			s.tell(alarm{rule: &ruleIdentityReuse, what: wholeIdentity, score: 0.95, severity: ruleIdentityReuse.severity,
				title: fmt.Sprintf("One certificate of %s is used on two nodes at once", shortName(&s.o.Workload)),
				explanation: []string{
					fmt.Sprintf("%s presented the certificate %.16s… at %s.", nameOf(s.o), own.SHA256, clock(s.o.First())),
					fmt.Sprintf("The same one was presented on node %s %s before; each node gets a key of its own.", was.node, spell(time.Duration(max(s.first-was.at, 0))*time.Microsecond)),
				}})
		}
		return
	}
	if own.Proven {
		if f := s.ownerElsewhere(own); f != nil {
			s.tellElsewhere(own, f)
			return
		}
	}
	s.d.present(own.SHA256, s.o.Node, s.who, s.first, s.last)
}

// holderName is the workload behind an identity in words.
func holderName(w *event.Workload) string {
	switch {
	case w.ServiceAccount != "":
		return "the service account " + w.Namespace + "/" + w.ServiceAccount
	case w.Unit != "":
		return "the unit " + w.Unit
	case w.Container != "":
		return "the container " + w.Container
	}
	return "another process"
}
