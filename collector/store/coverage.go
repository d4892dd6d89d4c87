package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Coverage says that a node was watched from From to Until without a break, and what it lost and could not watch.
type Coverage struct {
	Node    string
	Boot    string // one start of the agent
	From    time.Time
	Until   time.Time
	Lost    map[string]uint64 // since From, by cause, or cause#partition for each partition's part; nil where it is not known
	TLS     map[string]uint64 // gauges of TLS; nil where the agent tells none
	Missing []string          // in words; nil where it is not known
	Version string            // of the agent
	Kernel  string
	Gaps    []event.Gap // that are told now; what was told once need not be told again
}

// CoverageOf is what a heartbeat says.
func CoverageOf(h *event.Heartbeat) Coverage {
	return Coverage{Node: h.Node, Boot: h.Boot, From: h.Started, Until: h.Time, Lost: h.Lost, TLS: tlsGauges(h.Gauges),
		Missing: h.Missing, Version: h.Version, Kernel: h.Kernel, Gaps: h.Gaps}
}

type coverageRow struct {
	Node    string            `ch:"node"`
	Boot    string            `ch:"boot"`
	Hour    time.Time         `ch:"hour"`
	From    time.Time         `ch:"from_time"`
	Until   time.Time         `ch:"until_time"`
	Lost    map[string]uint64 `ch:"lost"`
	TLS     map[string]uint64 `ch:"tls"`
	Missing []string          `ch:"missing"`
	Version string            `ch:"version"`
	Kernel  string            `ch:"kernel"`
}

// InsertCoverage notes when nodes were watched, and their gaps. Repeating it changes nothing.
func (s *Store) InsertCoverage(ctx context.Context, coverage []Coverage) error {
	rows := make([]coverageRow, len(coverage))
	for i := range coverage {
		c := &coverage[i]
		if c.Node == "" || c.Boot == "" || c.Until.Before(c.From) || c.From.Before(never) || c.Until.After(latestHour) {
			return fmt.Errorf("insert coverage: row %d: %w: node, boot or times are missing or not plausible", i, ErrRefused)
		}
		rows[i] = coverageRow{c.Node, c.Boot, c.Until.UTC().Truncate(time.Hour), c.From, c.Until, c.Lost, c.TLS, c.Missing, c.Version, c.Kernel}
	}
	gaps, err := gapRows(coverage)
	if err != nil {
		return err
	}
	if err := insert(ctx, s, "coverage_gaps", repeatable(), gaps); err != nil {
		return err
	}
	return insert(ctx, s, "coverage", repeatable(), rows)
}

// wholeCause is a cause without the partition that a collector's count of it is of: cause#partition.
func wholeCause(cause string) string {
	cause, _, _ = strings.Cut(cause, "#")
	return cause
}

// latestHour is the end of the type DateTime.
var latestHour = time.Date(2106, 2, 7, 0, 0, 0, 0, time.UTC)

// Watched is how one start of an agent watched its node.
type Watched struct {
	Node    string
	Boot    string
	From    time.Time
	Until   time.Time
	Lost    map[string]uint64 // since the time that was asked for
	TLS     *TLSWatch         // since then; nil where the agent tells nothing of it
	Missing []string
	Version string
	Kernel  string
}

type watchedRow struct {
	Node       string            `ch:"node"`
	Boot       string            `ch:"boot"`
	From       time.Time         `ch:"from_time"`
	Until      time.Time         `ch:"until_time"`
	Lost       map[string]uint64 `ch:"lost"`
	LostBefore map[string]uint64 `ch:"lost_before"`
	TLS        map[string]uint64 `ch:"tls"`
	TLSBefore  map[string]uint64 `ch:"tls_before"`
	TLSWithin  map[string]uint64 `ch:"tls_within"`
	Missing    []string          `ch:"missing"`
	Version    string            `ch:"version"`
	Kernel     string            `ch:"kernel"`
}

// Watched gives what was watched since a time, ordered by node and start. Losses are known by the hour: those of the hour in which since lies
// are counted.
func (s *Store) Watched(ctx context.Context, since time.Time) ([]Watched, error) {
	var out []Watched
	err := each(ctx, s, "read coverage", watchedSQL, named("since", since.UnixMicro()), func(r *watchedRow) error {
		lost := map[string]uint64{}
		for cause, n := range r.Lost {
			if before := r.LostBefore[cause]; n > before {
				lost[wholeCause(cause)] += n - before
			}
		}
		out = append(out, Watched{r.Node, r.Boot, moment(r.From), moment(r.Until), lost, r.watchTLS(), r.Missing, r.Version, r.Kernel})
		return nil
	})
	return out, err
}

// SilentNodes counts the nodes that were watched once, but not since a time.
func (s *Store) SilentNodes(ctx context.Context, since time.Time) (int, error) {
	var n uint64
	if err := s.conn.QueryRow(ctx, silentNodesSQL, named("since", since.UnixMicro())...).Scan(&n); err != nil {
		return 0, s.explain("read coverage", err)
	}
	return int(n), nil
}
