package decision

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

type metrics struct {
	requests *prometheus.CounterVec
	refused  *prometheus.CounterVec
	acks     *prometheus.CounterVec
	points   *prometheus.CounterVec
	answers  *prometheus.CounterVec
	times    atomic.Pointer[store.RevokeTimes]
	service  *Service
}

var (
	holdingDesc = prometheus.NewDesc("ambit_decisions", "Decisions that hold, by mode, and those that wait for approval.", []string{"mode"}, nil)
	revokeDesc  = prometheus.NewDesc("ambit_time_to_revoke_seconds", "Time from a decision until it is in force on the last node, and until the last connection that still succeeded, over 30 days.",
		[]string{"stage", "quantile"}, nil)
	missedDesc = prometheus.NewDesc("ambit_decision_news_missed_total", "News of decisions that slow listeners missed.", nil, nil)
)

func newMetrics(registry prometheus.Registerer, s *Service) *metrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "ambit", Subsystem: "decision", Name: name, Help: help}, []string{label})
		registry.MustRegister(c)
		return c
	}
	m := &metrics{service: s}
	m.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "ambit", Subsystem: "decision", Name: "requests_total", Help: "What was asked of decisions, by what and how it went.",
	}, []string{"verb", "outcome"})
	registry.MustRegister(m.requests)
	m.refused = counter("refused_total", "What was not believed or not taken, by cause.", "cause")
	m.acks = counter("acks_total", "What nodes told of decisions, by state.", "state")
	m.answers = counter("evaluations_total", "Questions whether an access is allowed, by the answer.", "answer")
	m.points = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "ambit", Subsystem: "decision", Name: "points_total", Help: "Decisions that other enforcement points were told, by point and how it went.",
	}, []string{"point", "outcome"})
	registry.MustRegister(m.points, m)
	return m
}

// request counts what came of a request.
func (m *metrics) request(verb string, err error) {
	outcome := "ok"
	for _, o := range []struct {
		err  error
		name string
	}{{ErrInvalid, "invalid"}, {ErrRail, "refused"}, {ErrPreview, "no preview"}, {ErrConflict, "conflict"}, {ErrNotFound, "not found"}, {ErrNoKey, "no key"}} {
		if errors.Is(err, o.err) {
			outcome, err = o.name, nil
		}
	}
	if err != nil {
		outcome = "error"
	}
	m.requests.WithLabelValues(verb, outcome).Inc()
}

// Describe implements [prometheus.Collector].
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- holdingDesc
	ch <- revokeDesc
	ch <- missedDesc
}

// Collect implements [prometheus.Collector].
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	now := m.service.now()
	n := map[string]int{string(event.DryRun): 0, string(event.Enforce): 0, "waiting": len(m.service.book.allWaiting())}
	for _, k := range m.service.book.all() {
		if k.Holds(now) {
			n[string(k.Mode)]++
		}
	}
	for mode, v := range n {
		ch <- prometheus.MustNewConstMetric(holdingDesc, prometheus.GaugeValue, float64(v), mode)
	}
	m.service.book.mu.RLock()
	missed := m.service.book.missed
	m.service.book.mu.RUnlock()
	ch <- prometheus.MustNewConstMetric(missedDesc, prometheus.CounterValue, float64(missed))
	if t := m.times.Load(); t != nil && t.InForce > 0 {
		for _, x := range []struct {
			stage, quantile string
			seconds         float64
		}{{"in-force", "0.5", t.InForceP50}, {"in-force", "0.99", t.InForceP99}, {"last-connection", "0.5", t.LastConnectionP50}, {"last-connection", "0.99", t.LastConnectionP99}} {
			ch <- prometheus.MustNewConstMetric(revokeDesc, prometheus.GaugeValue, x.seconds, x.stage, x.quantile)
		}
	}
}

// measureEvery is how often the time to revoke is measured.
const measureEvery = time.Minute

// measure keeps the time to revoke for the metrics, until ctx ends.
func (s *Service) measure(ctx context.Context) error {
	tick := time.NewTicker(measureEvery)
	defer tick.Stop()
	for {
		t, err := s.store.TimeToRevoke(ctx, s.now().Add(-previewDays*24*time.Hour))
		if err == nil {
			s.metrics.times.Store(&t)
		} else if ctx.Err() == nil {
			s.log.Debug("measure the time to revoke", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
