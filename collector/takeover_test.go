package collector

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/health"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// rebuilt counts how often detectors are made from a store.
type rebuilt struct {
	*store.Store
	times atomic.Int32
}

func (s *rebuilt) EachReach(ctx context.Context, in func(event.Identity) bool,
	visit func(id event.Identity, r event.Resource, first, last time.Time, connections uint64) error) error {
	s.times.Add(1)
	return s.Store.EachReach(ctx, in, visit)
}

func (r *running) states(t testing.TB, outcome string) int {
	t.Helper()
	return int(value(t, r.metrics.states.WithLabelValues(outcome)))
}

func (n *node) states() stateBucket {
	n.t.Helper()
	kv, err := n.js.KeyValue(n.t.Context(), statesBucket)
	if err != nil {
		n.t.Fatal(err)
	}
	return stateBucket{kv}
}

// forgetStates drops all states.
func (n *node) forgetStates() {
	n.t.Helper()
	s := n.states()
	for p := range n.partitions {
		if err := s.Delete(n.t.Context(), stateKey(p)); err != nil {
			n.t.Fatal(err)
		}
	}
}

// lastTold gives what was told last of each finding.
func (n *node) lastTold() map[string]string {
	n.t.Helper()
	out := map[string]string{}
	for _, f := range n.published() {
		data, err := json.Marshal(&f)
		if err != nil {
			n.t.Fatal(err)
		}
		out[f.ID] = string(data)
	}
	return out
}

// TestTakeoversChangeNothing has the same traffic judged by one collector, and by many, each of which stops in order or is killed after a few messages: all
// findings come out the same.
func TestTakeoversChangeNothing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	run := func(stops bool) (map[string]string, *rebuilt) {
		random, when := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
		s, bus := &rebuilt{Store: openStore(t)}, openBus(t, t.TempDir())
		n := newNode(t, bus, "n1")
		n.partitions = 1 // when partitions hear of each other depends on more than their own order
		one := func(c *Config) { c.Partitions, c.Leases = 1, time.Second }
		r := start(t, bus, s, one)
		var accounts []event.Workload
		for i := range 16 {
			accounts = append(accounts, account(t, fmt.Sprintf("s%d", i)))
		}
		for round := range 6 {
			for range 60 {
				n.now = n.now.Add(time.Duration(random.IntN(100)+1) * time.Second)
				n.speakAs(accounts[random.IntN(16)], uint16(random.IntN(3+10*round)))
			}
			switch {
			case !stops:
			case round%2 == 0:
				r.end(t)
				r = start(t, bus, s, func(c *Config) { one(c); c.Grace = 10 * time.Millisecond }) // for the kill
			default:
				time.Sleep(time.Duration(when.IntN(50)) * time.Millisecond)
				r.kill(t)
				r = start(t, bus, s, one)
			}
		}
		n.settled(r)
		r.end(t)
		return n.lastTold(), s
	}
	want, _ := run(false)
	got, s := run(true)
	if len(want) == 0 || len(got) != len(want) {
		t.Errorf("%d findings with takeovers, %d without", len(got), len(want))
	}
	for id := range want {
		if got[id] != want[id] {
			t.Fatalf("with takeovers: %s\nwithout: %s", got[id], want[id])
		}
	}
	if n := s.times.Load(); n != 1 { // at first
		t.Errorf("detectors were made from the store %d times", n)
	}
	t.Logf("%d findings", len(want))
}

// TestStates has states be damaged, of an older stream, and missing: then detectors are made from the store, and it is counted.
func TestStates(t *testing.T) {
	s, bus := &rebuilt{Store: openStore(t)}, openBus(t, t.TempDir())
	w := newTown(t, bus, "n1")
	r := start(t, bus, s, nil)
	w.learn(1, 2)
	w.settle()
	r.end(t)
	if n := r.states(t, stateSaved); n < w.partitions {
		t.Errorf("%d states were saved", n)
	}
	states := w.states()
	good, err := states.get(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for p, data := range map[int][]byte{2: good, 3: good[:len(good)/2]} { // 2 has another's
		if err := states.put(t.Context(), p, data); err != nil {
			t.Fatal(err)
		}
	}
	at, err := states.find(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := states.Put(t.Context(), statePiece(0, at.Place, 0), good); err != nil { // one piece
		t.Fatal(err)
	}
	if err := states.Delete(t.Context(), stateKey(4)); err != nil {
		t.Fatal(err)
	}
	if err := states.Delete(t.Context(), statePiece(5, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if err := states.Delete(t.Context(), statePiece(5, 1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := states.PutString(t.Context(), stateKey(6), "{"); err != nil {
		t.Fatal(err)
	}
	before := s.times.Load()
	r = start(t, bus, s, nil)
	got := map[string]int{}
	for _, outcome := range stateOutcomes[2:] {
		if n := r.states(t, outcome); n > 0 {
			got[outcome] = n
		}
	}
	if want := map[string]int{stateLoaded: w.partitions - 6, stateRefused: 5, stateMissing: 1}; !maps.Equal(got, want) {
		t.Errorf("of states became %v, want %v", got, want)
	}
	if s.times.Load() != before+1 {
		t.Error("no detector was made from the store")
	}
	for p := range w.identities {
		w.surprise(p, 443)
	}
	w.settle()
	r.end(t)
	w.check(s.Store)

	// What leaves the stream unread makes all of them too old.
	stream, err := w.js.Stream(t.Context(), event.StreamObservations)
	if err != nil {
		t.Fatal(err)
	}
	for p := range w.identities {
		w.speak(p, 1)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	r = start(t, bus, s, nil)
	if n := r.states(t, stateTooOld); n != w.partitions {
		t.Errorf("%d states are too old", n)
	}
	r.end(t)
}

// TestLostLeaseKeepsDetectors has NATS be away for longer than a lease lives: nobody else worked the partitions, and nothing is read from the store again.
func TestLostLeaseKeepsDetectors(t *testing.T) {
	cluster := testenv.StartNATSCluster(t, 1)
	bus, err := OpenBus(t.Context(), outsideConfig(cluster.URLs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Close)
	s := &rebuilt{Store: openStore(t)}
	w := newTown(t, bus, "n1")
	r := start(t, bus, s, func(c *Config) { c.Leases = 2 * time.Second })
	w.learn(1, 2)
	w.settle()
	before := s.times.Load()
	cluster.Stop(0)
	await(t, "the leases to be lost", func() bool { return holds(r) == 0 })
	cluster.Start(0)
	await(t, "the leases to be back", func() bool { return holds(r) == w.partitions+1 })
	await(t, "the agent to be connected again", w.nc.IsConnected)
	await(t, "the minds to be as they were", func() bool { return r.states(t, stateKept) >= w.partitions }) // more where leases were lost twice
	for p := range w.identities {
		w.surprise(p, 443)
	}
	w.settle()
	if n := s.times.Load() - before; n != 0 {
		t.Errorf("detectors were made from the store %d times", n)
	}
	r.end(t)
	w.check(s.Store)
}

// TestPartitionsShare has a detector know what identities of other partitions reach, also after it was made from the store.
func TestPartitionsShare(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	w := newTown(t, bus, "n1")
	r := start(t, bus, s, nil)
	w.learn(1, 2)
	w.settle()
	heard := func(p int, port uint16, told int) {
		t.Helper()
		await(t, "what partition 3 tells", func() bool { return value(t, r.metrics.shared) >= float64(told) })
		w.surprise(p, port)
		w.settle()
		for _, f := range w.published() {
			if f.Resource.Port() == port && f.Identity == w.identities[p].Identity {
				if text := strings.Join(f.Explanation, " "); !strings.Contains(text, "of its group (namespace a)") {
					t.Errorf("partition %d does not know of the others: %s", p, text)
				}
				return
			}
		}
		t.Errorf("no finding of partition %d", p)
	}
	shared := int(value(t, r.metrics.shared))
	w.surprise(3, 443)
	w.settle()
	heard(4, 443, shared+1)
	r.end(t)

	w.forgetStates()
	r = start(t, bus, s, nil)
	heard(5, 443, 0)
	r.end(t)
}

// TestOtherDivision has an agent divide identities into more partitions: what it sends beyond is refused, kept, and shows.
func TestOtherDivision(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	r := start(t, bus, s, nil)
	if c := r.Division(); c.State != health.OK {
		t.Errorf("%s", c)
	}
	ack, err := n.js.Publish(t.Context(), "ambit.v1.obs.40.n7", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the message to be refused", func() bool { return value(t, r.metrics.refused.WithLabelValues(causeDivision)) == 1 })
	if c := r.Division(); c.State != health.Warning || !strings.Contains(c.Detail, "n7") {
		t.Errorf("%s", c)
	}
	dead, err := n.js.Stream(t.Context(), event.StreamDead)
	if err != nil {
		t.Fatal(err)
	}
	var m *jetstream.RawStreamMsg
	await(t, "the dead letter", func() bool {
		m, err = dead.GetLastMsgForSubject(t.Context(), "ambit.v1.dead."+causeDivision)
		return err == nil
	})
	if m.Header.Get("Ambit-Sequence") != fmt.Sprint(ack.Sequence) || !strings.Contains(m.Header.Get("Ambit-Error"), "set partitions to 16") {
		t.Errorf("the letter says %v", m.Header)
	}
	r.end(t)
}
