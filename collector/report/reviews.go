package report

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// States of periodic review.
const (
	ReviewNever   = "never-reviewed"
	ReviewOverdue = "overdue" // the last review is older than the window
	ReviewDone    = "reviewed"
)

// Reviewed is an identity with who looked at it last. Times are UTC; a zero time is never.
type Reviewed struct {
	Identity    event.Identity  `json:"identity"`
	Kind        string          `json:"kind"`
	State       string          `json:"state"` // never-reviewed, overdue, reviewed
	LastReview  time.Time       `json:"last_review,omitzero"`
	By          string          `json:"by,omitempty"`
	Verdict     string          `json:"verdict,omitempty"` // keep, change, remove
	Note        string          `json:"note,omitempty"`
	Reviews     uint64          `json:"reviews"`
	Due         time.Time       `json:"due,omitzero"` // of the next one; zero: now
	Namespace   string          `json:"namespace,omitempty"`
	Owner       string          `json:"owner,omitempty"`
	Purpose     string          `json:"purpose,omitempty"`
	Environment string          `json:"environment,omitempty"`
	Privilege   event.Privilege `json:"privilege,omitempty"`
	Class       string          `json:"class,omitempty"` // of unused ones
	LastUsed    time.Time       `json:"last_used,omitzero"`
}

// ReviewReport lists identities by when they were reviewed. States counts all.
type ReviewReport struct {
	List[Reviewed]
	States map[string]uint64 `json:"states"`
}

// Reviews reports for each identity that somebody answers for who reviewed it last, and what is due: never reviewed ones first, then those whose review is
// longest ago. An identity is due when its last review is older than the window.
func (r *Reporter) Reviews(ctx context.Context, now time.Time, window time.Duration, state string, limit int) (*ReviewReport, error) {
	now = now.UTC()
	since := now.Add(-window)
	_, summary, err := r.coverage(ctx, now, window)
	if err != nil {
		return nil, err
	}
	members, err := r.store.Population(ctx, since, now, false)
	if err != nil {
		return nil, err
	}
	members = slices.DeleteFunc(members, func(m store.Member) bool {
		return !answerable(&m) || m.Declarations == 0 && m.LastSeen.Before(since)
	})
	last, err := r.store.LastReviews(ctx)
	if err != nil {
		return nil, err
	}
	out := &ReviewReport{List: List[Reviewed]{Coverage: summary}, States: map[string]uint64{}}
	type due struct {
		*store.Member
		store.LastReview
		state string
	}
	var all []due
	for i := range members {
		d := due{&members[i], last[members[i].Identity.String()], ReviewNever}
		if !d.Time.IsZero() {
			d.state = ReviewOverdue
			if d.Time.Add(window).After(now) {
				d.state = ReviewDone
			}
		}
		out.States[d.state]++
		if state == "" || state == d.state {
			all = append(all, d)
		}
	}
	slices.SortStableFunc(all, func(a, b due) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.Member.Identity.String(), b.Member.Identity.String()))
	})
	out.Total = uint64(len(all))
	if limit <= 0 {
		limit = 1000
	}
	all = all[:min(len(all), limit, 10_000)]
	page := make([]store.Member, len(all))
	for i := range all {
		page[i] = *all[i].Member
	}
	e, err := r.estate(ctx, page, false, now)
	if err != nil {
		return nil, err
	}
	out.Items = make([]Reviewed, 0, len(all))
	for i := range all {
		d := &all[i]
		v := e.view(d.Member)
		one := Reviewed{
			Identity: d.Member.Identity, Kind: store.Kind(d.Member.Identity), State: d.state, LastReview: d.Time, By: d.By, Verdict: d.Verdict, Note: d.Note, Reviews: d.Count,
			Namespace: e.namespace(d.Member), Owner: v.Owner, Purpose: v.Purpose, Environment: v.Environment, Privilege: v.Privilege, Class: d.Class, LastUsed: d.LastUsed,
		}
		if !d.Time.IsZero() {
			one.Due = d.Time.Add(window)
		}
		out.Items = append(out.Items, one)
	}
	return out, nil
}

// ReviewsOf gives the latest reviews of one identity.
func (r *Reporter) ReviewsOf(ctx context.Context, id event.Identity) (*List[store.Review], error) {
	items, err := r.store.Reviews(ctx, id, 1000)
	if err != nil {
		return nil, err
	}
	return &List[store.Review]{Items: items}, nil
}

// Exemptions gives those that are in force.
func (r *Reporter) Exemptions(ctx context.Context, now time.Time) (*List[store.Exemption], error) {
	all, err := r.store.Exemptions(ctx, nil, now)
	if err != nil {
		return nil, err
	}
	out := &List[store.Exemption]{Items: make([]store.Exemption, 0, len(all))}
	for _, x := range all {
		out.Items = append(out.Items, x)
	}
	slices.SortFunc(out.Items, func(a, b store.Exemption) int {
		return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.Identity.String(), b.Identity.String()))
	})
	return out, nil
}
