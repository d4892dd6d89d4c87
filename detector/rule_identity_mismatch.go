package detector

import (
	"fmt"
	"strings"

	"github.com/ambit-nhi/ambit/event"
)

var ruleIdentityMismatch = rule{
	name:     "identity-mismatch",
	about:    "A workload presents the identity of another one, or a peer is not who its address says.",
	advice:   "Find out how the workload came to that certificate; until then deny it.",
	severity: event.High,
	owasp:    []string{"NHI4:2025"},
	attack:   []string{"T1078", "T1550"},
}

// mismatch judges whether the identity in the certificate is that of the service account that the workload runs with.
func (s *sight) mismatch() {
	w := &s.o.Workload
	if w.Evidence != event.EvidenceSVID || w.ServiceAccount == "" {
		return
	}
	_, path, ok := strings.Cut(w.Identity.String(), "/ns/")
	namespace, rest, _ := strings.Cut(path, "/")
	account, found := strings.CutPrefix(rest, "sa/")
	account, _, _ = strings.Cut(account, "/")
	if !ok || !found || namespace == w.Namespace && account == w.ServiceAccount {
		return
	}
	if s.told(&ruleIdentityMismatch, wholeIdentity) {
		return
	}
	s.tell(alarm{rule: &ruleIdentityMismatch, what: wholeIdentity, score: 0.95, severity: ruleIdentityMismatch.severity,
		title: fmt.Sprintf("%s/%s presents the identity of %s/%s", w.Namespace, w.ServiceAccount, namespace, account),
		explanation: []string{
			fmt.Sprintf("%s presented a certificate of this identity at %s, and the handshake completed.", nameOf(s.o), clock(s.o.First())),
			fmt.Sprintf("It runs with the service account %s/%s, whose certificate would name that.", w.Namespace, w.ServiceAccount),
		}})
}

// impostor judges whether who answered is who answered before under the same name.
func (s *sight) impostor(before trust, r event.Resource) {
	p := &s.o.Peer
	if before.since < established || p.Evidence != event.EvidenceSVID || p.Identity == before.peer || p.Identity.IsZero() || p.Name == "" {
		return
	}
	if s.told(&ruleIdentityMismatch, wholeIdentity) {
		return
	}
	s.tell(alarm{rule: &ruleIdentityMismatch, what: wholeIdentity, resource: r, score: 0.9, severity: ruleIdentityMismatch.severity,
		title: fmt.Sprintf("%s was answered by %s where it reaches %s", shortName(&s.o.Workload), p.Identity, p.Name),
		explanation: []string{
			whoConnected(r, s.o),
			fmt.Sprintf("Under the name %s, %s had always answered so far, by its certificate (%d intervals); now %s did.", p.Name, before.peer, before.since, p.Identity),
		}})
}
