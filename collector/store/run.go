package store

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Run is a report that was made on a schedule. Times are UTC.
type Run struct {
	Report  string
	Time    time.Time
	Window  time.Duration // whole seconds
	Watched float64       // percent
	Total   uint64        // items
	File    string
	SHA256  string // of the file, in hex
}

// RunItem is an identity that a report listed.
type RunItem struct {
	Identity string
	Class    string
	Verdict  string
}

type runRow struct {
	Report  string    `ch:"report"`
	Time    time.Time `ch:"time"`
	Window  uint64    `ch:"window"`
	Watched float64   `ch:"watched"`
	Total   uint64    `ch:"total"`
	File    string    `ch:"file"`
	SHA256  string    `ch:"sha256"`
}

type runItemRow struct {
	Report   string    `ch:"report"`
	Time     time.Time `ch:"time"`
	Identity string    `ch:"identity"`
	Class    string    `ch:"class"`
	Verdict  string    `ch:"verdict"`
}

// InsertRun stores a run and what it listed. Repeating it changes nothing, and one that was cut short is no run.
func (s *Store) InsertRun(ctx context.Context, run Run, items []RunItem) error {
	if run.Report == "" || !run.Time.After(earliestTime) {
		return fmt.Errorf("store a report: %w: no name or no time", ErrRefused)
	}
	rows := make([]runItemRow, len(items))
	for i, m := range items {
		rows[i] = runItemRow{run.Report, run.Time, m.Identity, m.Class, m.Verdict}
	}
	for part := range slices.Chunk(rows, maxBlockRows) {
		if err := insert(ctx, s, "report_items", repeatable(), part); err != nil {
			return err
		}
	}
	return insert(ctx, s, "report_runs", repeatable(), []runRow{
		{run.Report, run.Time, uint64(run.Window / time.Second), run.Watched, run.Total, run.File, run.SHA256},
	})
}

// LastRun gives the latest run of a report until a time, or [ErrNotFound].
func (s *Store) LastRun(ctx context.Context, report string, until time.Time) (Run, error) {
	out := Run{Report: report}
	var (
		at     int64
		window uint64
		found  bool
	)
	into := []any{&at, &window, &out.Watched, &out.Total, &out.File, &out.SHA256}
	err := s.scan(ctx, "read reports", lastRunSQL, named("report", report, "until", until.UnixMicro()), into, func() error {
		found = true
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("read the last report %s: %w", report, ErrNotFound)
	}
	out.Time, out.Window = micros(at), time.Duration(window)*time.Second
	return out, err
}

// RunItems gives what a run listed, by identity.
func (s *Store) RunItems(ctx context.Context, run Run) (map[string]RunItem, error) {
	out := make(map[string]RunItem, run.Total)
	var m RunItem
	err := s.scan(ctx, "read a report", runItemsSQL, named("report", run.Report, "time", run.Time.UnixMicro()), []any{&m.Identity, &m.Class, &m.Verdict}, func() error {
		out[m.Identity] = m
		return nil
	})
	return out, err
}

// FoundUnused is an identity that scheduled reports listed, without doubt.
type FoundUnused struct {
	Identity    string
	Class       string // the latest
	First, Last time.Time
}

// FoundUnused gives the identities that runs of a report since a time listed.
func (s *Store) FoundUnused(ctx context.Context, report string, since time.Time) ([]FoundUnused, error) {
	var out []FoundUnused
	var f FoundUnused
	var first, last int64
	args := named("report", report, "since", since.UnixMicro())
	err := s.scan(ctx, "read reports", foundUnusedSQL, args, []any{&f.Identity, &first, &last, &f.Class}, func() error {
		f.First, f.Last = micros(first), micros(last)
		out = append(out, f)
		return nil
	})
	return out, err
}
