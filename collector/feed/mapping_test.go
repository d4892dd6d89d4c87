package feed

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/event"
)

var update = flag.Bool("update", false, "write golden files anew")

// TestMapping compares MAPPING.md with the tables that are used.
func TestMapping(t *testing.T) {
	got := mappingText()
	if *update {
		if err := os.WriteFile("MAPPING.md", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("MAPPING.md")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Error("MAPPING.md is not what the tables say; go test ./collector/feed -run TestMapping -update writes it")
	}
}

func mappingText() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# How findings are told\n")
	p("Made from the tables themselves (`go test ./collector/feed -run TestMapping -update`).\n")
	p("## Severity\n")
	p("| Ambit | OCSF severity_id | ECS event.severity | CEF | syslog | falcosidekick priority | Alertmanager label severity | OTLP severity_number |")
	p("|---|---|---|---|---|---|---|---|")
	for _, s := range severityOrder {
		w := severities[s]
		p("| %s | %d %s | %d | %d | %d | %s | %s | %d |", s, w.OCSF, w.OCSFName, w.ECS, w.CEF, w.Syslog, w.Falco, w.Alertmanager, w.OTLP)
	}
	p("\nA severity that is not known is told as medium. Syslog's facility is %d (log audit). In Alertmanager, the annotation ambit_severity has Ambit's own word.\n", facility)
	p("## Status and life\n")
	p("A finding has one uid for all of its life: its id. A feed creates it when it tells of it first, updates it, and closes it when it is resolved or suppressed. One that")
	p("goes on after that is updated. What is suppressed or resolved before the feed has told of it, is not told.\n")
	p("| Ambit | OCSF status_id | activity |")
	p("|---|---|---|")
	for _, s := range statusOrder {
		life := "Create (1) at first, then Update (2)"
		if entryOf(event.Medium, s).closed() {
			life = "Close (3)"
		}
		p("| %s | %d %s | %s |", s, statuses[s].OCSF, statuses[s].OCSFName, life)
	}
	p("\nECS: event.kind is alert, and event from the end on; labels.activity is create, update or close, labels.status the status. CEF: cat and outcome. Syslog: activity and status.")
	p("Alertmanager: endsAt is the hold time from now, and past from the end on; of a finding that a silence of Alertmanager suppresses, the alert stays.\n")
	p("| verdict | OCSF verdict_id |")
	p("|---|---|")
	for _, k := range event.VerdictKinds() {
		if v, ok := verdictIDs[k]; ok {
			p("| %s | %d %s |", k, v.ID, v.Name)
		}
	}
	p("\n## OCSF classes (%s)\n", ocsfVersion)
	p("| what | class |")
	p("|---|---|")
	p("| findings | Detection Finding %d, with anomaly_analyses: what was seen, and the baseline |", classDetection)
	p("| findings of %s | IAM Analysis Finding %d |", strings.Join(sortedKeys(unusedRules), ", "), classIAM)
	p("| observations (`send: [observations]`) | Network Activity %d: Traffic, Fail or Refuse |", classNetwork)
	p("| decisions (`send: [decisions]`) | Entity Management %d: Suspend, Resume at the end, Update for a dry run |", classEntity)
	p("\nWhat the classes have no attribute for stands in unmapped: the rule, owasp_nhi, the workload, who decided and until when.\n")
	p("## MITRE ATT&CK\n")
	p("In OCSF finding_info.attacks, in ECS threat.*, in CEF cs3, in syslog attack, in falcosidekick tags. The tactic is the one that a technique serves most often here.\n")
	p("| technique | name | tactic |")
	p("|---|---|---|")
	for _, id := range sortedKeys(techniques) {
		p("| [%s](%s) | %s | %s %s |", id, attackURL(id), techniques[id].Name, techniques[id].Tactic.ID, techniques[id].Tactic.Name)
	}
	p("\n## OWASP Non-Human Identities Top 10, 2025\n")
	p("In OCSF finding_info.tags (owasp) and metadata.labels, in ECS tags, in CEF cs2, in syslog owasp, in falcosidekick tags.\n")
	p("| risk | name |")
	p("|---|---|")
	for n := 1; n <= len(owaspNames); n++ {
		id := fmt.Sprintf("NHI%d:2025", n)
		p("| %s | %s |", id, owaspNames[id])
	}
	return b.String()
}
