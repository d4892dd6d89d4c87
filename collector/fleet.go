package collector

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/lru"
)

// Bounds of what is told of agents.
const (
	maxLostCauses = 128              // of losses that are told apart; the rest is "other"
	beatLate      = time.Minute      // a node that was not heard of for so long is late
	beatLost      = 10 * time.Minute // lost
	beatForgotten = 24 * time.Hour   // and, at last, gone
)

// Fleet adds up what agents tell of themselves, over all nodes, for Prometheus. No label names a node. It is safe for concurrent use.
type Fleet struct {
	now func() time.Time

	mu    sync.Mutex
	since time.Time // what agents counted before is not counted again
	nodes *lru.Cache[string, agentState]
	lost  map[string]uint64 // by cause
	sums  map[string]uint64 // of counters, by the agents' names
	delay prometheus.Histogram
}

// agentState is what one node told last.
type agentState struct {
	boot     string
	heard    time.Time
	lost     map[string]uint64
	counters map[string]uint64
	levels   map[string]uint64
	missing  int
}

// agentMetric shows a gauge of agents, by their name of it.
type agentMetric struct {
	gauge string
	desc  *prometheus.Desc
}

func agentDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName("ambit", "agent", name), help, labels, nil)
}

var (
	fleetNodes = prometheus.NewDesc("ambit_nodes", "Nodes by when their agents were last heard of: watched, late (a minute), lost (ten minutes, until a day).", []string{"state"}, nil)
	fleetBlind = prometheus.NewDesc("ambit_blind_nodes", "Nodes that are watched, but not everything of them.", nil, nil)
	fleetLost  = agentDesc("lost_total", "Events that agents lost, by cause, since this process started.", "cause")

	// Counters of agents: they only grow, but for a restart.
	agentCounters = []agentMetric{
		{"publish-acknowledged", agentDesc("acknowledged_messages_total", "Messages of agents that the stream acknowledged.")},
		{"publish-retries", agentDesc("retried_messages_total", "Messages that agents had to send again.")},
		{"publish-duplicates", agentDesc("duplicate_messages_total", "Messages that agents sent again although the stream had them.")},
		{"publish-restamped", agentDesc("restamped_messages_total", "Messages that waited over a step of the clock, and were dated anew.")},
		{"spool-written", agentDesc("spooled_messages_total", "Messages that agents wrote to their disks.")},
		{"connections", agentDesc("connections_total", "Connections that agents told of.")},
		{"connections-unattributed", agentDesc("unattributed_connections_total", "Connections whose owners are not known.")},
	}
	// Levels of agents.
	agentLevels = []agentMetric{
		{"publish-waiting", agentDesc("waiting_messages", "Messages that are not acknowledged yet.")},
		{"publish-waiting-bytes", agentDesc("waiting_bytes", "Bytes of these, in memory.")},
		{"spool-messages", agentDesc("spool_messages", "Messages in the spools on the nodes' disks.")},
		{"spool-observations", agentDesc("spool_observations", "Observations in these.")},
		{"spool-bytes", agentDesc("spool_bytes", "Bytes of the spools.")},
		{"edges", agentDesc("edges", "Edges that the kernel sides count.")},
		{"cgroups", agentDesc("cgroups", "Cgroups that are known.")},
		{"heap-bytes", agentDesc("heap_bytes", "Heap of the agents.")},
		{"tls-targets", agentDesc("tls_files", "Files whose TLS functions are watched.")},
	}
)

// NewFleet makes a Fleet of nobody.
func NewFleet() *Fleet { return newFleet(time.Now) }

func newFleet(now func() time.Time) *Fleet {
	return &Fleet{
		now: now, since: now(), nodes: lru.New[string, agentState](maxTracked), lost: map[string]uint64{}, sums: map[string]uint64{},
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "ambit", Subsystem: "agent", Name: "heartbeat_delay_seconds", Buckets: prometheus.ExponentialBuckets(0.01, 4, 9),
			Help: "Time from when an agent told of itself until the stream had it; observations before it take the same way.",
		}),
	}
}

// Heartbeat takes in what an agent tells, and when the stream had it. Each heartbeat is to be given once; the order of those of a node counts.
func (f *Fleet) Heartbeat(h *event.Heartbeat, stored time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay.Observe(max(stored.Sub(h.Time).Seconds(), 0))
	old := f.nodes.Get(h.Node)
	if old == nil {
		f.nodes.Put(h.Node, agentState{})
		old = f.nodes.Get(h.Node)
	}
	if stored.Before(old.heard) { // out of order
		return
	}
	// What was counted before anybody listened here was told to others. Losses are of a boot; the other counters are of the agent's process, which
	// may have several boots, and has begun anew where they are less than they were.
	known, sameBoot, fresh := !old.heard.IsZero(), old.boot == h.Boot, h.Started.After(f.since)
	if known && !sameBoot {
		old.lost = nil
	}
	for cause, n := range h.Lost {
		if before := old.lost[cause]; (sameBoot || fresh) && n > before {
			f.lost[f.cause(cause)] += n - before
		}
	}
	counters := map[string]uint64{}
	for _, m := range agentCounters {
		n, before := h.Gauges[m.gauge], old.counters[m.gauge]
		counters[m.gauge] = n
		switch {
		case known && n >= before:
			f.sums[m.gauge] += n - before
		case known || fresh:
			f.sums[m.gauge] += n
		}
	}
	levels := map[string]uint64{}
	for _, m := range agentLevels {
		levels[m.gauge] = h.Gauges[m.gauge]
	}
	*old = agentState{boot: h.Boot, heard: stored, lost: h.Lost, counters: counters, levels: levels, missing: len(h.Missing)}
}

// cause bounds the causes: whoever has an agent's credentials can name any.
func (f *Fleet) cause(name string) string {
	if _, known := f.lost[name]; !known && len(f.lost) >= maxLostCauses {
		return "other"
	}
	return name
}

// Reset forgets the nodes, of which another collector tells from now on. What was counted stays.
func (f *Fleet) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes = lru.New[string, agentState](maxTracked)
	f.since = f.now()
}

// Describe implements [prometheus.Collector].
func (f *Fleet) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{fleetNodes, fleetBlind, fleetLost} {
		ch <- d
	}
	for _, list := range [][]agentMetric{agentCounters, agentLevels} {
		for _, m := range list {
			ch <- m.desc
		}
	}
	f.delay.Describe(ch)
}

// Collect implements [prometheus.Collector].
func (f *Fleet) Collect(ch chan<- prometheus.Metric) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	states := map[string]uint64{"watched": 0, "late": 0, "lost": 0}
	levels := map[string]uint64{}
	var blind uint64
	for _, n := range f.nodes.All() {
		switch silent := now.Sub(n.heard); {
		case silent > beatForgotten:
			continue
		case silent > beatLost:
			states["lost"]++
			continue // its levels are of another time
		case silent > beatLate:
			states["late"]++
		default:
			states["watched"]++
			if n.missing > 0 {
				blind++
			}
		}
		for gauge, v := range n.levels {
			levels[gauge] += v
		}
	}
	tell := func(d *prometheus.Desc, kind prometheus.ValueType, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, float64(v), labels...)
	}
	for state, n := range states {
		tell(fleetNodes, prometheus.GaugeValue, n, state)
	}
	tell(fleetBlind, prometheus.GaugeValue, blind)
	for cause, n := range f.lost {
		tell(fleetLost, prometheus.CounterValue, n, cause)
	}
	for _, m := range agentCounters {
		tell(m.desc, prometheus.CounterValue, f.sums[m.gauge])
	}
	for _, m := range agentLevels {
		tell(m.desc, prometheus.GaugeValue, levels[m.gauge])
	}
	f.delay.Collect(ch)
}
