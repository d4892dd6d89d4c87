package detector

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// owaspNames are the titles of the Non-Human Identities Top 10, 2025.
var owaspNames = map[string]string{
	"NHI1:2025": "Improper Offboarding", "NHI2:2025": "Secret Leakage", "NHI3:2025": "Vulnerable Third-Party NHI", "NHI4:2025": "Insecure Authentication",
	"NHI5:2025": "Overprivileged NHI", "NHI6:2025": "Insecure Cloud Deployment Configurations", "NHI7:2025": "Long-Lived Secrets", "NHI8:2025": "Environment Isolation",
	"NHI9:2025": "NHI Reuse", "NHI10:2025": "Human Use of NHI",
}

// RULES.md is made of the table of rules: -update writes it.
func TestRulesAreDocumented(t *testing.T) {
	const file = "RULES.md"
	want := rulesPage(t)
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the rules say (go test -update writes it anew)", file)
	}
}

func rulesPage(t *testing.T) string {
	var b strings.Builder
	b.WriteString("# Rules of the detector\n\nMade from the rules themselves (`go test ./detector -run TestRulesAreDocumented -update`). The severity is where the circumstances do not say otherwise.\n")
	b.WriteString("A policy turns rules off, and sets their severity, for namespaces, identities and owners.\n\n")
	b.WriteString("| rule | severity | OWASP NHI 2025 | ATT&CK |\n|---|---|---|---|\n")
	for _, r := range rules {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s |\n", r.name, r.name, r.severity, strings.Join(r.owasp, ", "), strings.Join(r.attack, ", "))
	}
	for _, r := range rules {
		for what, text := range map[string]string{"about": r.about, "advice": r.advice} {
			if !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "?") {
				t.Errorf("%s: %s is no sentence: %q", r.name, what, text)
			}
		}
		if len(r.owasp) == 0 || len(r.attack) == 0 && r != &ruleNewReach { // which has those of the place
			t.Errorf("%s names no technique or no risk", r.name)
		}
		if !slices.Contains(severityNames, string(r.severity)) {
			t.Errorf("%s has the severity %q", r.name, r.severity)
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n- Severity: %s\n", r.name, r.about, r.severity)
		for _, id := range r.owasp {
			if owaspNames[id] == "" {
				t.Errorf("%s: there is no %s", r.name, id)
			}
			fmt.Fprintf(&b, "- OWASP: %s, %s\n", id, owaspNames[id])
		}
		for _, id := range r.attack {
			fmt.Fprintf(&b, "- ATT&CK: [%s](https://attack.mitre.org/techniques/%s/)\n", id, strings.ReplaceAll(id, ".", "/"))
		}
		fmt.Fprintf(&b, "- What to do: %s\n", r.advice)
	}
	b.WriteString("\n## What was reached\n\nThe rules about new reach (" + strings.Join([]string{reachRules[0].name, reachRules[1].name, reachRules[2].name}, ", ") + ") add what the place is:\n\n")
	b.WriteString("| place | points of log-odds | a new version excuses it | OWASP NHI 2025 | ATT&CK |\n|---|---|---|---|---|\n")
	for i, p := range places {
		word, excused := p.word, "in part"
		if word == "" {
			word = "anything else inside"
		}
		if place(i).sensitive() {
			excused = "no"
		}
		fmt.Fprintf(&b, "| %s | %+.1f | %s | %s | %s |\n", word, p.weight, excused, strings.Join(p.owasp, ", "), strings.Join(p.attack, ", "))
	}
	b.WriteString("\n## Quiet by default\n\n")
	for _, r := range DefaultPolicy() {
		switch {
		case r.Off != nil && *r.Off:
			fmt.Fprintf(&b, "- `%s` is off in the namespaces `%s`.\n", r.Rule, strings.Join(r.Match.Namespace, "`, `"))
		case r.MinScore != nil:
			fmt.Fprintf(&b, "- `%s` is told from a score of %g on.\n", r.Rule, *r.MinScore)
		}
	}
	return b.String()
}
