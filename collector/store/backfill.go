package store

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// backfilled are the views whose targets get what was observed before the view was made. The others tell of what agents did not tell before.
var backfilled = []string{"identities_from_observations", "reach_from_observations", "observations_daily_from_observations", "links_from_reach", "coverage_daily_from_coverage", "exposure_from_reach"}

// backfilledWhole are those that are filled at once: reach has no days, and coverage is small.
var backfilledWhole = []string{"links_from_reach", "coverage_daily_from_coverage", "exposure_from_reach"}

var createsView = regexp.MustCompile(`(?s)\bCREATE MATERIALIZED VIEW IF NOT EXISTS ([a-z_]+)\s+TO ([a-z_]+) AS\s+(SELECT\b.*)`)

// backfill fills the targets of the views that a migration has made, day by day, each under a token: one that was cut short is repeated whole and
// counts nothing twice. Nobody may insert observations meanwhile, or what came since the view was made counts twice.
func (s *Store) backfill(ctx context.Context, m *migration) error {
	statements, err := m.statements(layout{}) // the names that questions and inserts use
	if err != nil {
		return err
	}
	for _, sql := range statements {
		view := createsView.FindStringSubmatch(sql)
		if view == nil || !slices.Contains(backfilled, view[1]) {
			continue
		}
		var columns []string
		var days []uint32
		var column string
		var day uint32
		err := s.scan(ctx, "read columns of "+view[1], "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {view:String} ORDER BY position",
			named("view", view[1]), []any{&column}, func() error { columns = append(columns, column); return nil })
		if err != nil {
			return err
		}
		err = s.scan(ctx, "read days of observations", "SELECT DISTINCT toYYYYMMDD(batch_time) AS day FROM observations ORDER BY day",
			nil, []any{&day}, func() error { days = append(days, day); return nil })
		if err != nil {
			return err
		}
		list := strings.Join(columns, ", ")
		if slices.Contains(backfilledWhole, view[1]) {
			days = []uint32{0}
		}
		for _, day := range days {
			of := strings.Replace(view[3], "FROM observations AS o", fmt.Sprintf("FROM (SELECT * FROM observations WHERE toYYYYMMDD(batch_time) = %d) AS o", day), 1)
			settings := clickhouse.Settings{
				"insert_deduplicate": 1, "insert_deduplication_token": fmt.Sprintf("backfill/%s/%d", view[1], day),
				"max_threads": 1, "max_insert_threads": 1, // the same blocks each time
				"max_bytes_before_external_group_by": 512 << 20, "max_bytes_before_external_sort": 512 << 20,
			}
			if s.layout.cluster != "" {
				settings["distributed_foreground_insert"] = 1
			}
			err := s.conn.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(settings)),
				fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM (%s) ORDER BY ALL", view[2], list, list, of))
			if err != nil {
				return s.explain(fmt.Sprintf("fill %s with what was observed on %d", view[2], day), err)
			}
		}
	}
	return nil
}
