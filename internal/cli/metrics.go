package cli

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/event"
)

// ownMetrics shows what the agent of this process tells of itself, under the names that a collector uses for the sum over all nodes. It is safe for
// concurrent use.
type ownMetrics struct {
	last  func() *event.Heartbeat // nil before the first
	fleet *collector.Fleet

	mu   sync.Mutex
	told *event.Heartbeat
}

// Describe implements [prometheus.Collector].
func (m *ownMetrics) Describe(ch chan<- *prometheus.Desc) { m.fleet.Describe(ch) }

// Collect implements [prometheus.Collector].
func (m *ownMetrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	if h := m.last(); h != nil && h != m.told {
		m.told = h
		m.fleet.Heartbeat(h, time.Now())
	}
	m.mu.Unlock()
	m.fleet.Collect(ch)
}

// startMetrics serves the metrics of an agent that runs without a collector, if an address is configured. last gives what it told last.
func (u *up) startMetrics(ctx context.Context, last func() *event.Heartbeat) error {
	if u.config.Metrics == "" {
		return nil
	}
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&ownMetrics{last: last, fleet: collector.NewFleet()})
	if u.svid != nil {
		r.MustRegister(certificateMetrics(u.svid)...)
	}
	return u.startServer(ctx, "metrics", u.config.Metrics, promhttp.HandlerFor(r, promhttp.HandlerOpts{}))
}
