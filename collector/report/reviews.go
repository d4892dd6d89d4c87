package report

import (
	"context"
	"fmt"
	"maps"
	"slices"
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
func (r *Reporter) Reviews(ctx context.Context, now time.Time, window time.Duration, state string, paging Paging) (*ReviewReport, error) {
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
		if !answerable(&members[i]) || members[i].Declarations == 0 && members[i].LastSeen.Before(since) {
			continue
		}
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
	out.Total = uint64(len(all))
	if all, out.Next, err = cut(all, func(d *due) place { return place{reviewedAt(d.LastReview), 0, d.Member.Identity.String()} }, paging); err != nil {
		return nil, err
	}
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

// reviewedAt orders those that were never reviewed before all others.
func reviewedAt(r store.LastReview) int64 {
	if r.Time.IsZero() {
		return 0
	}
	return r.Time.UnixMicro()
}

// ReviewsOf gives the latest reviews of one identity.
func (r *Reporter) ReviewsOf(ctx context.Context, id event.Identity) (*List[store.Review], error) {
	items, err := r.store.Reviews(ctx, id, 1000)
	if err != nil {
		return nil, err
	}
	return &List[store.Review]{Items: items}, nil
}

// Exemptions gives those that are in force, those that end first before the others.
func (r *Reporter) Exemptions(ctx context.Context, now time.Time, paging Paging) (*List[store.Exemption], error) {
	found, err := r.store.Exemptions(ctx, nil, now)
	if err != nil {
		return nil, err
	}
	all := slices.Collect(maps.Values(found))
	out := &List[store.Exemption]{Total: uint64(len(all))}
	out.Items, out.Next, err = cut(all, func(x *store.Exemption) place { return place{x.Until.UnixMicro(), 0, x.Identity.String()} }, paging)
	return out, err
}

// Exemption gives that of one identity which is in force, or [store.ErrNotFound].
func (r *Reporter) Exemption(ctx context.Context, id event.Identity, now time.Time) (store.Exemption, error) {
	found, err := r.store.Exemptions(ctx, []event.Identity{id}, now)
	if err != nil {
		return store.Exemption{}, err
	}
	x, ok := found[id.String()]
	if !ok {
		return store.Exemption{}, fmt.Errorf("read the exemption of %s: %w", id, store.ErrNotFound)
	}
	return x, nil
}
