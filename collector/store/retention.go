package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// Retention says how long what is kept, in whole days.
type Retention struct {
	Observations time.Duration `mapstructure:"observations"` // one row each
	Daily        time.Duration `mapstructure:"daily"`        // observations, rolled up by day
	Findings     time.Duration `mapstructure:"findings"`     // after the last use of the edge
	Decisions    time.Duration `mapstructure:"decisions"`    // after their end

	// Reach is how long an identity that is neither seen running nor used is remembered, with all that it ever reached; see [Store.Forget]. 0 is
	// for ever.
	Reach time.Duration `mapstructure:"reach"`
}

// DefaultRetention answers auditors, who ask for twelve months.
func DefaultRetention() Retention {
	return Retention{Observations: 30 * day, Daily: 400 * day, Findings: 400 * day, Decisions: 400 * day, Reach: 400 * day}
}

// Validate says all that is wrong with r.
func (r *Retention) Validate() error {
	var faults []error
	for _, x := range []struct {
		key   string
		value time.Duration
		least time.Duration
	}{
		// Agents may send what is three days old; it must not be over when it comes.
		{"observations", r.Observations, 4 * day},
		{"daily", r.Daily, 4 * day},
		{"findings", r.Findings, day},
		{"decisions", r.Decisions, day},
		{"reach", r.Reach, 30 * day},
	} {
		if x.key == "reach" && x.value == 0 {
			continue
		}
		// More than ten years is a typing error.
		if x.value < x.least || x.value%day != 0 || x.value > 3653*day {
			faults = append(faults, fmt.Errorf("retention.%s %s: want whole days, %dd to 3653d", x.key, x.value, x.least/day))
		}
	}
	return errors.Join(faults...)
}

// ending says when the rows of a table end by themselves: some days after a time.
type ending struct {
	table string
	after string // expression
	keep  time.Duration
}

func (r *Retention) endings() []ending {
	return []ending{
		{"observations", "toDateTime(batch_time)", r.Observations},
		{"observations_daily", "day", r.Daily},
		{"findings", "toDateTime(last_time)", r.Findings},
		{"decisions", "toDateTime(expires)", r.Decisions},
		{"decision_acks", "toDateTime(told)", r.Decisions},
	}
}

func (e *ending) days() string { return strconv.Itoa(int(e.keep / day)) }

func (e *ending) statement(l layout) string {
	return "ALTER TABLE " + l.local(e.table) + " " + l.OnCluster() + " MODIFY TTL " + e.after + " + INTERVAL " + e.days() + " DAY"
}

// retain sets the TTL of tables where the configuration differs from what they have.
func (s *Store) retain(ctx context.Context) error {
	for _, e := range s.retention.endings() {
		table := s.layout.local(e.table)
		var engine string
		err := s.conn.QueryRow(ctx, "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = {table:String}",
			named("table", table)...).Scan(&engine)
		if err != nil {
			return s.explain("read the retention of "+table, err)
		}
		if strings.Contains(engine, "toIntervalDay("+e.days()+")") {
			continue
		}
		if err := s.conn.Exec(ctx, e.statement(s.layout)); err != nil {
			return s.explain("set the retention of "+table, err)
		}
	}
	return nil
}
