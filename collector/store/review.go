package store

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Exemption says that an identity may be unused for a while. Times are UTC.
type Exemption struct {
	Identity event.Identity `json:"identity"`
	Reason   string         `json:"reason"`
	By       string         `json:"by"`
	At       time.Time      `json:"at"`
	Until    time.Time      `json:"until"` // whole seconds
}

type exemptionRow struct {
	Identity string    `ch:"identity"`
	Reason   string    `ch:"reason"`
	Actor    string    `ch:"actor"`
	SetTime  time.Time `ch:"set_time"`
	Until    time.Time `ch:"until_time"`
	Version  uint64    `ch:"version"`
}

// maxExemptions bounds those that are in force at a time.
const maxExemptions = 100_000

// Exempt stores an exemption in place of the identity's earlier one. Without Until it lifts that.
func (s *Store) Exempt(ctx context.Context, e Exemption) error {
	if e.Identity.IsZero() || !e.At.After(earliestTime) {
		return fmt.Errorf("store an exemption: %w: no identity or no time", ErrRefused)
	}
	defer s.changed()
	row := exemptionRow{e.Identity.String(), e.Reason, e.By, e.At, past(e.Until), uint64(e.At.UnixMicro())}
	return insert(ctx, s, "exemptions", repeatable(), []exemptionRow{row})
}

// Exemptions gives those that are in force, of some identities, or of all where ids is nil, by identity.
func (s *Store) Exemptions(ctx context.Context, ids []event.Identity, now time.Time) (map[string]Exemption, error) {
	out := map[string]Exemption{}
	ask := func(of []string) error {
		var (
			identity, reason, actor string
			set, until              int64
			version                 uint64
		)
		args := named("identities", of, "now", now.UnixMicro(), "limit", uint32(maxExemptions))
		return s.scan(ctx, "read exemptions", exemptionsSQL, args, []any{&identity, &reason, &actor, &set, &until, &version}, func() error {
			id, err := event.ParseIdentity(identity)
			if err != nil {
				s.corrupt["identities"].Add(1)
				return nil
			}
			out[identity] = Exemption{id, reason, actor, micros(set), seconds(until)}
			return nil
		})
	}
	if ids == nil {
		return out, ask([]string{})
	}
	return out, eachOf(ids, ask)
}

// Review is what somebody found when looking whether an identity is still right.
type Review struct {
	Identity event.Identity `json:"identity"`
	Time     time.Time      `json:"time"`
	By       string         `json:"by"`
	Verdict  string         `json:"verdict"` // one of ReviewVerdicts
	Note     string         `json:"note,omitempty"`
}

// ReviewVerdicts are what a review may come to.
var ReviewVerdicts = []string{"keep", "change", "remove"}

type reviewRow struct {
	Identity string    `ch:"identity"`
	Time     time.Time `ch:"time"`
	Actor    string    `ch:"actor"`
	Verdict  string    `ch:"verdict"`
	Note     string    `ch:"note"`
}

// InsertReviews stores reviews. Repeating it changes nothing.
func (s *Store) InsertReviews(ctx context.Context, reviews []Review) error {
	rows := make([]reviewRow, len(reviews))
	for i := range reviews {
		r := &reviews[i]
		if r.Identity.IsZero() || !r.Time.After(earliestTime) || !slices.Contains(ReviewVerdicts, r.Verdict) {
			return fmt.Errorf("store a review: %w: no identity, time or verdict", ErrRefused)
		}
		rows[i] = reviewRow{r.Identity.String(), r.Time, r.By, r.Verdict, r.Note}
	}
	defer s.changed()
	return insert(ctx, s, "reviews", repeatable(), rows)
}

// Reviews gives the latest reviews of an identity, at most limit.
func (s *Store) Reviews(ctx context.Context, id event.Identity, limit int) ([]Review, error) {
	out := []Review{}
	var (
		identity, actor, verdict, note string
		at                             int64
	)
	args := named("identity", id.String(), "limit", uint32(min(max(limit, 0), math.MaxInt32)))
	err := s.scan(ctx, "read reviews", reviewsSQL, args, []any{&identity, &at, &actor, &verdict, &note}, func() error {
		out = append(out, Review{id, micros(at), actor, verdict, note})
		return nil
	})
	return out, err
}

// LastReview is the latest review of an identity.
type LastReview struct {
	Review
	Count uint64 // of all its reviews
}

// LastReviews gives the latest review of every identity that was ever reviewed.
func (s *Store) LastReviews(ctx context.Context) (map[string]LastReview, error) {
	out := map[string]LastReview{}
	var (
		identity, actor, verdict, note string
		at                             int64
		count                          uint64
	)
	err := s.scan(ctx, "read reviews", lastReviewsSQL, nil, []any{&identity, &at, &actor, &verdict, &note, &count}, func() error {
		id, err := event.ParseIdentity(identity)
		if err != nil {
			s.corrupt["identities"].Add(1)
			return nil
		}
		out[identity] = LastReview{Review{id, micros(at), actor, verdict, note}, count}
		return nil
	})
	return out, err
}
