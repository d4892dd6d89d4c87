package feed

import (
	"strings"

	"github.com/ambit-nhi/ambit/event"
)

// severityWords says a severity in the words and numbers of each format.
type severityWords struct {
	OCSF         int    // severity_id
	OCSFName     string // severity
	ECS          int    // event.severity, as Elastic's own rules have it
	CEF          int    // 0 to 10
	Syslog       int    // RFC 5424
	Falco        string // priority
	Alertmanager string // label severity
	OTLP         int    // severity_number
	Slack        string // colour
}

var severities = map[event.Severity]severityWords{
	event.Info:     {1, "Informational", 21, 2, 6, "Informational", "info", 9, "#9aa0a6"},
	event.Low:      {2, "Low", 21, 3, 5, "Notice", "info", 10, "#3b82f6"},
	event.Medium:   {3, "Medium", 47, 6, 4, "Warning", "warning", 13, "#f2c744"},
	event.High:     {4, "High", 73, 8, 3, "Error", "critical", 17, "#e8710a"},
	event.Critical: {5, "Critical", 99, 10, 2, "Critical", "critical", 21, "#d93025"},
}

// words gives those of a severity; one that is not known is told as medium, so that it is not overlooked.
func words(s event.Severity) severityWords {
	if w, ok := severities[s]; ok {
		return w
	}
	return severities[event.Medium]
}

// statusWords says a status in the words and numbers of OCSF.
type statusWords struct {
	OCSF     int // status_id
	OCSFName string
}

var statuses = map[event.Status]statusWords{
	event.StatusNew:          {1, "New"},
	event.StatusAcknowledged: {2, "In Progress"},
	event.StatusSuppressed:   {3, "Suppressed"},
	event.StatusResolved:     {4, "Resolved"},
}

// verdictIDs are the verdict_id and verdict of OCSF.
var verdictIDs = map[event.VerdictKind]struct {
	ID   int
	Name string
}{
	event.VerdictFalsePositive: {1, "False Positive"},
	event.VerdictTruePositive:  {2, "True Positive"},
	event.VerdictApprove:       {5, "Benign"},
}

// activities are the activity_id and activity_name of OCSF's findings.
var activities = map[Life]struct {
	ID   int
	Name string
}{Create: {1, "Create"}, Update: {2, "Update"}, Close: {3, "Close"}}

// tactic of MITRE ATT&CK.
type tactic struct{ ID, Name string }

var (
	initialAccess    = tactic{"TA0001", "Initial Access"}
	execution        = tactic{"TA0002", "Execution"}
	credentialAccess = tactic{"TA0006", "Credential Access"}
	discovery        = tactic{"TA0007", "Discovery"}
	lateralMovement  = tactic{"TA0008", "Lateral Movement"}
	collection       = tactic{"TA0009", "Collection"}
	commandControl   = tactic{"TA0011", "Command and Control"}
	exfiltration     = tactic{"TA0010", "Exfiltration"}
)

// technique of MITRE ATT&CK, with the tactic that it serves most often here.
type technique struct {
	Name   string
	Tactic tactic
}

var techniques = map[string]technique{
	"T1021":     {"Remote Services", lateralMovement},
	"T1046":     {"Network Service Discovery", discovery},
	"T1048":     {"Exfiltration Over Alternative Protocol", exfiltration},
	"T1059":     {"Command and Scripting Interpreter", execution},
	"T1071":     {"Application Layer Protocol", commandControl},
	"T1071.004": {"DNS", commandControl},
	"T1078":     {"Valid Accounts", initialAccess},
	"T1213":     {"Data from Information Repositories", collection},
	"T1213.006": {"Databases", collection},
	"T1550":     {"Use Alternate Authentication Material", lateralMovement},
	"T1552":     {"Unsecured Credentials", credentialAccess},
	"T1552.004": {"Private Keys", credentialAccess},
	"T1552.005": {"Cloud Instance Metadata API", credentialAccess},
	"T1555":     {"Credentials from Password Stores", credentialAccess},
	"T1557":     {"Adversary-in-the-Middle", credentialAccess},
	"T1609":     {"Container Administration Command", execution},
	"T1613":     {"Container and Resource Discovery", discovery},
	"T1649":     {"Steal or Forge Authentication Certificates", credentialAccess},
}

// attackURL is where MITRE describes a technique.
func attackURL(id string) string {
	return "https://attack.mitre.org/techniques/" + strings.ReplaceAll(id, ".", "/") + "/"
}

// owaspNames are the risks of the OWASP Non-Human Identities Top 10 of 2025.
var owaspNames = map[string]string{
	"NHI1:2025":  "Improper Offboarding",
	"NHI2:2025":  "Secret Leakage",
	"NHI3:2025":  "Vulnerable Third-Party NHI",
	"NHI4:2025":  "Insecure Authentication",
	"NHI5:2025":  "Overprivileged NHI",
	"NHI6:2025":  "Insecure Cloud Deployment Configurations",
	"NHI7:2025":  "Long-Lived Secrets",
	"NHI8:2025":  "Environment Isolation",
	"NHI9:2025":  "NHI Reuse",
	"NHI10:2025": "Human Use of NHI",
}

// unusedRules are the rules about identities that nobody uses, or that nobody used until now: OCSF has a class of its own for them.
var unusedRules = map[string]bool{"unused-identity": true, "never-used": true, "dormant-wakeup": true, "dormant-identity": true}

// Bounds of what one record may carry, so that documents stay below what receivers take.
const (
	maxSentences = 32
	maxText      = 2048 // bytes of one text
)

// clip bounds a text, and makes it valid UTF-8.
func clip(s string) string { return clipTo(s, maxText) }

func clipTo(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 3 && s[n-3]&0xC0 == 0x80 { // not within a character
		n--
	}
	return s[:n-3] + "…"
}

func clipAll(list []string) []string {
	out := make([]string, 0, min(len(list), maxSentences))
	for i, s := range list {
		if i == maxSentences {
			break
		}
		out = append(out, clip(s))
	}
	return out
}
