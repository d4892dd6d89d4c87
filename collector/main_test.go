package collector

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func TestMain(m *testing.M) {
	if os.Getenv("AMBIT_TESTENV_ENGINE") != "" {
		os.Exit(testenv.Main(m))
	}
	goleak.VerifyTestMain(m)
}

var quiet = slog.New(slog.DiscardHandler)

func openBus(t testing.TB, dir string) *Bus {
	t.Helper()
	cfg := DefaultBusConfig()
	cfg.Dir, cfg.Logger = dir, quiet
	bus, err := OpenBus(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Close)
	return bus
}

func openStore(t testing.TB) *store.Store {
	t.Helper()
	c := store.Default()
	c.Socket = testenv.Engine(t)
	return openStoreWith(t, c)
}

func openStoreWith(t testing.TB, c store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// running is a collector at work.
type running struct {
	*Collector
	stop  context.CancelFunc
	ready chan struct{}
	done  chan error
}

// start runs a collector until end is called, and waits until it is ready.
func start(t testing.TB, bus *Bus, s Store, change func(*Config)) *running {
	t.Helper()
	r := launch(t, bus, s, change)
	r.await(t, "the collector to be ready", r.ready)
	return r
}

// patient is how long tests wait for what must come: machines that do much else take long.
const patient = 2 * time.Minute

// await waits for what a collector does, unless it ends before.
func (r *running) await(t testing.TB, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case err := <-r.done:
		t.Fatalf("waited for %s: the collector ended with %v", what, err)
	case <-time.After(patient):
		t.Fatalf("waited in vain for %s", what)
	}
}

func launch(t testing.TB, bus *Bus, s Store, change func(*Config)) *running {
	t.Helper()
	cfg := Default()
	cfg.FlushInterval = 20 * time.Millisecond
	cfg.Detector.Learn = time.Minute
	off := true
	cfg.Detector.Policy = detector.Policy{{Rule: "fan-out", Off: &off}} // each new port shall be a finding of its own
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg, bus, s, prometheus.NewRegistry(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{Collector: c, stop: cancel, ready: make(chan struct{}), done: make(chan error, 1)}
	go func() { r.done <- c.Run(ctx, func() { close(r.ready) }) }()
	t.Cleanup(cancel)
	return r
}

// end stops the collector, which must end well.
func (r *running) end(t testing.TB) {
	t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		if err != nil {
			t.Fatalf("the collector ended with %v", err)
		}
	case <-time.After(patient):
		t.Fatal("the collector does not end")
	}
}

// receive waits for what must come on a channel.
func receive[T any](t testing.TB, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patient):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

// await waits until a condition holds.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patient)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// node publishes what an agent would, at times of its own.
type node struct {
	t        testing.TB
	name     string
	nc       *nats.Conn
	js       jetstream.JetStream
	sequence uint64
	started  time.Time // of its agent
	now      time.Time
	sent     map[event.Resource]event.Counts // all that was published and acknowledged
	last     uint64                          // sequence of the last message in the stream
	lastOf   map[int]uint64                  // likewise, by partition

	partitions int
}

// home is the partition of the worker's identity.
func (n *node) home() int { return event.Partition(busy.Identity, n.partitions) }

// partitionOf says who works a subject.
func (n *node) partitionOf(subject string) int {
	parts := strings.Split(subject, ".")
	if p, err := strconv.Atoi(parts[3]); err == nil && len(parts) == 5 && parts[2] == "obs" {
		return p
	}
	return n.partitions
}

func (n *node) noteLast(subject string, sequence uint64) {
	n.last = sequence
	n.lastOf[n.partitionOf(subject)] = sequence
}

// epoch is when the nodes began: yesterday, since what is older comes too late.
var epoch = time.Now().UTC().Add(-24 * time.Hour).Truncate(time.Second)

func newNode(t testing.TB, bus *Bus, name string) *node {
	t.Helper()
	nc, err := bus.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &node{t: t, name: name, nc: nc, js: js, started: epoch, now: epoch, sent: map[event.Resource]event.Counts{}, lastOf: map[int]uint64{},
		partitions: event.DefaultPartitions}
}

var busy = func() event.Workload {
	id, err := event.ParseIdentity("spiffe://test.example/ns/a/sa/worker")
	if err != nil {
		panic(err)
	}
	return event.Workload{Identity: id, Evidence: event.EvidenceKubernetes, Namespace: "a", ServiceAccount: "worker", Executable: "/worker"}
}()

func observation(at time.Time, port uint16) event.Observation {
	return event.Observation{
		Time: at, Workload: busy, Direction: event.Outbound, Protocol: event.TCP,
		Peer:   event.Peer{Address: netip.MustParseAddr("192.0.2.1"), Port: port},
		Counts: event.Counts{Connections: 1, BytesReceived: uint64(port)},
	}
}

// publish sends a batch whose interval ends after, with an observation toward each port.
func (n *node) publish(after time.Duration, ports ...uint16) {
	n.t.Helper()
	n.now = n.now.Add(after)
	b := event.NewBatchBuilder(n.name, "boot", n.started)
	b.Sight(&busy)
	n.sequence++
	for _, port := range ports {
		o := observation(n.now, port)
		o.Counts.BytesSent = n.sequence
		b.Add(&o)
		sum := n.sent[event.ResourceOf(&o)]
		sum.Add(o.Counts)
		n.sent[event.ResourceOf(&o)] = sum
	}
	data, err := b.Encode(n.sequence, n.sequence, n.now)
	if err != nil {
		n.t.Fatal(err)
	}
	n.send(event.ObservationSubject(n.home(), n.name), data)
}

func (n *node) send(subject string, data []byte) {
	n.t.Helper()
	ack, err := n.js.Publish(context.Background(), subject, data)
	if err != nil {
		n.t.Fatal(err)
	}
	n.noteLast(subject, ack.Sequence)
}

// settled waits until all that was sent is in the store.
func (n *node) settled(r *running) {
	n.t.Helper()
	await(n.t, fmt.Sprintf("message %d to be settled", n.last), func() bool {
		for p, last := range n.lastOf {
			if w := r.worker(p); w == nil || w.settled.Load() < last {
				return false
			}
		}
		return true
	})
}

// checkTotals compares the store with what was sent.
func (n *node) checkTotals(s *store.Store) {
	n.t.Helper()
	rows, next, err := s.Reach(context.Background(), busy.Identity, store.ReachFilter{Limit: 10_000})
	if err != nil || next != "" {
		n.t.Fatalf("read reach: %v, next %q", err, next)
	}
	if len(rows) != len(n.sent) {
		n.t.Errorf("the store holds %d resources, %d were sent", len(rows), len(n.sent))
	}
	for i := range rows {
		if want := n.sent[rows[i].Resource]; rows[i].Counts != want {
			n.t.Errorf("%s: the store holds %+v, %+v was sent", rows[i].Resource, rows[i].Counts, want)
		}
	}
}

// value reads a counter.
func value(t testing.TB, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}
