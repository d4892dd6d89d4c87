package feed

import "strings"

// place fills in a subject or topic: {severity}, {rule}, {namespace} and {owner} are those of the record.
func place(template string, r *Record, clean func(string) string) string {
	if !strings.Contains(template, "{") {
		return template
	}
	namespace := ""
	switch {
	case r.Finding != nil:
		namespace = r.Finding.Workload.Namespace
	case r.Observation != nil:
		namespace = r.Observation.Workload.Namespace
	}
	return strings.NewReplacer("{severity}", clean(string(r.severity())), "{rule}", clean(r.rule()), "{namespace}", clean(namespace), "{owner}", clean(r.Owner)).Replace(template)
}

// word makes one word of letters, digits, - and _ of what people wrote.
func word(s string) string {
	s = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			return c
		}
		return '-'
	}, s)
	if s == "" {
		return "none"
	}
	return s[:min(len(s), 100)]
}

// checkTemplate refuses what place does not know.
func checkTemplate(s string) bool {
	rest := strings.NewReplacer("{severity}", "x", "{rule}", "x", "{namespace}", "x", "{owner}", "x").Replace(s)
	return !strings.ContainsAny(rest, "{}")
}
