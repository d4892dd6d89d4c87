package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// keptCoverage is what coverage is kept for.
const keptCoverage = 400 * day

type gapRow struct {
	Node  string    `ch:"node"`
	Boot  string    `ch:"boot"`
	Cause string    `ch:"cause"`
	From  time.Time `ch:"from_time"`
	Until time.Time `ch:"until_time"`
	Lost  uint64    `ch:"lost"`
}

// gapRows are the gaps that coverage tells, but for those that would not be kept.
func gapRows(coverage []Coverage) ([]gapRow, error) {
	var rows []gapRow
	for i := range coverage {
		c := &coverage[i]
		for _, g := range c.Gaps {
			switch {
			case g.Cause == "" || g.Until.Before(g.From) || g.Until.After(latestHour):
				return nil, fmt.Errorf("insert coverage: row %d: %w: the cause of a gap is missing, or its times are not plausible", i, ErrRefused)
			case g.Until.Before(c.Until.Add(-keptCoverage)):
				continue
			}
			// A beginning far back would make a partition of its own. Of the same gap, it must be the same later.
			from := later(g.From, c.Until.Add(-keptCoverage).UTC().Truncate(30*day))
			rows = append(rows, gapRow{c.Node, c.Boot, g.Cause, from, g.Until, g.Lost})
		}
	}
	return rows, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Gap is a span of time in which something of a node was not seen, or was lost.
type Gap struct {
	Node string
	event.Gap
	Hourly bool   // the span is not known better than by the hour
	Boot   string // the start of the agent that it happened to; only where Hourly
}

// maxNodeGaps bounds the gaps that are read of one node.
const maxNodeGaps = 20_000

// CauseMany stands for gaps that are too many to tell: nothing is known of their time.
const CauseMany = "many"

// Gaps gives the gaps that reach into the time since then, ordered by node and beginning: those that were told, and those that follow from when
// counters of losses grew, but for the causes in without (those that end with - are the beginnings of names). Of a node with very many, the older
// ones are one gap.
func (s *Store) Gaps(ctx context.Context, since time.Time, without []string) ([]Gap, error) {
	out, err := s.toldGaps(ctx, since, maxNodeGaps)
	if err != nil {
		return nil, err
	}
	hourly, err := s.hourlyGaps(ctx, since, without)
	if err != nil {
		return nil, err
	}
	out = append(out, hourly...)
	slices.SortStableFunc(out, func(a, b Gap) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), a.From.Compare(b.From), cmp.Compare(a.Cause, b.Cause))
	})
	return out, nil
}

func (s *Store) toldGaps(ctx context.Context, since time.Time, most int) ([]Gap, error) {
	type row struct {
		Node  string    `ch:"node"`
		Cause string    `ch:"cause"`
		From  time.Time `ch:"from_time"`
		Until time.Time `ch:"until_time"`
		Lost  uint64    `ch:"lost"`
	}
	var out []Gap
	var node string
	n := 0 // of the node
	err := each(ctx, s, "read gaps", gapsSQL, named("since", since.UnixMicro(), "limit", uint32(most+1)), func(r *row) error {
		if r.Node != node {
			node, n = r.Node, 0
		}
		g := Gap{Node: r.Node, Gap: event.Gap{Cause: r.Cause, From: r.From.UTC(), Until: r.Until.UTC(), Lost: r.Lost}}
		if n++; n > most {
			g.Cause, g.From = CauseMany, since.UTC()
		}
		out = append(out, g)
		return nil
	})
	return out, err
}

// straddle is how long before an hour a loss may have happened that the first heartbeat of the hour tells.
const straddle = time.Minute

// hourlyGaps makes gaps of the hours in which counters grew that have no gaps of their own.
func (s *Store) hourlyGaps(ctx context.Context, since time.Time, without []string) ([]Gap, error) {
	if without == nil {
		without = []string{}
	}
	type row struct {
		Node  string    `ch:"node"`
		Boot  string    `ch:"boot"`
		Cause string    `ch:"cause"`
		Lost  uint64    `ch:"lost"`
		Hour  time.Time `ch:"hour"`
	}
	var out []Gap
	var last row
	err := each(ctx, s, "read losses", lossesSQL, named("since", since.UnixMicro(), "without", without), func(r *row) error {
		lost := r.Lost
		if r.Node == last.Node && r.Boot == last.Boot && r.Cause == last.Cause {
			lost -= last.Lost
		}
		last = *r
		g := Gap{Node: r.Node, Hourly: true, Boot: r.Boot,
			Gap: event.Gap{Cause: wholeCause(r.Cause), From: r.Hour.UTC().Add(-straddle), Until: r.Hour.UTC().Add(time.Hour), Lost: lost}}
		if lost > 0 && !r.Hour.Before(since.UTC().Truncate(time.Hour)) {
			out = append(out, g)
		}
		return nil
	})
	return out, err
}
