package collector

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// lags shows how far the workers are behind the stream.
type lags struct{ *Collector }

var (
	lagMessages = prometheus.NewDesc("ambit_collector_lag_messages", "Messages of a partition that are not done, by stage.", []string{"stage", "partition"}, nil)
	lagSeconds  = prometheus.NewDesc("ambit_collector_lag_seconds", "How long the oldest message of a partition that is not done has waited, by stage.", []string{"stage", "partition"}, nil)
	waiting     = prometheus.NewDesc("ambit_collector_findings_waiting", "Findings that were told and are not in the store.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (l lags) Describe(ch chan<- *prometheus.Desc) {
	ch <- lagMessages
	ch <- lagSeconds
	ch <- waiting
}

// Collect implements [prometheus.Collector].
func (l lags) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	tell := func(s *stage, name, partition string) {
		messages, wait := s.lag(now)
		ch <- prometheus.MustNewConstMetric(lagMessages, prometheus.GaugeValue, float64(messages), name, partition)
		ch <- prometheus.MustNewConstMetric(lagSeconds, prometheus.GaugeValue, wait.Seconds(), name, partition)
	}
	n := 0
	for _, w := range l.all() {
		partition := "agents"
		if w.judges() {
			partition = strconv.Itoa(w.partition)
			tell(&w.judging, "detect", partition)
		}
		tell(&w.storing, "store", partition)
		n = w.findings.len()
	}
	ch <- prometheus.MustNewConstMetric(waiting, prometheus.GaugeValue, float64(n))
}
