package detector

import (
	"fmt"

	"github.com/ambit-nhi/ambit/event"
)

var ruleHumanUse = rule{
	name:     "human-use",
	about:    "A person uses the identity of a workload: a program with a terminal connects in its name.",
	advice:   "Find out who has the session (kubectl exec and debug are in the cluster's audit log), and why.",
	severity: event.Medium,
	owasp:    []string{"NHI10:2025"}, // human use of NHI
	attack:   []string{"T1609"},      // container administration command
}

// human judges sessions with a terminal.
func (s *sight) human() {
	w := &s.o.Workload
	if !w.Interactive || s.o.Counts.Connections == 0 {
		return
	}
	switch w.Evidence {
	case event.EvidenceProcess, event.EvidenceCgroup, "": // a person's own programs
		return
	}
	if !s.learned || s.said() || s.told(&ruleHumanUse, wholeIdentity) {
		return
	}
	if t := &s.id.profile.terminal; !s.news.firstTerminal && t.days >= 5 { // people use it every week
		return
	}
	severity, score := ruleHumanUse.severity, 0.75
	if casual(w.Namespace) {
		severity, score = event.Low, 0.5
	}
	before := "Nobody had ever done that before."
	if days := s.id.profile.terminal.days; days > 1 {
		before = fmt.Sprintf("People had done that on %s before.", plural(uint64(days-1), "day"))
	}
	what := "a program"
	if w.Executable != "" {
		what = w.Executable
	}
	s.tell(alarm{rule: &ruleHumanUse, what: wholeIdentity, score: score, severity: severity,
		title: fmt.Sprintf("A person uses %s with %s", shortName(w), what),
		explanation: []string{
			fmt.Sprintf("%s connected at %s by %s with a terminal.", nameOf(s.o), clock(s.o.First()), what),
			before,
		}})
}
