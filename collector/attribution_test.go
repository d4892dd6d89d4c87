package collector

import (
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// TestAttribution checks that connections are counted by whether they were attributed, in the metric and in the store.
func TestAttribution(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	r := start(t, bus, s, nil)
	b := event.NewBatchBuilder(n.name, "boot", epoch)
	for i, why := range []event.Unattributed{"", "", event.UnattributedPod, event.UnattributedQuota} {
		o := observation(epoch, 1)
		o.Workload.Unattributed = why
		o.Counts = event.Counts{Connections: uint64(i) + 1}
		b.Add(&o)
	}
	n.sendBatch(b, epoch.Add(time.Second))
	n.settled(r)
	f := func(attributed, reason string, want float64) {
		t.Helper()
		if got := value(t, r.metrics.connections.WithLabelValues(attributed, reason)); got != want {
			t.Errorf("attributed %s, reason %q: %v connections, want %v", attributed, reason, got, want)
		}
	}
	f("true", "", 3)
	f("false", "pod-unknown", 3)
	f("false", "too-many-edges", 4)
	f("false", "cgroup-unknown", 0)
	a, err := s.Attribution(t.Context(), time.Time{})
	if err != nil || a.Attributed != 3 || a.Unattributed[event.UnattributedPod] != 3 || a.Unattributed[event.UnattributedQuota] != 4 {
		t.Errorf("the store counts %+v, %v", a, err)
	}
	r.end(t)
}
