package detector

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// A node's interval: 1,000 identities with 50 resources each, all known.
func BenchmarkObserveKnownEdge(b *testing.B) {
	d := New(onceActive())
	var observations []event.Observation
	for i := range 50_000 {
		observations = append(observations, benchObservation(i%1000, i/1000))
		d.Observe(&observations[i], nil)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		o := &observations[i%len(observations)]
		d.Cover(o.Node, "boot", epoch, o.Time)
		if out := d.Observe(o, nil); out != nil {
			b.Fatal(out)
		}
	}
}

// Learning: each edge is new, and has a resource of its own.
func BenchmarkObserveNewEdge(b *testing.B) {
	d := New(onceActive())
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		b.StopTimer()
		if n == 1_000_000 { // keep the table's size comparable
			d, n = New(onceActive()), 0
		}
		o := benchObservation(n%1000, n)
		n++
		b.StartTimer()
		d.Observe(&o, nil)
	}
}

// A finding with its sentences, of an identity with 50 resources.
func BenchmarkObserveFinding(b *testing.B) {
	c := onceActive()
	c.Learn, c.FindingsPerMinute, c.MaxResources = time.Minute, 1<<30, 1<<30
	d := New(c)
	for i := range 50 {
		o := benchObservation(0, i)
		d.Observe(&o, nil)
	}
	d.Cover("n1", "boot", epoch, epoch.Add(time.Hour))
	b.ReportAllocs()
	n := 50
	for b.Loop() {
		o := benchObservation(0, n)
		o.Time = epoch.Add(time.Duration(n) * time.Hour) // one by one: many at once are a scan
		d.Cover("n1", "boot", epoch, o.Time)
		n++
		if len(d.Observe(&o, nil)) == 0 {
			b.Fatal("no finding")
		}
	}
}

// Rebuilding a million edges.
func BenchmarkRestoreReach(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		d := New(onceActive())
		d.RestoreNode("n1", []Span{{"boot", epoch, epoch.Add(time.Hour)}})
		for i := range 1_000_000 {
			o := benchObservation(i%1000, i)
			if i < 1000 {
				d.RestoreIdentity(o.Workload.Identity, "n1", epoch)
			}
			d.RestoreReach(o.Workload.Identity, event.ResourceOf(&o), epoch, epoch, 1)
		}
	}
}

var benchIdentities = func() (ids [1000]event.Identity) {
	for i := range ids {
		ids[i] = testIdentity(fmt.Sprint("shop/s", i))
	}
	return ids
}()

func benchObservation(who, what int) event.Observation {
	return event.Observation{
		Time: epoch, Node: "n1", Direction: event.Outbound, Protocol: event.TCP,
		Workload: event.Workload{Identity: benchIdentities[who]},
		Peer:     event.Peer{Address: netip.AddrFrom4([4]byte{10, byte(what >> 16), byte(what >> 8), byte(what)}), Port: 443},
		Counts:   event.Counts{Connections: 1},
	}
}
