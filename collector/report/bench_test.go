package report

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// benchIdentities is the size of the benchmark: each has 50 edges, 10 of them to other identities, and 100 observations. AMBIT_BENCH_IDENTITIES=100000 is
// what the figures in the README are of.
func benchIdentities(t testing.TB) int {
	text := os.Getenv("AMBIT_BENCH_IDENTITIES")
	if text == "" {
		return 2000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// estateSQL fills a database within the engine: observations, from which its views make the rest, an inventory and coverage of 200 days.
func estateSQL(n int) []string {
	const name = "concat('spiffe://bench.example/ns/ns', toString(%[1]s %% 200), '/sa/svc', toString(%[1]s))"
	id := fmt.Sprintf(name, "i")
	peer := fmt.Sprintf(name, fmt.Sprintf("((i * 7 + j * 977 + 1) %% %d)", n))
	declared := fmt.Sprintf(name, "number")
	var out []string
	const part = 10_000
	for from := 0; from < n; from += part {
		out = append(out, fmt.Sprintf(`INSERT INTO observations (batch_time, sequence, node, time, first_time, identity, evidence, namespace, service_account, owner, executable, direction, protocol,
	resource, peer_identity, peer_evidence, connections, bytes_sent, bytes_received, tls_own_sha256, tls_own_not_before, tls_own_not_after)
WITH %[1]d + intDiv(number, 100) AS i, intDiv(number %% 100, 2) AS j, number %% 2 AS twice,
	toDateTime64('2026-11-20 12:00:00', 6, 'UTC') - INTERVAL (if(i %% 20 = 0, 120, 1 + (i + j) %% 60) + twice * 70) DAY AS at
SELECT toDateTime64('2026-11-20 12:00:00', 6, 'UTC'), number, concat('node', toString(i %% 500)), at, at - INTERVAL 10 SECOND, %[2]s, 'kubernetes', concat('ns', toString(i %% 200)),
	concat('svc', toString(i)), concat('Deployment/svc', toString(i)), '/app/server', if(j %% 5 = 4, 'inbound', 'outbound'), 'tcp',
	multiIf(j < 10, concat(%[3]s, ':8443/tcp'), j < 40, concat('dns:r', toString((i * 31 + j) %% 5000), '.shop', toString(j), '.example:443/tcp'),
		concat('net:', if(j %% 3 = 0, '203.0.113.', '10.1.2.'), toString((i + j) %% 256), '/32:5432/tcp')),
	if(j < 10, %[3]s, ''), if(j < 10, 'kubernetes', ''), 3, 1000, 2000, if(j = 0 AND i %% 2 = 0, concat('sha', toString(i), '-', toString(twice)), ''),
	if(j = 0, toDateTime64('2026-11-18 00:00:00', 0, 'UTC'), toDateTime64(0, 0, 'UTC')),
	if(j = 0, toDateTime64('2026-11-18 00:00:00', 0, 'UTC') + INTERVAL if(i %% 10 = 0, 400, 1) DAY, toDateTime64(0, 0, 'UTC'))
FROM numbers(%[4]d) SETTINGS insert_deduplicate = 0, max_insert_block_size = 200000`, from, id, peer, 100*min(part, n-from)))
	}
	return append(out,
		fmt.Sprintf(`INSERT INTO inventory (identity, source, source_name, kind, namespace, name, owner, purpose, environment, privilege, privilege_reasons, tokens, created, labels, annotations, first_declared, last_declared, gone, version)
SELECT %s, 'kubernetes', 'prod', 'service-account', concat('ns', toString(number %% 200)), concat('svc', toString(number)), if(number %% 3 = 0, '', 'team a'), if(number %% 4 = 0, '', 'serve'), 'prod',
	if(number %% 50 = 0, 'high', 'low'), if(number %% 50 = 0, ['may read secrets'], []), if(number %% 25 = 0, ['bound', 'legacy-secret'], ['bound']),
	toDateTime64('2026-01-20 12:00:00', 0, 'UTC'), map('app', 'x'), map('ambit.dev/owner', 'team a'), toDateTime64('2026-01-20 12:00:00', 6, 'UTC'), toDateTime64('2026-01-20 12:00:00', 6, 'UTC'),
	if(number %% 40 = 0, toDateTime64('2026-10-01 12:00:00', 6, 'UTC'), toDateTime64(0, 6, 'UTC')), 1 FROM numbers(%d) SETTINGS insert_deduplicate = 0`, declared, n+n/20),
		`INSERT INTO inventory_sources (source, name, last_time, last_complete, entries, refused, version) VALUES ('kubernetes', 'prod', '2026-11-20 12:00:00', '2026-11-20 12:00:00', 1, 0, 1)`,
		`INSERT INTO coverage (node, boot, hour, from_time, until_time, lost, missing, version, kernel) SELECT concat('node', toString(number % 500)), 'b',
	toDateTime('2026-11-20 12:00:00', 'UTC') - INTERVAL intDiv(number, 500) DAY, toDateTime64('2026-05-01 12:00:00', 6, 'UTC'), toDateTime64('2026-11-20 12:00:00', 6, 'UTC') - INTERVAL intDiv(number, 500) DAY,
	map(), [], '1', '6.1' FROM numbers(50000)`,
	)
}

// raw is a connection to an engine, for what a store does not do.
func raw(t testing.TB, socket string) driver.Conn {
	t.Helper()
	c, err := clickhouse.Open(&clickhouse.Options{
		Protocol: clickhouse.HTTP, Addr: []string{"localhost:0"}, Auth: clickhouse.Auth{Database: store.Default().Database}, ReadTimeout: 10 * time.Minute,
		DialContext: func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// selectedRows asks how many rows the engine has read since it started.
const selectedRows = "SELECT value FROM system.events WHERE event = 'SelectedRows'"

func number(b *testing.B, conn driver.Conn, sql string) (n uint64) {
	b.Helper()
	if err := conn.QueryRow(b.Context(), sql).Scan(&n); err != nil {
		b.Fatal(err)
	}
	return n
}

// benchEngine is an engine for the benchmark. AMBIT_BENCH_DATA names a folder that keeps the data for the next time: making them takes minutes.
func benchEngine(b *testing.B) (socket string) {
	b.Helper()
	config := testenv.EngineConfig(b)
	if folder := os.Getenv("AMBIT_BENCH_DATA"); folder != "" {
		config.Server.Data = folder
	}
	testenv.Supervise(b, config)
	return config.Server.Socket
}

// cpu is what this process and its children have burnt: on a busy machine it says more than the clock.
func cpu(b *testing.B) (sum time.Duration) {
	b.Helper()
	pids := []string{"self"}
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		b.Fatal(err)
	}
	for _, list := range lists {
		if data, err := os.ReadFile(list); err == nil { // a thread may have ended
			pids = append(pids, strings.Fields(string(data))...)
		}
	}
	for _, pid := range pids {
		data, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			continue
		}
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		for _, text := range fields[11:13] { // user and system, in hundredths of a second
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum
}

// BenchmarkReports prints the median time of each report, and of the first page of each list.
func BenchmarkReports(b *testing.B) {
	n := benchIdentities(b)
	c := store.Default()
	c.Socket = benchEngine(b)
	s, err := store.Open(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	if err := s.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	conn := raw(b, c.Socket)
	if number(b, conn, "SELECT count() FROM observations") == 0 {
		for _, sql := range estateSQL(n) {
			if err := conn.Exec(b.Context(), sql); err != nil {
				b.Fatal(err)
			}
		}
	}
	r := New(s, nil)
	one, err := event.ParseIdentity("spiffe://bench.example/ns/ns1/sa/svc1")
	if err != nil {
		b.Fatal(err)
	}
	const window = 90 * day
	f := func(name string, ask func(ctx context.Context) (int, error)) {
		b.Run(name, func(b *testing.B) {
			var times []time.Duration
			items, burnt, rows := 0, cpu(b), number(b, conn, selectedRows)
			for b.Loop() {
				began := time.Now()
				n, err := ask(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				times, items = append(times, time.Since(began)), n
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Milliseconds()), "median-ms")
			b.ReportMetric(float64(items), "items")
			b.ReportMetric(float64((cpu(b)-burnt).Milliseconds())/float64(len(times)), "cpu-ms/op")
			b.ReportMetric(float64(number(b, conn, selectedRows)-rows)/1000/float64(len(times)), "krows/op")
		})
	}
	f("unused", func(ctx context.Context) (int, error) {
		got, err := r.Unused(ctx, noon, UnusedQuery{Window: window})
		return len(got.Items), err
	})
	f("unused-since-last", func(ctx context.Context) (int, error) {
		got, err := r.Unused(ctx, noon, UnusedQuery{Window: window, Changes: true})
		return len(got.Items), err
	})
	f("high-risk", func(ctx context.Context) (int, error) {
		got, err := r.HighRisk(ctx, noon, RiskQuery{Window: window})
		return int(got.Total), err
	})
	f("metrics", func(ctx context.Context) (int, error) {
		got, err := r.Metrics(ctx, noon, window)
		return len(got.Items), err
	})
	f("inventory", func(ctx context.Context) (int, error) {
		got, err := r.Groups(ctx, noon, window, "", Paging{})
		return len(got.Items), err
	})
	f("ownership", func(ctx context.Context) (int, error) {
		got, err := r.Ownership(ctx, noon, window, Paging{})
		return int(got.Total), err
	})
	// As `ambit up` asks, which reads all identities anew after ten times as long as that takes.
	shared := New(s, nil)
	shared.Reuse = time.Minute
	f("high-risk-shared", func(ctx context.Context) (int, error) {
		got, err := shared.HighRisk(ctx, noon, RiskQuery{Window: window})
		return int(got.Total), err
	})
	f("metrics-shared", func(ctx context.Context) (int, error) {
		got, err := shared.Metrics(ctx, noon, window)
		return len(got.Items), err
	})
	f("inventory-shared", func(ctx context.Context) (int, error) {
		got, err := shared.Groups(ctx, noon, window, "", Paging{})
		return len(got.Items), err
	})
	f("ownership-shared", func(ctx context.Context) (int, error) {
		got, err := shared.Ownership(ctx, noon, window, Paging{})
		return int(got.Total), err
	})
	f("reviews", func(ctx context.Context) (int, error) {
		got, err := r.Reviews(ctx, noon, window, "", Paging{})
		return int(got.Total), err
	})
	f("coverage", func(ctx context.Context) (int, error) {
		got, err := r.Coverage(ctx, noon, window, Paging{})
		return len(got.Items), err
	})
	f("blast-radius-3", func(ctx context.Context) (int, error) {
		got, err := r.BlastRadius(ctx, one, noon, GraphQuery{Window: window, Depth: 3})
		return got.Identities, err
	})
	f("who-can-reach-3", func(ctx context.Context) (int, error) {
		got, err := r.WhoCanReach(ctx, one.String(), noon, GraphQuery{Window: window, Depth: 3})
		return got.Identities, err
	})
	f("who-can-reach-resource-3", func(ctx context.Context) (int, error) {
		got, err := r.WhoCanReach(ctx, "dns:r43.shop12.example:443/tcp", noon, GraphQuery{Window: window, Depth: 3})
		return got.Identities, err
	})
	f("first-page-identities", func(ctx context.Context) (int, error) {
		got, err := r.Identities(ctx, store.IdentityFilter{Limit: 100}, "", "")
		return len(got.Items), err
	})
	f("first-page-reach", func(ctx context.Context) (int, error) {
		got, err := r.Reach(ctx, one, store.ReachFilter{Limit: 100})
		return len(got.Items), err
	})
	f("first-page-inventory", func(ctx context.Context) (int, error) {
		got, err := r.Inventory(ctx, store.InventoryFilter{Limit: 100}, "")
		return len(got.Items), err
	})
	f("first-page-findings", func(ctx context.Context) (int, error) {
		got, err := r.Findings(ctx, store.FindingFilter{Limit: 100})
		return len(got.Items), err
	})
}
