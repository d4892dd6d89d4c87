package report

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Story is what is known around a finding: what happened to it, what its identity did before and since, where, how that was protected, and which findings are like it.
type Story struct {
	Finding    event.Finding          `json:"finding"`
	Timeline   []Moment               `json:"timeline"`   // the earliest first
	Since      time.Time              `json:"since"`      // of days
	Days       []store.DayUse         `json:"days"`       // on which its identity did anything
	Places     []store.Place          `json:"places"`     // where its connections came from, the latest first
	Handshakes []store.Handshake      `json:"handshakes"` // the latest first
	Similar    []store.SimilarFinding `json:"similar"`    // those with the most in common first
	Decisions  []event.Decision       `json:"decisions"`  // that answer it, the latest first; without those that wait for approval
}

// Moment is one thing that happened to a finding.
type Moment struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`          // first, last, or what an audit record or a decision says: finding.suppress, decision.signed, decision.revoked, decision.expired
	Who  string    `json:"who,omitempty"` // did it; empty: the workload, or time
	Why  string    `json:"why,omitempty"`

	Decision string    `json:"decision,omitempty"` // ID
	Until    time.Time `json:"until,omitzero"`     // it holds
	Failed   string    `json:"failed,omitempty"`   // it was begun and not done
	Count    uint64    `json:"count,omitempty"`    // connections by then
	Record   uint64    `json:"record,omitempty"`   // number in the audit trail
}

// Bounds of a story.
const (
	storyDays    = 30
	storyPlaces  = 20
	storyKinds   = 8
	storySimilar = 20
	storyRecords = 200
	storyBefore  = time.Hour // places and handshakes of before the first use, for comparison
)

// Story gives what is known around a finding, as of now, or [store.ErrNotFound].
func (r *Reporter) Story(ctx context.Context, id string, now time.Time) (*Story, error) {
	f, err := r.store.Finding(ctx, id)
	if err != nil {
		return nil, err
	}
	until := f.LastTime.Add(24 * time.Hour)
	since := until.Truncate(24*time.Hour).AddDate(0, 0, -storyDays+1)
	out := &Story{Finding: f, Since: since}
	resource, from := f.Resource.String(), f.FirstTime.Add(-storyBefore)
	var records []audit.Record
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		out.Days, err = r.store.UseByDay(ctx, f.Identity, resource, since, until)
		return err
	})
	g.Go(func() (err error) {
		out.Places, err = r.store.Places(ctx, f.Identity, resource, from, storyPlaces)
		return err
	})
	g.Go(func() (err error) {
		out.Handshakes, err = r.store.Handshakes(ctx, f.Identity, resource, from, storyKinds)
		return err
	})
	g.Go(func() (err error) {
		out.Similar, err = r.store.SimilarFindings(ctx, &f, storySimilar)
		return err
	})
	g.Go(func() (err error) {
		records, _, err = r.store.Audit(ctx, store.AuditFilter{Subject: f.ID, Limit: storyRecords})
		return err
	})
	g.Go(func() (err error) {
		out.Decisions, _, err = r.store.Decisions(ctx, store.DecisionFilter{Finding: f.ID, Now: now, Limit: storyRecords})
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out.Timeline = timeline(&f, records, out.Decisions, now)
	orEmpty(&out.Days)
	orEmpty(&out.Places)
	orEmpty(&out.Handshakes)
	orEmpty(&out.Similar)
	orEmpty(&out.Decisions)
	return out, nil
}

// orEmpty makes a list one that is there.
func orEmpty[T any](list *[]T) {
	if *list == nil {
		*list = []T{}
	}
}

// timeline puts what happened to a finding in order.
func timeline(f *event.Finding, records []audit.Record, decisions []event.Decision, now time.Time) []Moment {
	out := []Moment{{At: f.FirstTime, What: "first"}}
	if f.LastTime.After(f.FirstTime) {
		out = append(out, Moment{At: f.LastTime, What: "last", Count: f.Count})
	}
	for i := range records {
		m := &records[i]
		x := Moment{At: m.Time, What: m.Action, Who: m.Actor, Why: m.Detail["reason"], Failed: m.Detail[audit.Failed], Record: m.Number}
		x.Until, _ = time.Parse(time.RFC3339, m.Detail["until"]) // of those that have an end
		out = append(out, x)
	}
	if f.By == event.ByAmbit { // what nobody did is in no audit record
		out = append(out, Moment{At: f.Decided, What: "status." + string(f.Status), Who: f.By, Why: f.Reason})
	}
	for i := range decisions {
		d := &decisions[i]
		signed := Moment{At: d.Issued, What: "decision.signed", Who: cmp.Or(d.Approver, d.Requester), Why: d.Reason, Decision: d.ID, Until: d.Expires}
		out = append(out, signed)
		switch {
		case !d.Revoked.IsZero():
			out = append(out, Moment{At: d.Revoked, What: "decision.revoked", Who: d.RevokedBy, Why: d.RevokedWhy, Decision: d.ID})
		case !now.Before(d.Expires):
			out = append(out, Moment{At: d.Expires, What: "decision.expired", Decision: d.ID})
		}
	}
	slices.SortStableFunc(out, func(a, b Moment) int { return a.At.Compare(b.At) })
	return out
}

// CountFindings counts the findings that a filter chooses.
func (r *Reporter) CountFindings(ctx context.Context, f store.FindingFilter) (*store.FindingCounts, error) {
	c, err := r.store.CountFindings(ctx, f)
	if err != nil {
		return nil, err
	}
	return &c, nil
}
