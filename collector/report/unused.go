package report

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Unused is an identity that nobody was seen to use, or that is used although nobody declares it any more. Times are UTC; a zero time is never.
type Unused struct {
	Identity     event.Identity  `json:"identity"`
	Kind         string          `json:"kind"`             // see [store.Kind]
	Class        string          `json:"class"`            // one of [store.Classes]
	Verdict      string          `json:"verdict"`          // unused, cannot-tell, active
	Reason       string          `json:"reason,omitempty"` // why it cannot be told, or what its class stands on
	State        string          `json:"state,omitempty"`
	Evidence     event.Evidence  `json:"evidence,omitempty"` // the strongest ever
	Domain       event.Domain    `json:"domain,omitempty"`
	Environment  string          `json:"environment,omitempty"`
	Namespace    string          `json:"namespace,omitempty"`
	Owner        string          `json:"owner,omitempty"`
	Purpose      string          `json:"purpose,omitempty"`
	Privilege    event.Privilege `json:"privilege,omitempty"`
	Unit         string          `json:"unit,omitempty"`
	Nodes        []string        `json:"nodes"`                  // at most 8
	Created      time.Time       `json:"created,omitzero"`       // as its source says
	FirstSeen    time.Time       `json:"first_seen,omitzero"`    // zero: declared, and never seen
	LastSeen     time.Time       `json:"last_seen,omitzero"`     // running
	LastUsed     time.Time       `json:"last_used,omitzero"`     // in any direction; an attempt that failed or was denied is use
	LastSuccess  time.Time       `json:"last_success,omitzero"`  // but it is no success
	LastResource event.Resource  `json:"last_resource,omitzero"` //
	DaysUnused   int             `json:"days_unused"`            // whole days since it was used, or since it was first seen or declared
	Watched      float64         `json:"watched"`                // percent of the window in which the nodes where it ran last were watched, on average
	Credential   *CredentialNote `json:"credential,omitempty"`   // nil where none is known
	Exemption    *Exemption      `json:"exemption,omitempty"`    // nil where there is none in force
	Action       string          `json:"recommended_action"`
}

// UnusedQuery chooses what the report of unused identities shows.
type UnusedQuery struct {
	Window  time.Duration
	Preset  string // "" is none; its window is Window where that is zero
	Class   string // "" is all
	Verdict string // "" is all
	Text    string // part of the identity's URI, in any case
	Limit   int    // see [Paging]
	Cursor  string
	Changes bool      // say what changed since an earlier report
	Since   time.Time // that was made by then; zero: the last one
}

// UnusedReport is a page of unused identities. Classes and Verdicts count all that the query chooses.
type UnusedReport struct {
	List[Unused]
	Classes  map[string]uint64 `json:"classes"`
	Verdicts map[string]uint64 `json:"verdicts"`
	Preset   *Preset           `json:"preset,omitempty"`
	Changes  *Changes          `json:"changes,omitempty"`
}

// judged is a member with its verdict.
type judged struct {
	*store.Member
	verdict, reason string
	watched         float64
}

// Unused reports the identities that were known before the window that ends now and were not used in it, and those that act although they are
// retired. An identity younger than the window is never among the unused ones. Those that may have been used where nobody watched are among them,
// and say so.
func (r *Reporter) Unused(ctx context.Context, now time.Time, q UnusedQuery) (*UnusedReport, error) {
	out := &UnusedReport{Classes: map[string]uint64{}, Verdicts: map[string]uint64{}}
	if q.Preset != "" {
		p, err := ParsePreset(q.Preset)
		if err != nil {
			return nil, err
		}
		out.Preset = &p
		if q.Window == 0 {
			q.Window = p.Window
		}
	}
	now = now.UTC()
	all, summary, err := r.judged(ctx, now, q.Window)
	if err != nil {
		return nil, err
	}
	out.Coverage = summary
	if q.Changes {
		if out.Changes, err = r.changes(ctx, all, now, q.Since); err != nil {
			return nil, err
		}
	}
	text := strings.ToLower(q.Text)
	chosen := all[:0]
	for _, j := range all {
		if q.Class != "" && j.Class != q.Class || q.Verdict != "" && j.verdict != q.Verdict || text != "" && !strings.Contains(strings.ToLower(j.Identity.String()), text) {
			continue
		}
		out.Classes[j.Class]++
		out.Verdicts[j.verdict]++
		chosen = append(chosen, j)
	}
	out.Total = uint64(len(chosen))
	if n := out.Verdicts[VerdictCannotTell]; n > 0 {
		summary.Statement += fmt.Sprintf(" Of %d of the %d listed here it cannot be told that they are unused: they may have been used where or when nobody watched.", n, len(chosen))
	}
	var page []judged
	if page, out.Next, err = cut(chosen, positionOf, Paging{q.Limit, q.Cursor}); err != nil {
		return nil, err
	}
	out.Items, err = r.describe(ctx, page, now, q.Window)
	return out, err
}

// judged gives all members of some class of unused ones, with their verdicts, in the order of reports.
func (r *Reporter) judged(ctx context.Context, now time.Time, window time.Duration) ([]judged, *Summary, error) {
	members, err := r.store.Population(ctx, now.Add(-window), now, true)
	if err != nil {
		return nil, nil, err
	}
	nodes, summary, err := r.coverage(ctx, now, window)
	if err != nil {
		return nil, nil, err
	}
	w := newWitness(nodes, window)
	out := make([]judged, len(members))
	for i := range members {
		out[i].Member = &members[i]
		out[i].verdict, out[i].reason, out[i].watched = w.judge(&members[i], now.Add(-window))
	}
	return out, summary, nil
}

// describe says all that is known of the members of a page.
func (r *Reporter) describe(ctx context.Context, page []judged, now time.Time, window time.Duration) ([]Unused, error) {
	out := make([]Unused, 0, len(page))
	if len(page) == 0 {
		return out, nil
	}
	members := make([]store.Member, len(page))
	for i := range page {
		members[i] = *page[i].Member
	}
	e, err := r.estate(ctx, members, false, now)
	if err != nil {
		return nil, err
	}
	exempt, err := r.exemptions(ctx, members, e, now)
	if err != nil {
		return nil, err
	}
	ids := identitiesOf(members)
	uses, err := r.store.LastUses(ctx, ids)
	if err != nil {
		return nil, err
	}
	held, err := r.store.Held(ctx, ids, now.Add(-window))
	if err != nil {
		return nil, err
	}
	for i := range page {
		j := &page[i]
		id, view := j.Identity.String(), e.view(j.Member)
		u := Unused{
			Identity: j.Identity, Kind: store.Kind(j.Identity), Class: j.Class, Verdict: j.verdict, Reason: j.reason, State: r.state(j.Identity), Evidence: j.Evidence,
			Domain: view.Domain, Environment: view.Environment, Namespace: e.namespace(j.Member), Owner: view.Owner, Purpose: view.Purpose, Privilege: view.Privilege,
			Unit: j.Unit, Nodes: j.Nodes, FirstSeen: j.FirstSeen, LastSeen: j.LastSeen, LastUsed: j.LastUsed, LastSuccess: uses[id].Success,
			LastResource: uses[id].Resource, DaysUnused: int(now.Sub(j.Since()) / day), Watched: j.watched, Exemption: exempt[id],
		}
		if u.Nodes == nil {
			u.Nodes = []string{}
		}
		if j.Class == store.ClassRetired && !j.LastUsed.IsZero() {
			u.DaysUnused = int(now.Sub(j.LastUsed) / day)
		}
		if view.Created != nil {
			u.Created = *view.Created
		}
		if u.Reason == "" && (j.Class == store.ClassOrphaned || j.Class == store.ClassRetired) {
			u.Reason = view.Reason
		}
		var last *store.Held
		if h, ok := held[id]; ok {
			last = &h
		}
		u.Credential = noteCredential(last, view, now)
		u.Action = action(&u, view)
		out = append(out, u)
	}
	return out, nil
}

// action is what to do about it, in a sentence.
func action(u *Unused, view *inventory.View) string {
	who := "whoever owns it (nobody is named)"
	if view.Owner != "" {
		who = view.Owner
	}
	switch {
	case u.Exemption != nil:
		return "None until " + u.Exemption.Until.Format(time.DateOnly) + ": it is exempt."
	case u.Verdict == VerdictCannotTell:
		return "Close the gap in what is watched, then look again: do not remove it for this report."
	}
	switch u.Class {
	case store.ClassRetired:
		return "Find what still acts as it, and stop that; or declare it again. A deny would show who depends on it."
	case store.ClassOrphaned:
		return "Remove what is left of it: credentials, grants and secrets; nobody declares it any more."
	case store.ClassDeclared:
		return "Ask " + who + " whether it is waited for; if not, delete it."
	case store.ClassNever:
		return "Ask " + who + " what it is for; if nothing needs it, take its grants and credentials away."
	}
	return "Ask " + who + " whether it is still needed; if not, disable it now, and delete it when nobody has missed it."
}

// positionOf puts unused identities in the order of classes, then of since when they are unused.
func positionOf(j *judged) place {
	return place{int64(slices.Index(store.Classes, j.Class)), j.Since().UnixMicro(), j.Identity.String()}
}
