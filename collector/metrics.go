package collector

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// metrics count what passes. All label values are from small fixed sets.
type metrics struct {
	received     *prometheus.CounterVec // kind
	refused      *prometheus.CounterVec // cause
	left         *prometheus.CounterVec // cause
	lost         *prometheus.CounterVec // cause
	refusedRows  *prometheus.CounterVec // operation
	inserted     *prometheus.CounterVec // table
	retried      *prometheus.CounterVec // operation
	findings     *prometheus.CounterVec // severity
	connections  *prometheus.CounterVec // attributed, reason
	handshakes   *prometheus.CounterVec // provenance
	duplicate    prometheus.Counter
	judged       prometheus.Counter
	acknowledged prometheus.Counter
	takeovers    prometheus.Counter
	replayed     prometheus.Counter
	resumed      prometheus.Counter
	shared       prometheus.Counter
	states       *prometheus.CounterVec // outcome
	stateBytes   prometheus.Histogram
	seconds      prometheus.Histogram
	batch        prometheus.Histogram
	delay        prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "ambit", Subsystem: "collector", Name: name, Help: help}, []string{label})
		r.MustRegister(c)
		return c
	}
	m := &metrics{
		received: counter("messages_total", "Messages taken from the stream.", "kind"),
		refused:  counter("refused_total", "Messages that were refused, by cause.", "cause"),
		left: counter("left_out_total",
			"Observations, and sightings of workloads, that were not taken, or (identity-quota) not given to the detector, by cause.", "cause"),
		refusedRows: counter("refused_rows_total",
			"Rows other than observations that the store refused, by operation; of observations the message counts.", "operation"),
		lost:     counter("lost_messages_total", "Messages that were never read, by cause.", "cause"),
		inserted: counter("rows_total", "Rows put into the store.", "table"),
		retried:  counter("retries_total", "Operations that had to be repeated.", "operation"),
		findings: counter("findings_total", "Findings told, updates included.", "severity"),
		connections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "ambit", Name: "connections_total",
			Help: "Connections put into the store, of both directions, by whether it is known who made or accepted them, and why not.",
		}, []string{"attributed", "reason"}),
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "ambit", Name: "tls_connections_total",
			Help: "TCP connections put into the store, of both directions, by how much of their TLS handshake was seen; none: nothing, or there was none.",
		}, []string{"provenance"}),
		duplicate: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "ambit", Subsystem: "collector", Name: "duplicate_messages_total", Help: "Messages that were skipped because they came before.",
		}),
		replayed: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "ambit", Subsystem: "collector", Name: "replayed_messages_total", Help: "Messages inserted again from the journal after a crash.",
		}),
		resumed: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "ambit", Subsystem: "collector", Name: "resumed_total", Help: "Times that reading the stream was interrupted.",
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "ambit", Subsystem: "collector", Name: "insert_seconds", Help: "Time that a group of observations took into the store.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 12),
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "ambit", Subsystem: "collector", Name: "insert_rows", Help: "Observations that were inserted together.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 10),
		}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "ambit", Subsystem: "collector", Name: "finding_seconds",
			Help: "Time from when a message came into the stream until the findings of it were told.", Buckets: prometheus.ExponentialBuckets(0.002, 2, 14),
		}),
		states: counter("detector_states_total", "States of detectors that were saved, or were looked for at a takeover, by what came of it.", "outcome"),
		shared: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "ambit", Subsystem: "collector", Name: "shared_messages_total", Help: "Messages of detectors to those of other partitions.",
		}),
		stateBytes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "ambit", Subsystem: "collector", Name: "detector_state_bytes", Help: "Size of the states of detectors that were saved.",
			Buckets: prometheus.ExponentialBuckets(4096, 4, 10),
		}),
		judged: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "ambit", Subsystem: "collector", Name: "judged_total", Help: "Observations given to the detectors.",
		}),
		acknowledged: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "ambit", Subsystem: "collector", Name: "acknowledged_messages_total", Help: "Messages that are in the store, or were refused.",
		}),
		takeovers: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "ambit", Subsystem: "collector", Name: "takeovers_total", Help: "Partitions that this collector has taken over.",
		}),
	}
	for _, outcome := range stateOutcomes {
		m.states.WithLabelValues(outcome)
	}
	r.MustRegister(m.shared, m.stateBytes, m.connections, m.handshakes, m.duplicate, m.replayed, m.resumed, m.seconds, m.batch, m.delay, m.judged, m.acknowledged, m.takeovers)
	m.connections.WithLabelValues("true", "")
	for _, how := range provenances {
		m.handshakes.WithLabelValues(how)
	}
	for _, why := range event.UnattributedReasons {
		m.connections.WithLabelValues("false", string(why))
	}
	return m
}

// provenances are the words of the agents for how much of a TLS handshake was seen.
var provenances = []string{"full", "resumed", "inferred", "wire-only", "none"}

// attribute counts the connections of observations that are in the store.
func (m *metrics) attribute(messages []store.Message) {
	byReason, byProvenance := map[string]uint64{}, map[string]uint64{}
	for _, m := range messages {
		for o := range m.Observations() {
			byReason[string(o.Workload.Unattributed)] += o.Counts.Connections
			if o.Protocol != event.TCP {
				continue
			}
			how := "none"
			if o.TLS != nil {
				how = cmp.Or(o.TLS.Provenance, how)
			}
			byProvenance[how] += o.Counts.Connections
		}
	}
	for how, n := range byProvenance {
		if !slices.Contains(provenances, how) { // of a newer agent
			how = "other"
		}
		m.handshakes.WithLabelValues(how).Add(float64(n))
	}
	for why, n := range byReason {
		switch {
		case why == "":
			m.connections.WithLabelValues("true", "").Add(float64(n))
		case slices.Contains(event.UnattributedReasons, event.Unattributed(why)):
			m.connections.WithLabelValues("false", why).Add(float64(n))
		default: // of a newer agent
			m.connections.WithLabelValues("false", "other").Add(float64(n))
		}
	}
}

// Counters shows counters that live elsewhere, by cause; read is safe for concurrent use.
func Counters(name, help string, read func() map[string]uint64) prometheus.Collector {
	return countersCollector{prometheus.NewDesc(name, help, []string{"cause"}, nil), prometheus.CounterValue, read}
}

// countersCollector shows numbers that live elsewhere, by name.
type countersCollector struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func() map[string]uint64
}

func (c countersCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

func (c countersCollector) Collect(ch chan<- prometheus.Metric) {
	for cause, n := range c.read() {
		ch <- prometheus.MustNewConstMetric(c.desc, c.kind, float64(n), cause)
	}
}
