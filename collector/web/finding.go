package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/event"
)

type findingView struct {
	*report.Story
	F         *event.Finding
	What      string   // the first sentence
	Why       []string // the others
	Where     []fact
	Charts    []chart
	Baseline  []bar
	Normal    []string // what of the baseline is no bar
	Verdicts  []verdict
	Commands  []command
	Known     []link
	Decisions []decision.View
	Deny      string // address of the form; empty: it cannot be denied
	Here      string
	Done      string // what was just decided
	Coverage  string // what was not seen, unless the sentences say it
	Judged    bool   // the verdict says more than the status
}

// fact is a name with its value.
type fact struct {
	Name, Value string
	Copy        bool
}

// command is a command line that does the same.
type command struct{ What, Line string }

type link struct{ Text, Href string }

// decisionPage is a page of the API's decisions.
type decisionPage struct {
	Items []decision.View `json:"items"`
	Next  string          `json:"next_cursor"`
}

func (s *Site) showFinding(r *http.Request, who Viewer) (any, error) {
	story, err := s.Reports.Story(r.Context(), r.PathValue("id"), s.now())
	if err != nil {
		return nil, err
	}
	f := &story.Finding
	v := &findingView{Story: story, F: f, Here: "/findings/" + url.PathEscape(f.ID), Verdicts: fitting(f.Status), Commands: commands(f), Known: knownAs(f), Where: where(f)}
	if len(f.Explanation) > 0 {
		v.What, v.Why = f.Explanation[0], f.Explanation[1:]
	}
	if !slices.Contains(f.Explanation, f.Coverage) {
		v.Coverage = f.Coverage
	}
	v.Judged = f.Verdict.Teaches() || f.Verdict == event.VerdictTruePositive
	v.Charts = chartsOf(story)
	v.Baseline, v.Normal = baseline(f)
	var page decisionPage
	if err := s.ask(r, http.MethodGet, "/api/v1/decisions?limit=20&finding="+url.QueryEscape(f.ID), nil, &page); err != nil {
		return nil, err
	}
	v.Decisions = page.Items
	if target := event.TargetOf(f.Resource); who.May(s.Deny.dryRun()) && (target != "" || f.Resource.IsZero()) {
		q := url.Values{"identity": {f.Identity.String()}, "finding": {f.ID}}
		if target != "" {
			q.Set("to", target)
		}
		v.Deny = "/decisions/new?" + q.Encode()
	}
	if k := event.VerdictKind(r.URL.Query().Get("verdict")); k.Valid() && r.URL.Query().Get("done") == "1" {
		v.Done = "It was " + strings.TrimSuffix(verdicts[k].Done, "s") + "."
	}
	return v, nil
}

// where says of a finding's workload what it is and where it ran.
func where(f *event.Finding) []fact {
	w := &f.Workload
	var out []fact
	for _, x := range []fact{
		{"Namespace", w.Namespace, false}, {"Service account", w.ServiceAccount, false}, {"Owner", w.Owner, false}, {"Pod", w.Pod, true}, {"Container", w.Container, false},
		{"Unit", w.Unit, true}, {"Node", f.Node, true}, {"Program", w.Executable, true}, {"Image", w.Image, true}, {"Control group", w.Cgroup, false},
	} {
		if x.Value != "" {
			out = append(out, x)
		}
	}
	if w.Interactive {
		out = append(out, fact{"Terminal", "a person sits at it", false})
	}
	if w.Evidence != "" {
		out = append(out, fact{"Known by", evidences[w.Evidence], false})
	}
	return out
}

// evidences say why an identity is believed.
var evidences = map[event.Evidence]string{
	event.EvidenceSVID: "its own certificate, in a handshake that completed", event.EvidenceWorkloadAPI: "the SPIFFE Workload API", event.EvidenceKubernetes: "Kubernetes: its pod's service account",
	event.EvidenceSystemd: "systemd: its unit", event.EvidenceCgroup: "its control group", event.EvidenceProcess: "its process",
}

// commands are those of the CLI that do what the page's buttons do.
func commands(f *event.Finding) []command {
	out := []command{{"Tell all of it", "ambit explain " + f.ID}}
	for _, v := range fitting(f.Status) {
		line := "ambit findings " + v.Command + " " + f.ID
		if v.Ends {
			line += " --for 7d"
		}
		if v.Reason {
			line += ` --reason "…"`
		}
		out = append(out, command{v.Do, line})
	}
	if target := event.TargetOf(f.Resource); target != "" {
		out = append(out, command{"Deny it, as a dry run", "ambit deny " + quote(f.Identity.String()) + " --to " + quote(target) + " --for 1h --finding " + f.ID + ` --reason "…"`})
	}
	return out
}

// quote writes a word for a shell.
func quote(s string) string {
	if s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+=,", r))
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// owaspPage has the risks of the OWASP Non-Human Identities Top 10.
const owaspPage = "https://owasp.org/www-project-non-human-identities-top-10/2025/"

// knownAs is where what a finding shows is described.
func knownAs(f *event.Finding) []link {
	var out []link
	for _, id := range f.OWASP {
		out = append(out, link{"OWASP " + id, owaspPage})
	}
	for _, id := range f.Attack {
		out = append(out, link{"ATT&CK " + id, "https://attack.mitre.org/techniques/" + url.PathEscape(strings.ReplaceAll(id, ".", "/")) + "/"})
	}
	for i := range out {
		out[i].Href = strings.ReplaceAll(out[i].Href, "%2F", "/")
	}
	return out
}

// moments are what a timeline says.
var moments = map[string]string{
	"first": "Seen for the first time", "last": "Seen last",
	"decision.signed": "A decision was signed", "decision.revoked": "The decision was revoked", "decision.expired": "The decision ended",
	"status.new": "Told again", "status.resolved": "Resolved by itself", "status.suppressed": "Suppressed", "status.acknowledged": "Acknowledged",
}

// momentText is what a moment is called.
func momentText(m report.Moment) string {
	if text := moments[m.What]; text != "" {
		return text
	}
	if kind, ok := strings.CutPrefix(m.What, "finding."); ok {
		if v, ok := verdicts[event.VerdictKind(kind)]; ok {
			text := title(strings.TrimSuffix(v.Done, "s"))
			if m.Failed != "" {
				return fmt.Sprintf("It could not be %s", strings.TrimSuffix(v.Done, "s"))
			}
			return text
		}
	}
	return m.What
}
