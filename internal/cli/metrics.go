package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/collector/health"
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

// newMetrics are those of any process of ours.
func newMetrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// looked is what those see who look after this process: Prometheus and a kubelet. No metric names a node, an identity or a resource, and beyond this
// machine of each check only the name and state are told, so it needs no authentication. It is safe for concurrent use.
type looked struct {
	metrics prometheus.Gatherer
	remote  bool                                                 // others than this machine may ask
	checks  atomic.Pointer[func(context.Context) []health.Check] // nil while the process starts
}

func (l *looked) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(l.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", l.ready)
	return mux
}

func (l *looked) ready(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	ask := l.checks.Load()
	if ask == nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "it is starting")
		return
	}
	checks := (*ask)(r.Context())
	if !health.Ready(checks) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	for _, c := range checks {
		if l.remote {
			c.Detail = ""
		}
		fmt.Fprintln(w, c)
	}
}

// startMetrics serves metrics and checks at an address of their own, if one is configured. Until u.looked.checks is set, the process is not ready.
func (u *up) startMetrics(ctx context.Context) error {
	address := u.config.Metrics
	if address == "" {
		return nil
	}
	host, _, _ := net.SplitHostPort(address)
	u.looked.remote = !isLoopback(host)
	handler := u.looked.handler()
	if !u.looked.remote {
		handler = local(handler)
	}
	return u.startServer(ctx, "metrics", address, handler)
}

// agentChecks say how an agent without a collector is.
func (u *up) agentChecks(context.Context) []health.Check {
	var watching error
	if h := u.lastBeat(); h == nil {
		watching = errors.New("it does not watch yet")
	}
	checks := []health.Check{health.Of("agent", watching), {Name: "stream", State: health.OK}}
	switch away, nc := u.away.Load(), u.conn.Load(); { // without the stream, observations wait on the disk: the agent still does its work
	case away != nil:
		checks[1] = health.Warn("stream", "%v", *away)
	case nc != nil && !nc.IsConnected():
		checks[1] = health.Warn("stream", "there is no connection to NATS")
	}
	if u.svid != nil {
		checks = append(checks, certificateCheck(u.svid))
	}
	return checks
}
