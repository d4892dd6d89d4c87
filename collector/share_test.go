package collector

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/collector/journal"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// town is a node with an identity in each partition.
type town struct {
	*node
	identities []event.Workload // by partition
	numbers    []uint64         // of batches, by partition
	made       map[event.Identity]map[event.Resource]event.Counts
	fresh      map[string]bool // edges that must be findings
}

func newTown(t testing.TB, bus *Bus, name string) *town {
	t.Helper()
	n := newNode(t, bus, name)
	w := &town{
		node: n, identities: make([]event.Workload, n.partitions), numbers: make([]uint64, n.partitions),
		made: map[event.Identity]map[event.Resource]event.Counts{}, fresh: map[string]bool{},
	}
	for i, left := 0, n.partitions; left > 0; i++ {
		id := identity(t, fmt.Sprintf("spiffe://test.example/ns/a/sa/%s-%d", name, i))
		if p := event.Partition(id, n.partitions); w.identities[p].Identity.IsZero() {
			w.identities[p] = busy
			w.identities[p].Identity = id
			w.made[id] = map[event.Resource]event.Counts{}
			left--
		}
	}
	return w
}

// speak publishes a batch of a partition, whose interval ends now, with an observation toward each port.
func (w *town) speak(p int, ports ...uint16) {
	w.t.Helper()
	b := event.NewBatchBuilder(w.name, "boot", w.started)
	w.sequence++
	w.numbers[p]++
	for _, port := range ports {
		o := observation(w.now, port)
		o.Workload = w.identities[p]
		o.Counts.BytesSent = w.sequence
		b.Add(&o)
		sums := w.made[o.Workload.Identity]
		sum := sums[event.ResourceOf(&o)]
		sum.Add(o.Counts)
		sums[event.ResourceOf(&o)] = sum
	}
	data, err := b.Encode(w.sequence, w.numbers[p], w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	w.send(event.ObservationSubject(p, w.name), data)
}

// learn has everything be watched for longer than learning takes.
func (w *town) learn(ports ...uint16) {
	for _, after := range []time.Duration{10 * time.Second, 2 * time.Minute} {
		w.now = w.now.Add(after)
		for p := range w.identities {
			w.speak(p, ports...)
		}
	}
}

// surprise publishes a use of a port that is new to a partition's identity.
func (w *town) surprise(p int, port uint16) {
	w.speak(p, port)
	o := observation(w.now, port)
	w.fresh[w.identities[p].Identity.String()+" "+event.ResourceOf(&o).String()] = true
}

// settle waits until the journal says that all is in the store, whoever did it.
func (w *town) settle() {
	w.t.Helper()
	stream, err := w.js.Stream(w.t.Context(), event.StreamObservations)
	if err != nil {
		w.t.Fatal(err)
	}
	kv, err := w.js.KeyValue(w.t.Context(), insertsBucket)
	if err != nil {
		w.t.Fatal(err)
	}
	j := journal.New(journal.KV{KeyValue: kv}, event.StreamObservations, stream.CachedInfo().Created, "test")
	for p, last := range w.lastOf {
		await(w.t, fmt.Sprintf("message %d of partition %d to be settled", last, p), func() bool {
			done, err := j.Settled(w.t.Context(), p)
			if err != nil {
				w.t.Fatal(err)
			}
			return done >= last
		})
	}
}

// check compares the store and what was told with what was made.
func (w *town) check(s *store.Store) {
	w.t.Helper()
	for id, sums := range w.made {
		rows, _, err := s.Reach(context.Background(), id, store.ReachFilter{Limit: 10_000})
		if err != nil {
			w.t.Fatal(err)
		}
		if len(rows) != len(sums) {
			w.t.Errorf("%s: the store holds %d resources, %d were reached", id, len(rows), len(sums))
		}
		for i := range rows {
			if want := sums[rows[i].Resource]; rows[i].Counts != want {
				w.t.Errorf("%s to %s: the store holds %+v, want %+v", id, rows[i].Resource, rows[i].Counts, want)
			}
		}
	}
	same := func(where string, got map[string]int) {
		w.t.Helper()
		for edge, n := range got {
			if !w.fresh[edge] || n != 1 {
				w.t.Errorf("%s: %d findings of %s, is it new: %t", where, n, edge, w.fresh[edge])
			}
		}
		for edge := range w.fresh {
			if got[edge] == 0 {
				w.t.Errorf("%s: no finding of %s", where, edge)
			}
		}
	}
	edge := func(f *event.Finding) string { return f.Identity.String() + " " + f.Resource.String() }
	stored := map[string]int{}
	if err := s.EachFinding(context.Background(), nil, func(f *event.Finding) error {
		stored[edge(f)]++
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	same("in the store", stored)
	told, ids := map[string]int{}, map[string]bool{}
	for _, f := range w.published() {
		if !ids[f.ID] { // told again when it is used again
			told[edge(&f)]++
		}
		ids[f.ID] = true
	}
	same("on the stream", told)
}

// ledgers gives the keys of ledgers in the journal.
func (n *node) ledgers() []string {
	n.t.Helper()
	kv, err := n.js.KeyValue(context.Background(), insertsBucket)
	if err != nil {
		n.t.Fatal(err)
	}
	keys, err := kv.Keys(context.Background())
	if err != nil {
		n.t.Fatal(err)
	}
	return slices.DeleteFunc(keys, func(key string) bool { return !strings.HasPrefix(key, "ledger.") })
}

// told counts the findings that were told.
func (n *node) told() int {
	n.t.Helper()
	stream, err := n.js.Stream(context.Background(), event.StreamFindings)
	if err != nil {
		n.t.Fatal(err)
	}
	return int(stream.CachedInfo().State.LastSeq)
}

// published gives all findings that were told.
func (n *node) published() (all []event.Finding) {
	n.t.Helper()
	stream, err := n.js.Stream(context.Background(), event.StreamFindings)
	if err != nil {
		n.t.Fatal(err)
	}
	for i := uint64(1); i <= stream.CachedInfo().State.LastSeq; i++ {
		m, err := stream.GetMsg(context.Background(), i)
		if err != nil {
			n.t.Fatal(err)
		}
		var f event.Finding
		if err := json.Unmarshal(m.Data, &f); err != nil {
			n.t.Fatal(err)
		}
		all = append(all, f)
	}
	return all
}

// mortal is a real store of a collector that dies at an insert of observations: before it, or after it was done.
type mortal struct {
	*store.Store
	after bool
	dead  chan struct{}

	mu   sync.Mutex
	left int // inserts until then; 0: it lives
}

func (s *mortal) InsertBatches(ctx context.Context, token string, messages []store.Message) error {
	s.mu.Lock()
	s.left--
	now := s.left == 0
	s.mu.Unlock()
	if !now {
		return s.Store.InsertBatches(ctx, token, messages)
	}
	if s.after {
		_ = s.Store.InsertBatches(ctx, token, messages) // nobody hears what the store says
	}
	close(s.dead)
	<-ctx.Done()
	return ctx.Err()
}

// kill ends a collector as kill -9 does: nothing of it reaches anybody any more.
func (r *running) kill(t testing.TB) {
	t.Helper()
	(*r.js.Load()).Conn().Close()
	r.stop()
	<-r.done // whatever it says
}

func holds(r *running) int { return len(r.leases.Load().Status().Held) }

// TestShare has collectors share the partitions while there is traffic: one comes, one is killed in the middle of an insert, a third one comes,
// one leaves in order. All is counted once, and every new edge is one finding.
func TestShare(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("killed after the insert %t", after), func(t *testing.T) {
			s, bus := openStore(t), openBus(t, t.TempDir())
			w := newTown(t, bus, "n1")
			m := &mortal{Store: s, after: after, dead: make(chan struct{})}
			brief := func(c *Config) { c.Grace = 10 * time.Millisecond }
			a := start(t, bus, m, brief)
			w.learn(1, 2)
			w.settle()
			b := start(t, bus, s, nil)
			await(t, "the partitions to be shared", func() bool { return holds(a)+holds(b) == w.partitions+1 && holds(b) > 2 && holds(a) > 2 })
			port := uint16(1000)
			traffic := func() {
				port++
				w.now = w.now.Add(time.Second)
				for p := range w.identities {
					w.speak(p, 1, 2, 2)
				}
				w.surprise(int(port)%w.partitions, port)
			}
			for range 10 {
				traffic()
			}
			m.mu.Lock()
			m.left = 3
			m.mu.Unlock()
			late := time.After(patient)
			for died := false; !died; {
				traffic()
				select {
				case <-m.dead:
					died = true
				case err := <-a.done:
					t.Fatalf("it ended with %v", err)
				case <-late:
					t.Fatal("no insert came")
				case <-time.After(5 * time.Millisecond):
				}
			}
			for range 5 { // its workers go on judging
				traffic()
			}
			a.kill(t)
			began := time.Now()
			traffic()
			w.settle()
			t.Logf("all is settled %s after the kill", time.Since(began).Round(time.Millisecond))
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %s until the partitions were taken over", took)
			}
			if got := holds(b); got != w.partitions+1 {
				t.Errorf("the one that is left works %d partitions", got)
			}
			c := start(t, bus, s, nil)
			await(t, "the partitions to be shared again", func() bool { return holds(b)+holds(c) == w.partitions+1 && holds(b) > 2 && holds(c) > 2 })
			for range 20 {
				traffic()
			}
			b.end(t)
			for range 20 {
				traffic()
			}
			began = time.Now()
			w.settle()
			t.Logf("all is settled %s after one left in order", time.Since(began).Round(time.Millisecond))
			c.end(t)
			w.check(s)
			if ledgers := w.ledgers(); len(ledgers) != 1 {
				t.Errorf("the ledgers %v are left, want that of the last collector", ledgers)
			}
		})
	}
}

// TestSlowStore checks that findings are told while the store does not answer.
func TestSlowStore(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	w := newTown(t, bus, "n1")
	hang := &mortal{Store: s, dead: make(chan struct{})}
	r := start(t, bus, hang, func(c *Config) { c.Grace = 10 * time.Millisecond })
	w.learn(1, 2)
	w.settle()
	hang.mu.Lock()
	hang.left = 1
	hang.mu.Unlock()
	w.speak(0, 1)
	r.await(t, "an insert", hang.dead)
	const findings = 300
	for i := range findings { // far more messages than there is room for in a group
		w.now = w.now.Add(time.Minute)
		for p := range w.identities {
			w.speak(p, 1, 2)
		}
		begin := time.Now()
		w.surprise(i%w.partitions, uint16(1000+i))
		if i%50 == 0 {
			await(t, "a finding", func() bool { return w.told() > i })
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("finding %d took %s while the store does not answer", i, took)
			}
		}
	}
	await(t, "all findings", func() bool { return w.told() == findings })
	messages, wait := r.worker(0).storing.lag(time.Now())
	if messages == 0 || wait == 0 {
		t.Errorf("the store's lag is %d messages and %s", messages, wait)
	}
	if err := r.troubled(time.Now().Add(2 * patience)); err == nil {
		t.Error("a store that does not answer is no trouble")
	}
	r.end(t)
	next := start(t, bus, s, nil)
	w.settle()
	next.end(t)
	w.check(s)
}

// TestEndsAtOnce checks that a collector with nothing to do ends without delay, and writes nothing to the journal meanwhile.
func TestEndsAtOnce(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	r := start(t, bus, s, nil)
	writes := func() (sum uint64) {
		for _, bucket := range []string{insertsBucket, windowsBucket} {
			stream, err := n.js.Stream(t.Context(), "KV_"+bucket)
			if err != nil {
				t.Fatal(err)
			}
			sum += stream.CachedInfo().State.LastSeq
		}
		return sum
	}
	before, began := writes(), time.Now()
	r.end(t)
	if took := time.Since(began); took > r.cfg.Grace/2 {
		t.Errorf("it took %s", took)
	}
	if got := writes() - before; got != 0 {
		t.Errorf("%d writes for nothing", got)
	}
}

// TestOtherNumber checks that a collector which counts other partitions does not start.
func TestOtherNumber(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	start(t, bus, s, nil).end(t)
	cfg := Default()
	cfg.Partitions = 8
	c, err := New(cfg, bus, s, prometheus.NewRegistry(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context(), func() { t.Error("it is ready") }); err == nil {
		t.Error("it runs")
	} else {
		t.Log(err)
	}
}

// TestRedelivery checks that messages which are delivered again are not inserted again.
func TestRedelivery(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	w := newTown(t, bus, "n1")
	r := start(t, bus, s, nil)
	for range 5 {
		w.learn(1, 2)
		for _, x := range r.all() { // as after a break of the connection
			x.detect.reopen()
			x.store.reopen()
		}
	}
	for p := range w.identities { // and as if the consumers had been lost
		for _, kind := range []string{"detect", "store"} {
			await(t, "a consumer", func() bool { // it is being made again
				return w.js.DeleteConsumer(t.Context(), event.StreamObservations, fmt.Sprintf("ambit-%s-%d", kind, p)) == nil
			})
		}
		w.speak(p, 1)
	}
	w.settle()
	r.end(t)
	w.check(s)
}

// TestFormerJournal checks that the journal of a collector of the whole stream is taken over, with the insert that it began.
func TestFormerJournal(t *testing.T) {
	for _, inserted := range []bool{false, true} {
		s, bus := openStore(t), openBus(t, t.TempDir())
		w := newTown(t, bus, "n1")
		w.learn(1, 2)
		stream, err := w.js.Stream(t.Context(), event.StreamObservations)
		if err != nil {
			t.Fatal(err)
		}
		kv, err := w.js.KeyValue(t.Context(), insertsBucket)
		if err != nil {
			t.Fatal(err)
		}
		// The first ten messages are in the store, as many are planned, in two parts.
		var rows []store.ObservationRow
		for i := uint64(1); i <= 20; i++ {
			m, err := stream.GetMsg(t.Context(), i)
			if err != nil {
				t.Fatal(err)
			}
			b, err := event.DecodeBatch(m.Data)
			if err != nil {
				t.Fatal(err)
			}
			for o := range b.Observations() {
				rows = append(rows, store.RowOf(o, b.Time, i))
			}
		}
		if err := s.InsertObservations(t.Context(), "first", rows[:20]); err != nil {
			t.Fatal(err)
		}
		if inserted {
			if err := s.InsertObservations(t.Context(), "right", rows[30:]); err != nil {
				t.Fatal(err)
			}
		}
		old := fmt.Sprintf(`{"stream":%q,"done":10,"plan":{"first":11,"last":20,"token":"whole","parts":[{"first":11,"last":15,"token":"left"},{"first":16,"last":20,"token":"right"}]}}`,
			stream.CachedInfo().Created.UTC().Format(time.RFC3339Nano))
		if _, err := kv.PutString(t.Context(), event.StreamObservations, old); err != nil {
			t.Fatal(err)
		}
		r := start(t, bus, s, nil)
		w.settle()
		r.end(t)
		w.check(s)
		keys, err := kv.Keys(t.Context())
		if err != nil || slices.Contains(keys, event.StreamObservations) {
			t.Errorf("the former journal is left: %v, %v", keys, err)
		}
		if _, err := w.js.Consumer(t.Context(), event.StreamObservations, "collector"); err == nil {
			t.Error("the former consumer is left")
		}
	}
}
