package store

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/ambit-nhi/ambit/event"
)

// maxBlockRows holds an insert well below what the server would split into several blocks (max_insert_block_size, about a million).
const maxBlockRows = 200_000

// InsertObservations stores rows. A call that is repeated with the same token and the same rows in the same order counts nothing twice, in
// no view, whether the earlier call failed, was cut short or went well; other rows under a known token are ignored. When it returns nil
// ClickHouse has everything and keeps it when it is killed. One call is one insert for each day of batch time.
func (s *Store) InsertObservations(ctx context.Context, token string, rows []ObservationRow) error {
	if token == "" {
		return fmt.Errorf("insert observations: no token")
	}
	for i := range rows {
		if err := rows[i].check(); err != nil {
			return fmt.Errorf("insert observations: row %d: %w: %w", i, ErrRefused, err)
		}
	}
	for _, b := range blocks(rows) {
		if err := insert(ctx, s, "observations", once(token, b.name), b.rows); err != nil {
			return err
		}
	}
	return nil
}

// once is for rows that count once, in the table and in its views, however often they come.
func once(token, block string) clickhouse.Settings {
	return clickhouse.Settings{
		"insert_deduplicate":                                 1,
		"insert_deduplication_token":                         token + "/" + block,
		"deduplicate_blocks_in_dependent_materialized_views": 1,
	}
}

type block struct {
	name string // differs within one call
	rows []ObservationRow
}

// blocks splits rows by day, since a block never spans two partitions, and keeps their order.
func blocks(rows []ObservationRow) []block {
	byDay := map[string][]ObservationRow{}
	var days []string
	if n := len(rows); n > 0 && sameDay(rows) {
		days, byDay[dayOf(rows[0].BatchTime)] = []string{dayOf(rows[0].BatchTime)}, rows
	} else {
		for i := range rows {
			d := dayOf(rows[i].BatchTime)
			if _, known := byDay[d]; !known {
				days = append(days, d)
			}
			byDay[d] = append(byDay[d], rows[i])
		}
	}
	var out []block
	for _, d := range days {
		n := 0
		for part := range slices.Chunk(byDay[d], maxBlockRows) {
			out = append(out, block{fmt.Sprintf("%s/%d", d, n), part})
			n++
		}
	}
	return out
}

func dayOf(t time.Time) string { return t.UTC().Format("20060102") }

// sameDay is the common case, in which nothing needs copying.
func sameDay(rows []ObservationRow) bool {
	first := rows[0].BatchTime.UTC().Truncate(day)
	for i := range rows {
		if !rows[i].BatchTime.UTC().Truncate(day).Equal(first) {
			return false
		}
	}
	return true
}

// Sighting says that a workload was running.
type Sighting struct {
	Workload event.Workload
	Node     string
	Time     time.Time
}

type sightingRow struct {
	Time time.Time `ch:"time"`
	Node string    `ch:"node"`
	workloadRow
}

// InsertSightings notes that workloads were running, so that identities that never connect are known. Repeating it changes nothing.
func (s *Store) InsertSightings(ctx context.Context, sightings []Sighting) error {
	rows := make([]sightingRow, len(sightings))
	for i := range sightings {
		x := &sightings[i]
		if x.Workload.Identity.IsZero() {
			return fmt.Errorf("insert sightings: row %d: %w: identity is missing", i, ErrRefused)
		}
		rows[i] = sightingRow{x.Time, x.Node, workloadRowOf(&x.Workload)}
	}
	return insert(ctx, s, "sightings", repeatable(), rows)
}

// repeatable is for rows that may be stored twice: the server must not mistake equal blocks for repeated ones.
func repeatable() clickhouse.Settings {
	return clickhouse.Settings{"insert_deduplicate": 0, "max_partitions_per_insert_block": 0}
}

// insert sends rows as one block, matched by column name.
func insert[T any](ctx context.Context, s *Store, table string, settings clickhouse.Settings, rows []T) error {
	if len(rows) == 0 {
		return nil
	}
	what := "insert " + table
	if s.layout.cluster != "" {
		settings["distributed_foreground_insert"] = 1 // see layout
	}
	columns := fields(reflect.TypeFor[T]())
	names := make([]string, len(columns))
	for i, f := range columns {
		names[i] = f.name
	}
	options := []clickhouse.QueryOption{clickhouse.WithSettings(settings)}
	types, plain := wireTypes(columns)
	if plain {
		options = append(options, clickhouse.WithColumnNamesAndTypes(types))
	}
	batch, err := s.conn.PrepareBatch(clickhouse.Context(ctx, options...), "INSERT INTO "+table+" ("+strings.Join(names, ", ")+")")
	if err != nil {
		return s.explainInsert(what, err)
	}
	defer batch.Close()
	if plain {
		if err := appendColumns(batch, columns, rows); err != nil {
			return fmt.Errorf("%s: %w: %w", what, ErrRefused, err)
		}
	} else {
		for i := range rows {
			if err := batch.AppendStruct(&rows[i]); err != nil {
				return fmt.Errorf("%s: row %d: %w: %w", what, i, ErrRefused, err) // it does not fit its columns
			}
		}
	}
	if err := batch.Send(); err != nil {
		return s.explainInsert(what, err)
	}
	return nil
}
