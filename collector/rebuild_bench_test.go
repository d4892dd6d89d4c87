package collector

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// fill puts edges into the store: of each identity ten, half of them to what others reach, too.
func fill(b *testing.B, s *store.Store, identities int) {
	b.Helper()
	var messages []store.Message
	var at time.Time
	rows := 0
	flush := func() {
		if err := s.InsertBatches(b.Context(), fmt.Sprint("fill", rows), messages); err != nil {
			b.Fatal(err)
		}
		messages = nil
	}
	const together = 100
	for i := 0; i < identities; i += together {
		node := fmt.Sprintf("n%d", i/together%200)
		at = epoch.Add(time.Duration(i/together) * time.Second)
		builder := event.NewBatchBuilder(node, "boot", epoch)
		var sightings []store.Sighting
		for j := range together {
			w := busy
			id, err := event.ParseIdentity(fmt.Sprintf("spiffe://test.example/ns/ns-%d/sa/s%d", (i+j)%500, i+j))
			if err != nil {
				b.Fatal(err)
			}
			w.Identity, w.Namespace = id, fmt.Sprintf("ns-%d", (i+j)%500)
			sightings = append(sightings, store.Sighting{Workload: w, Node: node, Time: at})
			for k := range 10 {
				o := observation(at, 443)
				o.Workload = w
				n := uint32(0xf00000 + k)
				if k >= 5 {
					n = uint32((i+j)*10 + k)
				}
				o.Peer.Address = netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
				builder.Add(&o)
			}
		}
		rows += 10 * together
		data, err := builder.Encode(uint64(i+1), 0, at)
		if err != nil {
			b.Fatal(err)
		}
		batch, err := event.DecodeBatch(data)
		if err != nil {
			b.Fatal(err)
		}
		messages = append(messages, store.Message{Batch: batch, Sequence: uint64(i + 1)})
		if err := s.InsertSightings(b.Context(), sightings); err != nil {
			b.Fatal(err)
		}
		if len(messages) == 50 {
			flush()
		}
	}
	if len(messages) > 0 {
		flush()
	}
	var coverage []store.Coverage
	for i := range 200 {
		coverage = append(coverage, store.Coverage{Node: fmt.Sprintf("n%d", i), Boot: "boot", From: epoch.Add(-48 * time.Hour), Until: at})
	}
	if err := s.InsertCoverage(b.Context(), coverage); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRebuild makes the detectors of 16 partitions, of 1,000,000 edges in all, from the store and from what was saved.
func BenchmarkRebuild(b *testing.B) {
	s, bus := openStore(b), openBus(b, b.TempDir())
	fill(b, s, 100_000)
	n := newNode(b, bus, "n1")
	c, err := New(Default(), bus, s, prometheus.NewRegistry(), quiet)
	if err != nil {
		b.Fatal(err)
	}
	of, err := c.openShift(b.Context(), n.js)
	if err != nil {
		b.Fatal(err)
	}
	of.work, of.ending = b.Context(), b.Context()
	workers := map[int]*worker{}
	edges := func() (sum uint64) {
		for _, w := range workers {
			sum += w.gauges()["edges"]
		}
		return sum
	}
	whole := func() {
		if got := edges(); got != 1_000_000 {
			b.Fatalf("the detectors have %d edges", got)
		}
	}
	b.Run("store", func(b *testing.B) {
		for b.Loop() {
			for p := range of.cfg.Partitions {
				workers[p] = of.newWorker(p, b.Context())
				workers[p].tracker = newTracker(p)
			}
			if err := of.restore(b.Context(), workers); err != nil {
				b.Fatal(err)
			}
		}
		whole()
		b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s")
	})
	bytes := 0
	b.Run("save", func(b *testing.B) {
		for b.Loop() {
			bytes = 0
			for _, w := range workers {
				w.unshared = nil
				for data := []byte("x"); data != nil; { // what a start tells the other partitions
					if data, err = w.detector.Notes(); err != nil {
						b.Fatal(err)
					}
				}
				written, err := w.writeState(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				bytes += len(written.data)
				w.save(b.Context(), written)
			}
		}
		b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s")
		b.ReportMetric(float64(bytes)/1_000_000, "bytes/edge")
	})
	b.Run("saved", func(b *testing.B) {
		for b.Loop() {
			for p := range of.cfg.Partitions {
				found, why, err := of.loadState(b.Context(), p, 0, 1<<40)
				if err != nil || found == nil {
					b.Fatal(why, err)
				}
				workers[p].mind = found.mind
			}
		}
		whole()
		b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s")
	})
}
