package collector

import (
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// TestGroupKeepsTLS: what a heartbeat says of TLS stays, whatever else is said of the same start of an agent, and the latest holds.
func TestGroupKeepsTLS(t *testing.T) {
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	heartbeat := func(after time.Duration, full uint64) *event.Heartbeat {
		return &event.Heartbeat{Node: "n1", Boot: "b", Started: at, Time: at.Add(after), Version: "v1", Gauges: map[string]uint64{"connections": 9, "tls-full": full, "edges": 3}}
	}
	batch := func(after time.Duration) store.Coverage {
		return store.Coverage{Node: "n1", Boot: "b", From: at, Until: at.Add(after)}
	}
	f := func(name string, add func(*group), want uint64) {
		t.Helper()
		g := newGroup()
		add(g)
		got := g.coverage[coverageKey{"n1", "b"}]
		if got.TLS["tls-full"] != want || got.TLS["connections"] != 9 || len(got.TLS) != 2 || !got.Until.Equal(at.Add(3*time.Minute)) {
			t.Errorf("%s: %+v, want %d in full", name, got, want)
		}
	}
	f("before a batch", func(g *group) { g.addHeartbeat(heartbeat(2*time.Minute, 4)); g.cover(batch(3 * time.Minute)) }, 4)
	f("after a batch", func(g *group) { g.cover(batch(2 * time.Minute)); g.addHeartbeat(heartbeat(3*time.Minute, 4)) }, 4)
	f("two", func(g *group) {
		g.addHeartbeat(heartbeat(2*time.Minute, 4))
		g.addHeartbeat(heartbeat(3*time.Minute, 7))
	}, 7)
	f("two, the former last", func(g *group) {
		g.addHeartbeat(heartbeat(3*time.Minute, 7))
		g.addHeartbeat(heartbeat(2*time.Minute, 4))
	}, 7)
}
