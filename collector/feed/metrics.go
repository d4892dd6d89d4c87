package feed

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	sent, left, aside, retries, lost, summaries *prometheus.CounterVec
	lag, working, failing                       *prometheus.GaugeVec
	delay                                       *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "ambit", Subsystem: "feed", Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "ambit", Subsystem: "feed", Name: name, Help: help}, []string{"feed"})
		r.MustRegister(g)
		return g
	}
	m := &metrics{
		sent:      counter("sent_total", "Documents that the receiver has taken.", "feed"),
		left:      counter("left_total", "Records that were not sent, by why not: filter, unchanged, rate; end: that of a decision will not be told, for too many are in force.", "feed", "why"),
		aside:     counter("set_aside_total", "Documents that were set aside as dead letters, by cause.", "feed", "cause"),
		retries:   counter("retries_total", "Attempts to send that failed.", "feed"),
		lost:      counter("lost_total", "Messages that the stream dropped before the feed has read them, by cause.", "feed", "cause"),
		summaries: counter("summaries_total", "Summaries of what the rate left out.", "feed"),
		lag:       gauge("lag", "Messages that wait for the feed, of the collector that works it."),
		working:   gauge("working", "1 where this collector works the feed."),
		failing:   gauge("failing", "1 while the receiver takes nothing."),
		delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "ambit", Subsystem: "feed", Name: "delay_seconds", Help: "Time from when a record came into the stream until the receiver has taken it.",
			Buckets: prometheus.ExponentialBuckets(0.005, 4, 12),
		}, []string{"feed"}),
	}
	r.MustRegister(m.delay)
	return m
}
