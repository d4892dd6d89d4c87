package store

import (
	"context"
	"fmt"
	"iter"
	"reflect"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/ambit-nhi/ambit/event"
)

// maxBlockRows holds an insert well below what the server would split into several blocks (max_insert_block_size, about a million).
const maxBlockRows = 200_000

// Message is a batch of observations with its number in the stream.
type Message struct {
	*event.Batch
	Sequence uint64
}

// InsertBatches stores the observations of messages, of which each is a row. A call that is repeated with the same token and the same messages in
// the same order counts nothing twice, in no view, whether the earlier call failed, was cut short or went well; other messages under a known token
// are ignored. When it returns nil ClickHouse has everything and keeps it when it is killed. One call is one insert for each day of batch time.
// Where one of them is refused, those before it are in.
func (s *Store) InsertBatches(ctx context.Context, token string, messages []Message) error {
	if token == "" {
		return fmt.Errorf("insert observations: no token")
	}
	for _, b := range blocks(messages, func(m *Message) time.Time { return m.Time }, func(m *Message) int { return m.Len() }) {
		if err := insertChunks(ctx, s, observations, once(token, b.name), made(b.rows)); err != nil {
			return err
		}
	}
	return nil
}

// chunkRows are as many rows as are made at a time, of about a kilobyte each.
const chunkRows = 512

// made makes the rows of messages, some at a time, in room that is used again.
func made(messages []Message) iter.Seq2[[]ObservationRow, error] {
	return func(yield func([]ObservationRow, error) bool) {
		rows := make([]ObservationRow, 0, chunkRows)
		for i := range messages {
			for o := range messages[i].Observations() {
				if len(rows) == cap(rows) {
					if !yield(rows, nil) {
						return
					}
					rows = rows[:0]
				}
				rows = append(rows, RowOf(o, messages[i].Time, messages[i].Sequence))
				if err := rows[len(rows)-1].check(); err != nil {
					yield(nil, fmt.Errorf("insert observations: message %d: %w: %w", messages[i].Sequence, ErrRefused, err))
					return
				}
			}
		}
		if len(rows) > 0 {
			yield(rows, nil)
		}
	}
}

// InsertObservations is [Store.InsertBatches] for rows that are made already. It checks all of them first.
func (s *Store) InsertObservations(ctx context.Context, token string, rows []ObservationRow) error {
	if token == "" {
		return fmt.Errorf("insert observations: no token")
	}
	for i := range rows {
		if err := rows[i].check(); err != nil {
			return fmt.Errorf("insert observations: row %d: %w: %w", i, ErrRefused, err)
		}
	}
	for _, b := range blocksOfRows(rows) {
		if err := insert(ctx, s, observations, once(token, b.name), b.rows); err != nil {
			return err
		}
	}
	return nil
}

func blocksOfRows(rows []ObservationRow) []block[ObservationRow] {
	return blocks(rows, func(r *ObservationRow) time.Time { return r.BatchTime }, func(*ObservationRow) int { return 1 })
}

// once is for rows that count once, in the table and in its views, however often they come.
func once(token, block string) clickhouse.Settings {
	return clickhouse.Settings{
		"insert_deduplicate":                                 1,
		"insert_deduplication_token":                         token + "/" + block,
		"deduplicate_blocks_in_dependent_materialized_views": 1,
	}
}

// observations is the table of whose rows there are many.
const observations = "observations"

type block[T any] struct {
	name string // differs within one call
	rows []T
}

// blocks splits rows, or what rows are made of, by day, since a block never spans two partitions, and keeps their order.
func blocks[T any](all []T, at func(*T) time.Time, rows func(*T) int) []block[T] {
	byDay := map[string][]T{}
	var days []string
	if len(all) > 0 && sameDay(all, at) {
		days = []string{dayOf(at(&all[0]))}
		byDay[days[0]] = all
	} else {
		for i := range all {
			d := dayOf(at(&all[i]))
			if _, known := byDay[d]; !known {
				days = append(days, d)
			}
			byDay[d] = append(byDay[d], all[i])
		}
	}
	var out []block[T]
	for _, d := range days {
		for n, rest := 0, byDay[d]; len(rest) > 0; n++ {
			end, sum := 0, 0
			for end < len(rest) && (end == 0 || sum+rows(&rest[end]) <= maxBlockRows) {
				sum += rows(&rest[end])
				end++
			}
			out = append(out, block[T]{fmt.Sprintf("%s/%d", d, n), rest[:end]})
			rest = rest[end:]
		}
	}
	return out
}

func dayOf(t time.Time) string { return t.UTC().Format("20060102") }

// sameDay is the common case, in which nothing needs copying.
func sameDay[T any](all []T, at func(*T) time.Time) bool {
	first := at(&all[0]).UTC().Truncate(day)
	for i := range all {
		if !at(&all[i]).UTC().Truncate(day).Equal(first) {
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
	return insertChunks(ctx, s, table, settings, func(yield func([]T, error) bool) {
		if len(rows) > 0 {
			yield(rows, nil)
		}
	})
}

// insertChunks is insert for rows that come in chunks, each of which is done with when the next one is asked for.
func insertChunks[T any](ctx context.Context, s *Store, table string, settings clickhouse.Settings, chunks iter.Seq2[[]T, error]) error {
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
	if plain && s.stream != nil && table == observations {
		return s.explainStream(what, insertStream(ctx, s.stream, table, columns, settings, chunks))
	}
	if plain {
		options = append(options, clickhouse.WithColumnNamesAndTypes(types))
	}
	var batch driver.Batch
	var room scratch
	for rows, err := range chunks {
		if err != nil {
			return err
		}
		if batch == nil {
			if batch, err = s.conn.PrepareBatch(clickhouse.Context(ctx, options...), "INSERT INTO "+table+" ("+strings.Join(names, ", ")+")"); err != nil {
				return s.explainInsert(what, err)
			}
			defer batch.Close()
		}
		if plain {
			err = appendColumns(batch, columns, rows, &room)
		} else {
			err = appendRows(batch, rows)
		}
		if err != nil { // they do not fit their columns
			return fmt.Errorf("%s: %w: %w", what, ErrRefused, err)
		}
	}
	if batch == nil { // no rows
		return nil
	}
	if err := batch.Send(); err != nil {
		return s.explainInsert(what, err)
	}
	return nil
}

func appendRows[T any](batch driver.Batch, rows []T) error {
	for i := range rows {
		if err := batch.AppendStruct(&rows[i]); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
	}
	return nil
}
