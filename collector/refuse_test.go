package collector

import (
	"fmt"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

func identity(t testing.TB, uri string) event.Identity {
	t.Helper()
	id, err := event.ParseIdentity(uri)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// one has a collector work one partition, where all identities are at home.
func one(c *Config) { c.Partitions = 1 }

// sendBatch sends what was put into a batch.
func (n *node) sendBatch(b *event.BatchBuilder, end time.Time) {
	n.t.Helper()
	n.sequence++
	data, err := b.Encode(n.sequence, n.sequence, end)
	if err != nil {
		n.t.Fatal(err)
	}
	n.send(event.ObservationSubject(n.home(), n.name), data)
}

// connections are what the store holds of an identity.
func connections(t testing.TB, s *store.Store, id event.Identity) (n uint64) {
	t.Helper()
	rows, _, err := s.Reach(t.Context(), id, store.ReachFilter{Limit: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		n += rows[i].Counts.Connections
	}
	return n
}

// TestForeignNode checks that a node cannot speak of what only another one can know.
func TestForeignNode(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1.example")
	n.partitions = 1
	own := identity(t, "spiffe://test.example/node/n1.example/unit/a.service")
	foreign := identity(t, "spiffe://test.example/node/n2.example/unit/a.service")
	seen := identity(t, "spiffe://test.example/node/n2.example/unit/seen.service")
	b := event.NewBatchBuilder(n.name, "boot", epoch)
	b.Sight(&event.Workload{Identity: seen})
	for _, id := range []event.Identity{own, foreign, busy.Identity} {
		o := observation(epoch, 1)
		o.Workload.Identity = id
		b.Add(&o)
	}
	r := start(t, bus, s, one)
	n.sendBatch(b, epoch.Add(time.Second))
	n.settled(r)
	for id, want := range map[event.Identity]uint64{own: 1, busy.Identity: 1, foreign: 0, seen: 0} {
		if got := connections(t, s, id); got != want {
			t.Errorf("%s: %d connections are stored, want %d", id, got, want)
		}
		if _, known := r.Progress(id); known != (want > 0) {
			t.Errorf("%s: known to the detector is %t", id, known)
		}
	}
	if found, _, err := s.Identities(t.Context(), store.IdentityFilter{}); err != nil || len(found) != 2 {
		t.Errorf("%d identities are stored, want 2: %v", len(found), err)
	}
	if got := value(t, r.metrics.left.WithLabelValues(causeForeign)); got != 3 {
		t.Errorf("%v are counted, want one observation and two sightings", got)
	}
	r.end(t)
}

// TestIdentityQuota checks that a node that makes up identities does not fill the detector, and that they are stored and counted.
func TestIdentityQuota(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	n.partitions = 1
	const made = identityQuota + 10
	b := event.NewBatchBuilder(n.name, "boot", epoch)
	for i := range made {
		o := observation(epoch, 1)
		o.Workload.Identity = identity(t, fmt.Sprintf("spiffe://test.example/ns/made/sa/up-%d", i))
		b.Add(&o)
	}
	r := start(t, bus, s, one)
	for range 2 {
		n.sendBatch(b, epoch.Add(time.Second))
	}
	other := newNode(t, bus, "n2")
	other.partitions = 1
	other.publish(time.Second, 1)
	other.settled(r)
	if got := r.detectorGauges()["identities"]; got != identityQuota+1 {
		t.Errorf("the detector knows %d identities, want the quota of one node and one of the other", got)
	}
	if got := value(t, r.metrics.left.WithLabelValues(causeQuota)); got != 2*2*10 {
		t.Errorf("%v are counted, want the sighting and the observation of 10 identities, twice", got)
	}
	if got := connections(t, s, identity(t, fmt.Sprintf("spiffe://test.example/ns/made/sa/up-%d", made-1))); got != 2 {
		t.Errorf("of an identity above the quota %d connections are stored, want 2", got)
	}
	r.end(t)
}

func TestQuota(t *testing.T) {
	q := newQuota(1)
	q.limit = 2
	f := func(node string, at time.Time, want bool) {
		t.Helper()
		if got := q.admit(node, at); got != want {
			t.Errorf("%s at %s: admitted is %t", node, at, got)
		}
	}
	noon := epoch.Truncate(time.Hour)
	f("n1", noon, true)
	f("n1", noon.Add(59*time.Minute), true)
	f("n1", noon.Add(59*time.Minute), false)
	f("n2", noon.Add(59*time.Minute), true)
	f("n1", noon.Add(time.Hour), true)
	if len(q.spent) != 1 {
		t.Errorf("%d entries are kept, want those of the hour", len(q.spent))
	}
	// At a restore, what came in over several hours comes in again.
	q = newQuota(1)
	q.limit = 2
	for i := range 72 * q.limit {
		if !q.again("n1", noon) {
			t.Fatalf("identity %d is left out", i)
		}
	}
	if q.again("n1", noon) || !q.again("n2", noon) {
		t.Error("one node is not bounded, or another one is")
	}
}

// TestTooOld checks that what happened long before it was sent is not taken.
func TestTooOld(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	r := start(t, bus, s, func(c *Config) { c.MaxBehind = 48 * time.Hour })
	n.publish(time.Second, 1)
	old := time.Now().Add(-49 * time.Hour)
	b := event.NewBatchBuilder(n.name, "boot", old)
	o := observation(old, 2)
	b.Add(&o)
	n.sendBatch(b, old)
	h := event.Heartbeat{Node: n.name, Boot: "boot", Started: old.Add(-time.Hour), Time: old}
	beat, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	n.send(event.AgentSubject(n.name), beat)
	b.Reset()
	for _, first := range []time.Time{old, epoch} { // both of an interval that ended in time
		o := observation(epoch, 3)
		o.FirstTime = first
		b.Add(&o)
	}
	n.sendBatch(b, epoch)
	n.settled(r)
	if got := value(t, r.metrics.refused.WithLabelValues(causeClock)); got != 2 {
		t.Errorf("%v messages are refused, want 2", got)
	}
	if got := value(t, r.metrics.left.WithLabelValues(causeClock)); got != 1 {
		t.Errorf("%v observations are left out, want 1", got)
	}
	if got := connections(t, s, busy.Identity); got != 2 {
		t.Errorf("%d connections are stored, want 2", got)
	}
	r.end(t)
}
