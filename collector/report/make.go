package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// RuleUnused is the rule of findings that come from the scheduled report of unused identities, and from nothing else. The detector's own rules tell of
// single events, such as that one acts again.
const RuleUnused = "unused-identity"

// maxMade bounds the findings of one report, the gravest first: a first report over an old estate must not flood the people who read findings.
const maxMade = 1000

// Made is what a scheduled report came to.
type Made struct {
	Run      store.Run
	Findings []event.Finding // new, changed or resolved
	Held     int             // findings that were left out, because there were too many

	items []store.RunItem
}

// MakeUnused makes the report of unused identities that a schedule asks for: a signed file in a folder, and what the caller publishes and then has
// [Reporter.Keep] keep. Identities that are exempt, or of which nothing can be told, make no finding. Findings of identities that are in use again, are gone or
// are exempt, are resolved.
func (r *Reporter) MakeUnused(ctx context.Context, now time.Time, window time.Duration, folder string, key nkeys.KeyPair) (*Made, error) {
	now = now.UTC().Truncate(time.Second)
	var whole UnusedReport
	q := UnusedQuery{Window: window, Limit: 10_000, Changes: true}
	for {
		page, err := r.Unused(ctx, now, q)
		if err != nil {
			return nil, err
		}
		items := append(whole.Items, page.Items...)
		if q.Cursor == "" {
			whole = *page
		}
		whole.Items = items
		if q.Cursor, q.Changes = page.Next, false; q.Cursor == "" {
			break
		}
	}
	whole.Next = ""
	told, err := r.toldUnused(ctx)
	if err != nil {
		return nil, err
	}
	made := &Made{}
	made.Findings, made.Held = unusedFindings(&whole, told, now)

	file, sum, err := WriteFile(folder, reportUnused, now, &whole, key)
	if err != nil {
		return nil, err
	}
	made.Run = store.Run{Report: reportUnused, Time: now, Window: window, Watched: whole.Coverage.Watched, Total: whole.Total, File: file, SHA256: sum}
	made.items = make([]store.RunItem, len(whole.Items))
	for i := range whole.Items {
		u := &whole.Items[i]
		made.items[i] = store.RunItem{Identity: u.Identity.String(), Class: u.Class, Verdict: u.Verdict}
	}
	return made, nil
}

// Keep stores a report that was made: its findings, and last that it was made. Who crashes before that makes it once more.
func (r *Reporter) Keep(ctx context.Context, made *Made) error {
	if err := r.store.InsertFindings(ctx, made.Findings); err != nil {
		return err
	}
	return r.store.InsertRun(ctx, made.Run, made.items)
}

// LastUnused is when the report of unused identities was last made on a schedule; zero: never.
func (r *Reporter) LastUnused(ctx context.Context, now time.Time) (time.Time, error) {
	run, err := r.store.LastRun(ctx, reportUnused, now)
	if errors.Is(err, store.ErrNotFound) {
		return time.Time{}, nil
	}
	return run.Time, err
}

// toldUnused gives the findings that reports made, by identity.
func (r *Reporter) toldUnused(ctx context.Context) (map[event.Identity]event.Finding, error) {
	out := map[event.Identity]event.Finding{}
	f := store.FindingFilter{Rule: RuleUnused, Limit: 1000}
	for {
		items, next, err := r.store.Findings(ctx, f)
		if err != nil {
			return nil, err
		}
		for i := range items {
			if _, newer := out[items[i].Identity]; !newer {
				out[items[i].Identity] = items[i]
			}
		}
		if f.Cursor = next; next == "" {
			return out, nil
		}
	}
}

// unusedFindings makes findings of a report, given those that were told before, and says how many it left out.
func unusedFindings(report *UnusedReport, told map[event.Identity]event.Finding, now time.Time) (out []event.Finding, held int) {
	listed := map[event.Identity]bool{}
	for i := range report.Items {
		u := &report.Items[i]
		if u.Exemption != nil {
			continue
		}
		if u.Verdict == VerdictCannotTell {
			listed[u.Identity] = true // what was told before is neither confirmed nor over
			continue
		}
		listed[u.Identity] = true
		f := unusedFinding(u, report.Coverage, now)
		if before, ok := told[u.Identity]; ok {
			f.FirstTime, f.Count = before.FirstTime, before.Count+1
			switch {
			case before.Status != event.StatusResolved && before.Title == f.Title && before.Severity == f.Severity:
				continue // it is known
			case before.Status == event.StatusResolved && before.By != event.ByAmbit:
				continue // a person has decided
			case before.Status == event.StatusResolved:
				f.Decided, f.By, f.Reason = now, event.ByAmbit, "it is unused again"
			default:
				f.Status = before.Status
			}
		}
		out = append(out, f)
	}
	slices.SortStableFunc(out, func(a, b event.Finding) int { return cmp.Compare(b.Score, a.Score) })
	if len(out) > maxMade {
		held = len(out) - maxMade
		out = out[:maxMade]
	}
	for id, f := range told {
		if listed[id] || f.Status == event.StatusResolved {
			continue
		}
		f.Status, f.Decided, f.By, f.Verdict = event.StatusResolved, now, event.ByAmbit, ""
		f.Reason = "the report of " + now.Format(time.RFC3339) + " does not list it any more: it was used, is gone, or is exempt"
		f.LastTime = now
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b event.Finding) int { return cmp.Compare(a.ID, b.ID) })
	return out, held
}

// titles of findings, by class.
var titles = map[string]string{
	store.ClassRetired:  "A retired identity still acts",
	store.ClassOrphaned: "An identity that nobody declares any more is left over",
	store.ClassDeclared: "A declared identity was never seen",
	store.ClassNever:    "An identity was never used",
	store.ClassDormant:  "An identity is not used any more",
}

func unusedFinding(u *Unused, coverage *Summary, now time.Time) event.Finding {
	f := event.Finding{
		ID: event.FindingID(u.Identity, RuleUnused, event.Resource{}), Rule: RuleUnused, Title: titles[u.Class], Severity: event.Low, Score: .3, Confidence: u.Watched / 100,
		Identity: u.Identity, FirstTime: now, LastTime: now, Count: 1, Baseline: []string{}, Advice: []string{u.Action}, OWASP: []string{"NHI1:2025"}, Status: event.StatusNew,
		Workload: event.Workload{Identity: u.Identity, Evidence: u.Evidence, Namespace: u.Namespace, Unit: u.Unit}, Coverage: coverage.Statement,
	}
	switch u.Class {
	case store.ClassRetired:
		f.Severity, f.Score = event.High, .8
	case store.ClassOrphaned:
		f.Severity, f.Score = event.Medium, .6
	}
	if u.Privilege.Rank() >= event.PrivilegeHigh.Rank() {
		f.Severity, f.Score = event.High, max(f.Score, .7)
	}
	said := fmt.Sprintf("Its class is %s: it was not used for %s.", u.Class, count(uint64(u.DaysUnused), "day"))
	if u.Class == store.ClassRetired {
		said = fmt.Sprintf("Its class is %s: it was last used %s.", u.Class, u.LastUsed.Format(time.RFC3339))
	}
	f.Explanation = append(f.Explanation, said)
	if !u.LastUsed.IsZero() && u.LastResource != (event.Resource{}) {
		f.Explanation = append(f.Explanation, fmt.Sprintf("It reached %s last, or was reached there, %s.", u.LastResource, u.LastUsed.Format(time.RFC3339)))
	}
	if u.Reason != "" {
		f.Explanation = append(f.Explanation, "Of its declarations: "+u.Reason+".")
	}
	if u.Privilege != "" {
		f.Explanation = append(f.Explanation, "Its privilege is "+string(u.Privilege)+".")
	}
	f.Explanation = append(f.Explanation, fmt.Sprintf("The nodes where it lived were watched for %.2f%% of %s.", u.Watched, coverage.Window))
	return f
}
