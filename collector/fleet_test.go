package collector

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/ambit-nhi/ambit/event"
)

// fleetWorld is a Fleet with a clock of its own.
type fleetWorld struct {
	*Fleet
	t        *testing.T
	at       time.Time
	registry *prometheus.Registry
}

func newFleetWorld(t *testing.T) *fleetWorld {
	w := &fleetWorld{t: t, at: epoch, registry: prometheus.NewPedanticRegistry()}
	w.Fleet = newFleet(func() time.Time { return w.at })
	w.registry.MustRegister(w.Fleet)
	return w
}

func (w *fleetWorld) beat(node, boot string, started time.Duration, lost, gauges map[string]uint64, missing ...string) {
	w.Heartbeat(&event.Heartbeat{Node: node, Boot: boot, Started: epoch.Add(started), Time: w.at, Lost: lost, Gauges: gauges, Missing: missing}, w.at.Add(50*time.Millisecond))
}

// want compares series; those that are 0 need not be named.
func (w *fleetWorld) want(want map[string]float64) {
	w.t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "ambit_")
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			if v := m.GetCounter().GetValue() + m.GetGauge().GetValue(); v != 0 {
				got[name] = v
			}
		}
	}
	if !maps.Equal(got, want) {
		w.t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestFleet(t *testing.T) {
	type counts = map[string]uint64
	w := newFleetWorld(t)
	w.want(map[string]float64{})
	// n1 is older than this collector: what it counted before is not counted again.
	w.beat("n1", "a", -time.Hour, counts{"spool-full": 100, "clock": 0}, counts{"publish-acknowledged": 1000, "publish-waiting": 3, "spool-bytes": 4096, "unknown": 7})
	w.beat("n2", "a", time.Second, counts{"spool-full": 5}, counts{"publish-acknowledged": 10, "spool-bytes": 100}, "UDP over IPv6")
	w.want(map[string]float64{"nodes watched": 2, "blind_nodes": 1, "agent_lost_total spool-full": 5, "agent_acknowledged_messages_total": 10,
		"agent_waiting_messages": 3, "agent_spool_bytes": 4196})
	w.at = w.at.Add(10 * time.Second)
	w.beat("n1", "a", -time.Hour, counts{"spool-full": 101, "edges-full": 2}, counts{"publish-acknowledged": 1003})
	// The clock of n2 was set: another boot of the same process.
	w.beat("n2", "b", 9*time.Second, counts{"spool-full": 1}, counts{"publish-acknowledged": 12, "spool-bytes": 50})
	w.want(map[string]float64{"nodes watched": 2, "agent_lost_total spool-full": 7, "agent_lost_total edges-full": 2, "agent_acknowledged_messages_total": 15, "agent_spool_bytes": 50})
	// n2 is another process.
	w.at = w.at.Add(10 * time.Second)
	w.beat("n2", "c", 19*time.Second, nil, counts{"publish-acknowledged": 4, "spool-bytes": 40})
	w.want(map[string]float64{"nodes watched": 2, "agent_lost_total spool-full": 7, "agent_lost_total edges-full": 2, "agent_acknowledged_messages_total": 19, "agent_spool_bytes": 40})

	sums := map[string]float64{"agent_lost_total spool-full": 7, "agent_lost_total edges-full": 2, "agent_acknowledged_messages_total": 19}
	with := func(more map[string]float64) map[string]float64 {
		out := maps.Clone(sums)
		maps.Copy(out, more)
		return out
	}
	w.at = w.at.Add(beatLate + time.Second)
	w.beat("n1", "a", -time.Hour, counts{"spool-full": 101, "edges-full": 2}, counts{"publish-acknowledged": 1003})
	w.want(with(map[string]float64{"nodes watched": 1, "nodes late": 1, "agent_spool_bytes": 40}))
	w.at = w.at.Add(beatLost + time.Second)
	w.want(with(map[string]float64{"nodes lost": 2}))
	w.at = w.at.Add(beatForgotten)
	w.want(sums)

	// Another collector has the agents now, and then this one again.
	w.Reset()
	w.beat("n1", "a", -time.Hour, counts{"spool-full": 500}, counts{"publish-acknowledged": 5000})
	w.want(with(map[string]float64{"nodes watched": 1}))
}

// TestFleetIsBounded: whatever agents name, the series are few.
func TestFleetIsBounded(t *testing.T) {
	w := newFleetWorld(t)
	for i := range 100 {
		lost, gauges := map[string]uint64{}, map[string]uint64{}
		for k := range 50 {
			lost[fmt.Sprint("cause-", i, "-", k)], gauges[fmt.Sprint("gauge-", i, "-", k)] = 1, 1
		}
		w.beat(fmt.Sprint("n", i), "a", time.Second, lost, gauges)
	}
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]int{}
	all := 0
	for _, f := range families {
		series[f.GetName()] = len(f.GetMetric())
		all += len(f.GetMetric())
	}
	if series["ambit_agent_lost_total"] != maxLostCauses+1 || all > maxLostCauses+1+40 {
		t.Errorf("%d series: %v", all, series)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v: %v", problems, err)
	}
}
