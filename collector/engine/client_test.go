package engine_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ambit-nhi/ambit/internal/testenv"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// row has a column of every type that Ambit may use.
type row struct {
	Nano   time.Time         `ch:"nano"`
	Micro  time.Time         `ch:"micro"`
	Milli  time.Time         `ch:"milli"`
	Text   string            `ch:"text"`
	Low    string            `ch:"low"`
	U8     uint8             `ch:"u8"`
	U16    uint16            `ch:"u16"`
	U32    uint32            `ch:"u32"`
	U64    uint64            `ch:"u64"`
	I64    int64             `ch:"i64"`
	Float  float64           `ch:"float"`
	Bool   bool              `ch:"bool"`
	IP     netip.Addr        `ch:"ip"`
	List   []string          `ch:"list"`
	Counts map[string]uint64 `ch:"counts"`
	ID     uuid.UUID         `ch:"id"`
	Kind   string            `ch:"kind"`
	Maybe  *string           `ch:"maybe"`
}

const rowColumns = `nano DateTime64(9,'UTC'), micro DateTime64(6,'UTC'), milli DateTime64(3,'UTC'), text String, low LowCardinality(String),
	u8 UInt8, u16 UInt16, u32 UInt32, u64 UInt64, i64 Int64, float Float64, bool Bool, ip IPv6, list Array(String), counts Map(String, UInt64),
	id UUID, kind Enum8('tcp'=1, 'udp'=2), maybe Nullable(String)`

func exampleRow(i int) row {
	at := time.Date(2026, 11, 21, 22, 0, 10, 123456789, time.UTC).Add(time.Duration(i) * time.Nanosecond)
	r := row{
		Nano: at, Micro: at.Truncate(time.Microsecond), Milli: at.Truncate(time.Millisecond),
		Text: fmt.Sprintf("line\n\x00\r\\'\"`;ü %d", i), Low: fmt.Sprintf("low\n%d", i%10),
		U8: uint8(i), U16: uint16(i) | 10<<8, U32: uint32(i) << 12, U64: uint64(i)<<40 | 10, I64: -int64(i), Float: float64(i) / 3, Bool: i%2 == 0,
		IP:   netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i%65536)),
		List: []string{"a\n", "", "c"}, Counts: map[string]uint64{"k\n": uint64(i), "": 1},
		ID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(fmt.Sprint(i))), Kind: "udp",
	}
	if i%2 == 0 {
		maybe := fmt.Sprintf("maybe\n%d", i)
		r.Maybe = &maybe
	}
	return r
}

func insertRows(ctx context.Context, conn clickhouse.Conn, table string, from, to int) error {
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO "+table)
	if err != nil {
		return err
	}
	defer batch.Close()
	for i := from; i < to; i++ {
		r := exampleRow(i)
		if err := batch.AppendStruct(&r); err != nil {
			return err
		}
	}
	return batch.Send()
}

func TestRoundTripOfAllTypes(t *testing.T) {
	socket := testenv.Engine(t)
	for name, compression := range map[string]*clickhouse.Compression{
		"plain":   nil,
		"lz4":     {Method: clickhouse.CompressionLZ4},
		"zstd":    {Method: clickhouse.CompressionZSTD, Level: 3},
		"gzip":    {Method: clickhouse.CompressionGZIP, Level: 3},
		"deflate": {Method: clickhouse.CompressionDeflate, Level: 3},
		"brotli":  {Method: clickhouse.CompressionBrotli, Level: 3},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, socket, compression)
			exec(t, conn, "CREATE DATABASE "+name, "CREATE TABLE "+name+".rows ("+rowColumns+") ENGINE = MergeTree ORDER BY u64")
			if err := insertRows(t.Context(), conn, name+".rows", 0, 1000); err != nil {
				t.Fatal(err)
			}
			var got []row
			if err := conn.Select(t.Context(), &got, "SELECT * FROM "+name+".rows ORDER BY u64"); err != nil {
				t.Fatal(err)
			}
			if len(got) != 1000 {
				t.Fatalf("read %d rows, want 1000", len(got))
			}
			for i := range got {
				if want := exampleRow(i); !reflect.DeepEqual(got[i], want) {
					t.Fatalf("row %d:\n got %+v\nwant %+v", i, got[i], want)
				}
			}
		})
	}
}

func TestLargeBatchFiresView(t *testing.T) {
	conn := dial(t, testenv.Engine(t), &clickhouse.Compression{Method: clickhouse.CompressionLZ4})
	exec(t, conn,
		"CREATE TABLE rows ("+rowColumns+") ENGINE = MergeTree ORDER BY u64",
		`CREATE TABLE sums (low LowCardinality(String), n SimpleAggregateFunction(sum, UInt64), first SimpleAggregateFunction(min, DateTime64(9,'UTC')),
			ids AggregateFunction(uniqExact, UUID)) ENGINE = AggregatingMergeTree ORDER BY low`,
		"CREATE MATERIALIZED VIEW to_sums TO sums AS SELECT low, count() AS n, min(nano) AS first, uniqExactState(id) AS ids FROM rows GROUP BY low")
	const rows = 100_000
	if err := insertRows(t.Context(), conn, "rows", 0, rows); err != nil {
		t.Fatal(err)
	}
	if n := number(t, conn, "SELECT count() FROM rows"); n != rows {
		t.Errorf("table has %d rows, want %d", n, rows)
	}
	var n, ids uint64
	var first time.Time
	if err := conn.QueryRow(t.Context(), "SELECT sum(n), uniqExactMerge(ids), min(first) FROM sums").Scan(&n, &ids, &first); err != nil {
		t.Fatal(err)
	}
	if n != rows || ids != rows || !first.Equal(exampleRow(0).Nano) {
		t.Errorf("view has %d rows, %d ids, first %v; want %d, %d, %v", n, ids, first, rows, rows, exampleRow(0).Nano)
	}
}

func TestParametersAndSettings(t *testing.T) {
	conn := dial(t, testenv.Engine(t), nil)
	exec(t, conn, "CREATE TABLE rows ("+rowColumns+") ENGINE = MergeTree ORDER BY u64")
	if err := insertRows(t.Context(), conn, "rows", 0, 100); err != nil {
		t.Fatal(err)
	}
	ctx := clickhouse.Context(t.Context(), clickhouse.WithParameters(clickhouse.Parameters{"low": "low\\n3", "least": "7", "list": "['a','b\\'c']"}))
	var n uint64
	var list []string
	if err := conn.QueryRow(ctx, "SELECT count(), {list:Array(String)} FROM rows WHERE low = {low:String} AND u8 > {least:UInt8}").Scan(&n, &list); err != nil {
		t.Fatal(err)
	}
	if n != 9 || !reflect.DeepEqual(list, []string{"a", "b'c"}) {
		t.Errorf("got %d rows and %q, want 9 and [a b'c]", n, list)
	}
	if n := number(t, conn, "SELECT count() FROM rows WHERE low = ? AND ip = ?", "low\n3", exampleRow(3).IP.String()); n != 1 {
		t.Errorf("client-side parameters found %d rows, want 1", n)
	}

	limited := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_rows_to_read": 10}))
	var e *clickhouse.Exception
	if err := conn.QueryRow(limited, "SELECT count() FROM rows WHERE float > 1").Scan(&n); !errors.As(err, &e) || e.Code != 158 {
		t.Errorf("query over its limit: got %v, want exception 158", err)
	}
	number(t, conn, "SELECT count() FROM rows WHERE float > 1") // the limit did not stay
	if err := conn.Exec(clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"readonly": 1})), "DROP TABLE rows"); !errors.As(err, &e) || e.Code != 164 {
		t.Errorf("DROP with readonly=1: got %v, want exception 164", err)
	}

	exec(t, conn, "CREATE DATABASE other", "CREATE TABLE other.t (a UInt8, s String) ENGINE = Memory")
	exec(t, conn, "INSERT INTO other.t VALUES (1, 'a;b\n c'), (2, 'FORMAT x')", "INSERT INTO other.t (a) SELECT 3")
	in := clickhouse.Context(t.Context(), clickhouse.WithParameters(clickhouse.Parameters{"t": "other"}))
	if err := conn.QueryRow(in, "SELECT count() FROM {t:Identifier}.t").Scan(&n); err != nil || n != 3 {
		t.Errorf("got %d rows and %v, want 3", n, err)
	}
	if zone := ""; true {
		if err := conn.QueryRow(t.Context(), "SELECT timezone()").Scan(&zone); err != nil || !strings.HasSuffix(zone, "UTC") {
			t.Errorf("engine's time zone is %q (%v), want UTC", zone, err)
		}
	}
}

func TestExceptions(t *testing.T) {
	socket := testenv.Engine(t)
	for _, compression := range []*clickhouse.Compression{nil, {Method: clickhouse.CompressionLZ4}, {Method: clickhouse.CompressionZSTD}, {Method: clickhouse.CompressionGZIP, Level: 3}} {
		conn := dial(t, socket, compression)
		for query, code := range map[string]int32{
			"SELECT * FROM absent":             60,
			"SELECT * FROM absent.absent":      81,
			"SELEC 1":                          62,
			"SELECT nope(1)":                   46,
			"SELECT throwIf(1, 'boom')":        395,
			"SELECT 1 SETTINGS no_such = 1":    115,
			"INSERT INTO absent VALUES (1)":    60,
			"INSERT INTO absent SELECT 1":      60,
			"CREATE TABLE x (a Nope) ENGINE=M": 50,
			"SELECT 1 FORMAT Nope":             73,
		} {
			var e *clickhouse.Exception
			err := conn.Exec(t.Context(), query)
			if !errors.As(err, &e) || e.Code != code {
				t.Errorf("%s: got %v, want exception %d", query, err, code)
			}
			if err != nil && strings.Count(err.Error(), "\n") > 0 {
				t.Errorf("%s: message has several lines: %q", query, err)
			}
		}
		// After the first rows the status is out; the error comes in the stream.
		rows, err := conn.Query(t.Context(), "SELECT throwIf(number = 1900000, 'boom'), randomPrintableASCII(20) FROM numbers(2000000)")
		if err == nil {
			for rows.Next() {
			}
			err = rows.Err()
			rows.Close()
		}
		var e *clickhouse.Exception
		if !errors.As(err, &e) || e.Code != 395 || !strings.Contains(e.Message, "boom") {
			t.Errorf("error within the rows: got %v, want exception 395", err)
		}
		// A refused batch names its cause and stores nothing.
		exec(t, conn, "DROP TABLE IF EXISTS strict SYNC", "CREATE TABLE strict (a UInt8, CONSTRAINT small CHECK a < 10) ENGINE = MergeTree ORDER BY a")
		batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO strict")
		if err != nil {
			t.Fatal(err)
		}
		for a := range 20 {
			if err := batch.Append(uint8(a)); err != nil {
				t.Fatal(err)
			}
		}
		if err := batch.Send(); !errors.As(err, &e) || e.Code != 469 {
			t.Errorf("batch against a constraint: got %v, want exception 469", err)
		}
		if n := number(t, conn, "SELECT count() FROM strict"); n != 0 {
			t.Errorf("refused batch left %d rows", n)
		}
	}
}

func TestCancelEndsQuery(t *testing.T) {
	conn := dial(t, testenv.Engine(t), nil)
	for _, query := range []string{
		"SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))",
		"SELECT sipHash64(number) AS h FROM numbers(1000000000000) WHERE h = 0",
		"INSERT INTO FUNCTION null('x UInt64') SELECT sipHash64(number) FROM numbers(1000000000000)",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- conn.Exec(ctx, query) }()
		running := func() uint64 {
			return number(t, conn, "SELECT count() FROM system.processes WHERE query LIKE '%1000000000000%' AND query NOT LIKE '%processes%'")
		}
		waitFor(t, "query to run", func() bool { return running() == 1 })
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want cancelled", query, err)
		}
		waitFor(t, "query to end", func() bool { return running() == 0 })
	}
}

func TestConcurrentQueriesAndInserts(t *testing.T) {
	socket := testenv.Engine(t)
	setup := dial(t, socket, nil)
	exec(t, setup, "CREATE TABLE work (worker UInt32, i UInt64) ENGINE = MergeTree ORDER BY (worker, i)")
	var g errgroup.Group
	const workers, rounds, rows = 20, 5, 1000 // more workers than slots
	for worker := range workers {
		conn := dial(t, socket, nil)
		g.Go(func() error {
			for round := range rounds {
				batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO work")
				if err != nil {
					return err
				}
				for i := range rows {
					if err := batch.Append(uint32(worker), uint64(round*rows+i)); err != nil {
						return err
					}
				}
				if err := batch.Send(); err != nil {
					return err
				}
				var n uint64
				if err := conn.QueryRow(t.Context(), "SELECT count() FROM work WHERE worker = ?", worker).Scan(&n); err != nil {
					return err
				}
				if want := uint64((round + 1) * rows); n != want {
					return fmt.Errorf("worker %d sees %d of its own rows, want %d", worker, n, want)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := number(t, setup, "SELECT count() FROM work"); n != workers*rounds*rows {
		t.Errorf("%d rows, want %d", n, workers*rounds*rows)
	}
}

// waitFor polls a state of another process, which cannot be waited for
// otherwise, and gives up after long.
func waitFor(t testing.TB, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !reached(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}
