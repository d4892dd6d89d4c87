package collector

import (
	"maps"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/collector/store"
)

// TestHandshakeMetrics: whatever agents say, the labels are few.
func TestHandshakeMetrics(t *testing.T) {
	r := prometheus.NewRegistry()
	m := newMetrics(r)
	row := func(protocol, provenance string, n uint64) store.ObservationRow {
		return store.ObservationRow{Protocol: protocol, TLSProvenance: provenance, Connections: n}
	}
	for range 2 {
		m.attribute([]store.ObservationRow{row("tcp", "full", 2), row("tcp", "full", 1), row("tcp", "wire-only", 4), row("tcp", "", 8),
			row("udp", "", 16), row("tcp", "guessed", 32), row("tcp", "dreamt", 64)})
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
