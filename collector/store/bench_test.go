package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// BenchmarkInsert stores 10,000 rows, of 1,000 identities with ten resources each, through both views.
func BenchmarkInsert(b *testing.B) {
	s := open(b)
	var rows []ObservationRow
	for i := range 10_000 {
		o := toward(b, fmt.Sprintf("spiffe://shop.example/ns/shop/sa/w%d", i%1000), fmt.Sprintf("r%d.example", i/1000), noon, event.Counts{Connections: 1, BytesSent: 100})
		rows = append(rows, RowOf(o, noon, uint64(i)))
	}
	n := 0
	for b.Loop() {
		n++
		if err := s.InsertObservations(b.Context(), fmt.Sprint(n), rows); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n*len(rows))/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkReach asks for one identity's reach among 500,000 edges.
func BenchmarkReach(b *testing.B) {
	s := open(b)
	crowd(b, s, 50_000)
	id := identity(b, "spiffe://crowd.example/ns/n/sa/4711")
	for b.Loop() {
		if found, _, err := s.Reach(b.Context(), id, ReachFilter{}); err != nil || len(found) != 10 {
			b.Fatal(len(found), err)
		}
	}
}

// BenchmarkEachReach restores 1,000,000 edges, and what a filter makes of it that wants one identity of sixteen.
func BenchmarkEachReach(b *testing.B) {
	s := open(b)
	crowd(b, s, 100_000)
	f := func(name string, in func(event.Identity) bool) {
		b.Run(name, func(b *testing.B) {
			read := 0
			for b.Loop() {
				err := s.EachReach(b.Context(), in, func(event.Identity, event.Resource, time.Time, time.Time, uint64) error {
					read++
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "visits/s")
			b.ReportMetric(float64(b.N)*1_000_000/b.Elapsed().Seconds(), "rows/s")
		})
	}
	f("all", nil)
	f("filter", func(id event.Identity) bool { return event.Partition(id, 16) == 3 })
}

func BenchmarkRowOf(b *testing.B) {
	o := full(b)
	b.ReportAllocs()
	for b.Loop() {
		RowOf(o, noon, 1)
	}
}
