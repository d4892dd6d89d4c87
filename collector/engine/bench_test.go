package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func BenchmarkInsert(b *testing.B) {
	conn := dial(b, testenv.Engine(b), &clickhouse.Compression{Method: clickhouse.CompressionLZ4})
	exec(b, conn,
		"CREATE TABLE edges (time DateTime64(9,'UTC'), identity LowCardinality(String), resource LowCardinality(String), bytes UInt64) ENGINE = MergeTree ORDER BY (identity, time)",
		"CREATE TABLE reach (identity LowCardinality(String), resource LowCardinality(String), bytes SimpleAggregateFunction(sum, UInt64), last SimpleAggregateFunction(max, DateTime64(9,'UTC'))) ENGINE = AggregatingMergeTree ORDER BY (identity, resource)",
		"CREATE MATERIALIZED VIEW to_reach TO reach AS SELECT identity, resource, sum(bytes) AS bytes, max(time) AS last FROM edges GROUP BY identity, resource")
	at := time.Date(2026, 11, 21, 22, 0, 0, 0, time.UTC)
	var names [1000]string
	for i := range names {
		names[i] = fmt.Sprintf("spiffe://ambit.local/node/n/unit/u%d", i)
	}
	const rows = 10_000
	for b.Loop() {
		batch, err := conn.PrepareBatch(b.Context(), "INSERT INTO edges")
		if err != nil {
			b.Fatal(err)
		}
		for i := range rows {
			if err := batch.Append(at.Add(time.Duration(i)), names[i%len(names)], names[i*7%len(names)], uint64(i)); err != nil {
				b.Fatal(err)
			}
		}
		if err := batch.Send(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*rows/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkPointQuery(b *testing.B) {
	conn := dial(b, testenv.Engine(b), nil)
	exec(b, conn, "CREATE TABLE reach (identity String, resource String, n UInt64) ENGINE = MergeTree ORDER BY (identity, resource)",
		"INSERT INTO reach SELECT toString(number % 10000), toString(number), number FROM numbers(1000000)", "OPTIMIZE TABLE reach FINAL")
	i := 0
	for b.Loop() {
		if n := number(b, conn, "SELECT count() FROM reach WHERE identity = ?", fmt.Sprint(i%10000)); n != 100 {
			b.Fatalf("%d rows, want 100", n)
		}
		i++
	}
}
