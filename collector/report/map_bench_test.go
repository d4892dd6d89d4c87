package report

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// BenchmarkPages prints the median time of what the web page asks of a large estate, see [benchIdentities].
func BenchmarkPages(b *testing.B) {
	c := store.Default()
	c.Socket = testenv.Engine(b)
	s, err := store.Open(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	if err := s.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	conn := raw(b, c.Socket)
	for _, sql := range estateSQL(benchIdentities(b)) {
		if err := conn.Exec(b.Context(), sql); err != nil {
			b.Fatal(err)
		}
	}
	r := New(s, nil)
	r.Reuse = time.Minute // as lists are asked for
	const one = "spiffe://bench.example/ns/ns1/sa/svc1"
	center, err := event.ParseIdentity(one)
	if err != nil {
		b.Fatal(err)
	}
	f := func(name string, ask func(ctx context.Context) (int, error)) {
		b.Run(name, func(b *testing.B) {
			var times []time.Duration
			items := 0
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
			b.ReportMetric(float64(times[len(times)-1].Milliseconds()), "max-ms")
			b.ReportMetric(float64(items), "items")
		})
	}
	edges := func(q MapQuery) func(ctx context.Context) (int, error) {
		return func(ctx context.Context) (int, error) {
			q.Window = 90 * day
			m, err := r.Map(ctx, noon, q)
			if err != nil {
				return 0, err
			}
			return len(m.Nodes), nil
		}
	}
	f("map-1", edges(MapQuery{Center: one}))
	f("map-500-nodes", edges(MapQuery{Center: one, Depth: 2, Limit: 560}))
	f("map-2", edges(MapQuery{Center: one, Depth: 2}))
	f("map-namespace", edges(MapQuery{Namespace: "ns1"}))
	f("map-all", edges(MapQuery{}))
	f("activity", func(ctx context.Context) (int, error) {
		a, err := r.Activity(ctx, center, noon, 28*day)
		return len(a.Days), err
	})
	cursor := ""
	f("identities-first", func(ctx context.Context) (int, error) {
		d, err := r.Directory(ctx, noon, DirectoryQuery{Limit: 50})
		cursor = d.Next
		return len(d.Items), err
	})
	f("identities-next", func(ctx context.Context) (int, error) {
		d, err := r.Directory(ctx, noon, DirectoryQuery{Limit: 50, Cursor: cursor})
		return len(d.Items), err
	})
	f("identities-chosen-sorted", func(ctx context.Context) (int, error) {
		d, err := r.Directory(ctx, noon, DirectoryQuery{Limit: 50, Text: "svc4", Sort: "-last-used", Facets: map[string]string{"environment": "prod"}})
		return len(d.Items), err
	})
}
