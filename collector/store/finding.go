package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

type findingRow struct {
	ID          string    `ch:"id"`
	Rule        string    `ch:"rule"`
	Title       string    `ch:"title"`
	Severity    string    `ch:"severity"`
	Score       float64   `ch:"score"`
	Confidence  float64   `ch:"confidence"`
	Resource    string    `ch:"resource"`
	Node        string    `ch:"node"`
	FirstTime   time.Time `ch:"first_time"`
	LastTime    time.Time `ch:"last_time"`
	Count       uint64    `ch:"count"`
	Explanation []string  `ch:"explanation"`
	Baseline    []string  `ch:"baseline"`
	Advice      []string  `ch:"advice"`
	OWASP       []string  `ch:"owasp"`
	Attack      []string  `ch:"attack"`
	Status      string    `ch:"status"`
	Coverage    string    `ch:"coverage"`
	workloadRow
}

// decidedRow is a finding with the latest decision about it.
type decidedRow struct {
	findingRow
	Verdict   string    `ch:"verdict"`
	Reason    string    `ch:"reason"`
	DecidedBy string    `ch:"decided_by"`
	SetTime   time.Time `ch:"set_time"`
	UntilTime time.Time `ch:"until_time"`
}

func findingRowOf(f *event.Finding) findingRow {
	r := findingRow{
		ID: f.ID, Rule: f.Rule, Title: f.Title, Severity: string(f.Severity), Score: f.Score, Confidence: f.Confidence,
		Resource: f.Resource.String(), Node: f.Node, FirstTime: f.FirstTime, LastTime: f.LastTime, Count: f.Count,
		Explanation: f.Explanation, Baseline: f.Baseline, Advice: f.Advice, OWASP: f.OWASP, Attack: f.Attack, Status: string(f.Status), Coverage: f.Coverage,
		workloadRow: workloadRowOf(&f.Workload),
	}
	r.Identity = f.Identity.String()
	return r
}

func (r *decidedRow) finding() (event.Finding, error) {
	w, err := r.workload()
	if err != nil {
		return event.Finding{}, err
	}
	var resource event.Resource
	if err := resource.UnmarshalText([]byte(r.Resource)); err != nil {
		return event.Finding{}, err
	}
	return event.Finding{
		ID: r.ID, Rule: r.Rule, Title: r.Title, Severity: event.Severity(r.Severity), Score: r.Score, Confidence: r.Confidence,
		Identity: w.Identity, Resource: resource, Workload: w, Node: r.Node, FirstTime: r.FirstTime.UTC(), LastTime: r.LastTime.UTC(), Count: r.Count,
		Explanation: r.Explanation, Baseline: r.Baseline, Advice: r.Advice, OWASP: r.OWASP, Attack: r.Attack, Status: event.Status(r.Status), Coverage: r.Coverage,
		Verdict: event.VerdictKind(r.Verdict), Reason: r.Reason, By: r.DecidedBy, Decided: someTime(r.SetTime), Until: someTime(r.UntilTime),
	}, nil
}

// someTime is the zero time where a column holds none.
func someTime(t time.Time) time.Time {
	if t.UnixMicro() == 0 {
		return time.Time{}
	}
	return t.UTC()
}

func orEpoch(t time.Time) time.Time {
	if t.IsZero() {
		return time.Unix(0, 0)
	}
	return t
}

// InsertFindings stores findings; one that is told again replaces itself. The latest decision about it holds, whether it comes with it or by [Store.Decide].
func (s *Store) InsertFindings(ctx context.Context, findings []event.Finding) error {
	rows := make([]findingRow, len(findings))
	var decided []statusRow
	for i := range findings {
		f := &findings[i]
		if f.ID == "" || f.Identity.IsZero() || f.LastTime.Before(f.FirstTime) || f.FirstTime.Before(earliestTime) {
			return fmt.Errorf("insert findings: row %d: %w: id, identity or times are missing", i, ErrRefused)
		}
		rows[i] = findingRowOf(f)
		if !f.Decided.IsZero() {
			decided = append(decided, statusRow{f.ID, string(f.Status), f.Decided, string(f.Verdict), f.Reason, f.By, orEpoch(f.Until)})
		}
	}
	if err := insert(ctx, s, "findings", repeatable(), rows); err != nil || len(decided) == 0 {
		return err
	}
	return insert(ctx, s, "finding_status", repeatable(), decided)
}

// FindingFilter chooses findings, which come newest first.
type FindingFilter struct {
	ID        string
	Status    event.Status
	Severity  event.Severity
	Rule      string
	Namespace string
	Identity  event.Identity
	Text      string    // of its title, resource or identity, in any case; or its ID
	Since     time.Time // last_time is not earlier
	Until     time.Time // last_time is earlier; zero: whenever
	Limit     int       // 0 is 100, at most 1000
	Cursor    string    // where the page before ended
}

// findingArgs are those of the findings that follow the one with beforeID, whose last time is before.
func findingArgs(f FindingFilter, before int64, beforeID string, limit uint32) []any {
	return named("id", f.ID, "status", string(f.Status), "severity", string(f.Severity), "rule", f.Rule, "namespace", f.Namespace,
		"identity", f.Identity.String(), "text", f.Text, "since", microsOrZero(f.Since), "until", microsOrZero(f.Until),
		"before", before, "before_id", beforeID, "limit", limit)
}

// microsOrZero is 0 for a time that was never.
func microsOrZero(t time.Time) int64 {
	if !t.After(never) {
		return 0
	}
	return t.UnixMicro()
}

// Findings gives a page of findings, and the cursor of the next page or "".
func (s *Store) Findings(ctx context.Context, f FindingFilter) ([]event.Finding, string, error) {
	before, err := parseCursor(f.Cursor, 2)
	if err != nil {
		return nil, "", fmt.Errorf("read findings: %w", err)
	}
	var micros int64
	if before[0] != "" {
		if micros, err = strconv.ParseInt(before[0], 10, 64); err != nil {
			return nil, "", fmt.Errorf("read findings: %w", ErrCursor)
		}
	}
	limit := bound(f.Limit, 100, 1000)
	var rows []decidedRow
	err = each(ctx, s, "read findings", findingsSQL, findingArgs(f, micros, before[1], uint32(limit+1)), func(r *decidedRow) error {
		rows = append(rows, *r)
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	rows, next := page(rows, limit, func(r *decidedRow) string { return cursor(strconv.FormatInt(r.LastTime.UnixMicro(), 10), r.ID) })
	out := make([]event.Finding, 0, len(rows))
	for i := range rows {
		x, err := rows[i].finding()
		if err != nil {
			s.corrupt["findings"].Add(1)
			continue
		}
		out = append(out, x)
	}
	return out, next, nil
}

// Finding gives one finding, or [ErrNotFound].
func (s *Store) Finding(ctx context.Context, id string) (event.Finding, error) {
	if id == "" {
		return event.Finding{}, fmt.Errorf("read finding: %w", ErrNotFound)
	}
	found, _, err := s.Findings(ctx, FindingFilter{ID: id, Limit: 1})
	if err != nil {
		return event.Finding{}, err
	}
	if len(found) == 0 {
		return event.Finding{}, fmt.Errorf("read finding %s: %w", id, ErrNotFound)
	}
	return found[0], nil
}

type statusRow struct {
	ID        string    `ch:"id"`
	Status    string    `ch:"status"`
	SetTime   time.Time `ch:"set_time"`
	Verdict   string    `ch:"verdict"`
	Reason    string    `ch:"reason"`
	DecidedBy string    `ch:"decided_by"`
	UntilTime time.Time `ch:"until_time"`
}

// Decide keeps what a person decided about a finding, and gives the finding as it is then, or [ErrNotFound]. The latest decision holds, whatever the
// detector told before it. v is valid.
func (s *Store) Decide(ctx context.Context, v *event.Verdict) (event.Finding, error) {
	if _, err := s.Finding(ctx, v.Finding); err != nil {
		return event.Finding{}, err
	}
	row := statusRow{v.Finding, string(v.Kind.Status()), v.At, string(v.Kind), v.Reason, v.By, orEpoch(v.Until)}
	defer s.changed()
	if err := insert(ctx, s, "finding_status", repeatable(), []statusRow{row}); err != nil {
		return event.Finding{}, err
	}
	return s.Finding(ctx, v.Finding)
}
