package collector

import (
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// TestHandshakeMetrics: whatever agents say, the labels are few.
func TestHandshakeMetrics(t *testing.T) {
	r := prometheus.NewRegistry()
	m := newMetrics(r)
	b := event.NewBatchBuilder("n1", "boot", epoch)
	add := func(protocol event.Protocol, provenance string, n uint64) {
		o := event.Observation{Time: epoch, Workload: busy, Direction: event.Outbound, Protocol: protocol, Counts: event.Counts{Connections: n},
			Peer: event.Peer{Address: netip.MustParseAddr("192.0.2.1"), Port: 443}}
		if provenance != "" {
			o.TLS = &event.TLS{Version: "1.3", Provenance: provenance}
		}
		b.Add(&o)
	}
	add(event.TCP, "full", 2)
	add(event.TCP, "full", 1)
	add(event.TCP, "wire-only", 4)
	add(event.TCP, "", 8)
	add(event.UDP, "", 16)
	add(event.TCP, "guessed", 32)
	add(event.TCP, "dreamt", 64)
	data, err := b.Encode(1, 1, epoch.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	batch, err := event.DecodeBatch(data)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		m.attribute([]store.Message{{Batch: batch, Sequence: 1}})
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "ambit_tls_connections_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			got[metric.GetLabel()[0].GetValue()] = metric.GetCounter().GetValue()
		}
	}
	want := map[string]float64{"full": 6, "resumed": 0, "inferred": 0, "wire-only": 8, "none": 16, "other": 192}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
