package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// The tables of these tests: a source, two views beside each other, and one
// behind a view. Each keeps the blocks inserted last, so that a repeat counts once.
const window = " SETTINGS non_replicated_deduplication_window = 10000"

var dedupTables = []string{
	"CREATE TABLE source (batch UInt64, i UInt64) ENGINE = MergeTree ORDER BY (batch, i)" + window,
	"CREATE TABLE by_batch (batch UInt64, n SimpleAggregateFunction(sum, UInt64)) ENGINE = AggregatingMergeTree ORDER BY batch" + window,
	"CREATE TABLE total (k UInt8, n AggregateFunction(count)) ENGINE = AggregatingMergeTree ORDER BY k" + window,
	"CREATE TABLE chained (k UInt8, n SimpleAggregateFunction(sum, UInt64)) ENGINE = AggregatingMergeTree ORDER BY k" + window,
	"CREATE MATERIALIZED VIEW to_by_batch TO by_batch AS SELECT batch, count() AS n FROM source GROUP BY batch",
	"CREATE MATERIALIZED VIEW to_total TO total AS SELECT 1 AS k, countState() AS n FROM source",
	"CREATE MATERIALIZED VIEW to_chained TO chained AS SELECT 1 AS k, sum(n) AS n FROM by_batch",
}

const batchRows = 100

// insertBatch inserts a batch under a token that names it.
func insertBatch(ctx context.Context, conn clickhouse.Conn, number uint64) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"insert_deduplication_token":                         fmt.Sprintf("batch-%d", number),
		"deduplicate_blocks_in_dependent_materialized_views": 1,
	}))
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO source")
	if err != nil {
		return err
	}
	defer batch.Close()
	for i := range batchRows {
		if err := batch.Append(number, uint64(i)); err != nil {
			return err
		}
	}
	return batch.Send()
}

// wantBatches checks that all tables hold exactly the first n batches.
func wantBatches(t *testing.T, conn clickhouse.Conn, n uint64) {
	t.Helper()
	for what, query := range map[string]string{
		"source":   "SELECT count() FROM source",
		"by_batch": "SELECT sum(n) FROM by_batch",
		"total":    "SELECT countMerge(n) FROM total",
		"chained":  "SELECT sum(n) FROM chained",
	} {
		if got := number(t, conn, query); got != n*batchRows {
			t.Errorf("%s counts %d rows, want %d", what, got, n*batchRows)
		}
	}
	if got := number(t, conn, "SELECT uniqExact(batch) FROM source"); got != n {
		t.Errorf("source holds %d batches, want %d", got, n)
	}
}

func TestRepeatedInsertCountsOnce(t *testing.T) {
	config := testenv.EngineConfig(t)
	_, stop := testenv.Supervise(t, config)
	conn := dial(t, config.Server.Socket, nil)
	exec(t, conn, dedupTables...)
	insert := func(number uint64) {
		t.Helper()
		if err := insertBatch(t.Context(), conn, number); err != nil {
			t.Fatal(err)
		}
	}
	insert(0)
	insert(0)
	insert(1)
	wantBatches(t, conn, 2)
	exec(t, conn, "OPTIMIZE TABLE source FINAL", "OPTIMIZE TABLE total FINAL")
	insert(1)
	wantBatches(t, conn, 2)

	// A view that missed a batch gets it from the repeat.
	for i, view := range []string{"to_by_batch", "to_total", "to_chained"} {
		exec(t, conn, "DETACH TABLE "+view)
		insert(uint64(2 + i))
		exec(t, conn, "ATTACH TABLE "+view)
		insert(uint64(2 + i))
		wantBatches(t, conn, uint64(3+i))
	}

	stop()
	testenv.Supervise(t, config)
	conn = dial(t, config.Server.Socket, nil)
	insert(4)
	wantBatches(t, conn, 5)
}

// TestCrashBeforeCommit rebuilds the state that a kill leaves between the
// entry in the deduplication log and the commit of the part.
func TestCrashBeforeCommit(t *testing.T) {
	config := testenv.EngineConfig(t)
	supervisor, stop := testenv.Supervise(t, config)
	conn := dial(t, config.Server.Socket, nil)
	exec(t, conn, dedupTables...)
	for number := range uint64(3) {
		if err := insertBatch(t.Context(), conn, number); err != nil {
			t.Fatal(err)
		}
	}
	var part string
	if err := conn.QueryRow(t.Context(), "SELECT path FROM system.parts WHERE table = 'total' AND active ORDER BY max_block_number DESC LIMIT 1").Scan(&part); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(supervisor.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "restart", func() bool { return supervisor.Restarts() > 0 })
	stop()
	if err := os.RemoveAll(part); err != nil {
		t.Fatal(err)
	}
	testenv.Supervise(t, config)
	conn = dial(t, config.Server.Socket, nil)
	if lost := number(t, conn, "SELECT countMerge(n) FROM total"); lost >= 3*batchRows {
		t.Fatalf("view still has %d rows", lost)
	}
	for number := range uint64(3) {
		if err := insertBatch(t.Context(), conn, number); err != nil {
			t.Fatal(err)
		}
	}
	wantBatches(t, conn, 3)
}

func TestKillDuringInserts(t *testing.T) {
	config := testenv.EngineConfig(t)
	config.MinBackoff = time.Millisecond
	config.MaxBackoff = time.Millisecond
	supervisor, _ := testenv.Supervise(t, config)
	conn := dial(t, config.Server.Socket, nil)
	exec(t, conn, dedupTables...)
	acknowledged := uint64(0)
	for range 8 {
		after := time.Duration(rand.IntN(200_000)) * time.Microsecond
		victim := supervisor.PID()
		timer := time.AfterFunc(after, func() {
			if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
				t.Errorf("kill engine: %v", err)
			}
		})
		for {
			if err := insertBatch(t.Context(), conn, acknowledged); err != nil {
				break
			}
			acknowledged++
		}
		timer.Stop()
		waitFor(t, "repeated insert", func() bool { return insertBatch(t.Context(), conn, acknowledged) == nil })
		acknowledged++
		wantBatches(t, conn, acknowledged)
	}
	if supervisor.Restarts() != 8 {
		t.Errorf("%d restarts, want 8", supervisor.Restarts())
	}
}
