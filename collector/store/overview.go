package store

import (
	"context"
	_ "embed"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

var (
	//go:embed query/findings_over_time.sql
	findingsOverTimeSQL string
	//go:embed query/findings_standing.sql
	findingsStandingSQL string
)

// Began is how many findings of a severity began in a step of time.
type Began struct {
	Start    time.Time
	Severity event.Severity
	Findings uint64
}

// FindingsOverTime counts the findings that began since a time, by steps of whole seconds since 1970; steps without any are left out.
func (s *Store) FindingsOverTime(ctx context.Context, since time.Time, step time.Duration) ([]Began, error) {
	type row struct {
		Start    uint64 `ch:"start"`
		Severity string `ch:"severity"`
		Findings uint64 `ch:"findings"`
	}
	var out []Began
	err := each(ctx, s, "count findings", findingsOverTimeSQL, named("since", since.UnixMicro(), "step", uint32(step/time.Second)), func(r *row) error {
		out = append(out, Began{time.Unix(int64(r.Start), 0).UTC(), event.Severity(r.Severity), r.Findings})
		return nil
	})
	return out, err
}

// Standing is how many findings of a severity have a status.
type Standing struct {
	Severity event.Severity
	Status   event.Status
	Findings uint64
}

// FindingsStanding counts all findings, by severity and status.
func (s *Store) FindingsStanding(ctx context.Context) ([]Standing, error) {
	type row struct {
		Severity string `ch:"severity"`
		Status   string `ch:"status"`
		Findings uint64 `ch:"findings"`
	}
	var out []Standing
	err := each(ctx, s, "count findings", findingsStandingSQL, nil, func(r *row) error {
		out = append(out, Standing{event.Severity(r.Severity), event.Status(r.Status), r.Findings})
		return nil
	})
	return out, err
}
