package detector

import (
	"fmt"

	"github.com/ambit-nhi/ambit/event"
)

var ruleUnexpectedExecutable = rule{
	name:     "unexpected-executable",
	about:    "A program that never connected in an identity's name before does so, and no new image explains it.",
	advice:   "Look at the process on the node: who started it, and is its file part of the image?",
	severity: event.Low,
	owasp:    []string{"NHI5:2025"},
	attack:   []string{"T1059"}, // command and scripting interpreter
}

// executable judges which program it was.
func (s *sight) executable() {
	if !s.news.newExecutable || !s.learned || s.said() || s.o.Counts.Connections == 0 {
		return
	}
	if s.o.Workload.Interactive { // human-use tells it
		return
	}
	exe := s.o.Workload.Executable
	known := s.id.profile.executable
	if len(known) < 2 || s.d.graced(s.id, s.first) && !isTool(exe) {
		return
	}
	severity, score := event.Low, 0.5
	reasons := []string{
		fmt.Sprintf("%s connected by %s at %s, which it had never done.", nameOf(s.o), exe, clock(s.o.First())),
		fmt.Sprintf("The programs that connected in its name before: %s.", listed(known.names(), exe)),
	}
	switch main := known.longest(exe); {
	case isTool(exe):
		severity, score = event.Medium, 0.8
		reasons = append(reasons, "It is a tool of people, and of attackers; services seldom need it.")
	case main != nil && main.days >= 5 && len(known) <= 4:
		severity, score = event.Medium, 0.7
		reasons = append(reasons, fmt.Sprintf("%s has done all or nearly all of its connecting, on %d days.", main.name, main.days))
	}
	if s.told(&ruleUnexpectedExecutable, wholeIdentity) {
		return
	}
	s.tell(alarm{rule: &ruleUnexpectedExecutable, what: wholeIdentity, score: score, severity: severity,
		title: fmt.Sprintf("%s connects by %s, which it never ran before", shortName(&s.o.Workload), exe), explanation: reasons})
}

// listed names some, but for one.
func listed(names []string, but string) string {
	out, more := "", 0
	for i, n := range names {
		switch {
		case n == but:
		case i > 5:
			more++
		case out == "":
			out = n
		default:
			out += ", " + n
		}
	}
	if more > 0 {
		out += fmt.Sprintf(" and %d more", more)
	}
	return out
}
