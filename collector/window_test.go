package collector

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// TestWindowAgainstModel compares a window with one that remembers everything.
func TestWindowAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		came, now, high := map[uint64]bool{}, epoch, uint64(0)
		number := rapid.OneOf(
			rapid.Custom(func(t *rapid.T) uint64 { return high + rapid.Uint64Range(1, 5).Draw(t, "ahead") }),
			rapid.Custom(func(t *rapid.T) uint64 { return high - min(high, rapid.Uint64Range(0, 8).Draw(t, "behind")) + 1 }),
			rapid.Custom(func(t *rapid.T) uint64 { return high + rapid.Uint64Range(1000, 3000).Draw(t, "far ahead") }),
			rapid.Uint64Range(1, 4000),
		)
		check := func() {
			t.Helper()
			if got := readWindow(ptr(writeWindow(&w))); !reflect.DeepEqual(*got, relevant(w)) {
				t.Fatalf("written and read it is %+v, want %+v", got, w)
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "messages") {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, time.Second, openFor}).Draw(t, "later"))
			n := number.Draw(t, "number")
			if rapid.IntRange(0, 9).Draw(t, "heartbeat") == 0 {
				w.expect(n, now)
				high = max(high, n)
				check()
				continue
			}
			tooOld := n <= high && high-n >= windowSize
			if got, want := w.take(n, now), !came[n] && !tooOld; got != want {
				t.Fatalf("number %d after %d: taken is %t, want %t", n, high, got, want)
			}
			came[n] = came[n] || !tooOld
			high = max(high, n)
			check()
		}
		if len(came) == 0 {
			return
		}
		// Long after, what did not come is lost: no more and no less.
		w.age(now.Add(openFor))
		w.age(now.Add(2 * openFor))
		arrived := uint64(0)
		for _, ok := range came {
			if ok {
				arrived++
			}
		}
		if got, want := w.lost[causeGap], high-arrived; got != want {
			t.Fatalf("of %d numbers %d came, %d are counted as lost", high, arrived, got)
		}
	})
}

func ptr[T any](v T) *T { return &v }

// relevant drops the bits of numbers that there are not yet.
func relevant(w window) window {
	var seen, told bits
	for n := w.low() + 1; n <= w.high; n++ {
		if w.seen.get(n) {
			seen.set(n)
		}
		if w.told.get(n) {
			told.set(n)
		}
	}
	w.seen, w.told, w.counted = seen, told, w.lost[causeGap]
	return w
}

func TestWindow(t *testing.T) {
	var w window
	f := func(n uint64, after time.Duration, taken bool, lost uint64) {
		t.Helper()
		if got := w.take(n, epoch.Add(after)); got != taken || w.lost[causeGap] != lost {
			t.Errorf("number %d: taken is %t, %d lost; want %t and %d", n, got, w.lost[causeGap], taken, lost)
		}
	}
	f(1, 0, true, 0)
	f(1, 0, false, 0)
	f(3, 0, true, 0)
	f(2, 0, true, 0) // late
	f(2, 0, false, 0)
	f(5, 0, true, 0)
	f(6, openFor-1, true, 0)
	f(8, openFor, true, 0)     // 4 may not be open for long enough
	f(9, 2*openFor, true, 1)   // now it is, 7 is not
	f(4, 2*openFor, true, 0)   // and comes after all
	f(10, 3*openFor, true, 1)  // 7
	f(11, 10*openFor, true, 1) // once
	f(11+windowSize+5, 10*openFor, true, 6)
	f(12, 10*openFor, false, 6) // fell out of the window, counted
	f(1<<40, 10*openFor, true, 1<<40-windowSize-11)
}

// TestTracker checks when the first messages of an agent's start are missing, and when they may have come unseen.
func TestTracker(t *testing.T) {
	tr := newTracker(0)
	f := func(node, boot string, started time.Time, n uint64, fresh bool, lost uint64) {
		t.Helper()
		c := content{batch: &event.Batch{Node: node, Boot: boot, Number: n, Started: started, Time: started.Add(time.Hour)}}
		w, got := tr.note(&c, epoch)
		w.age(epoch.Add(openFor))
		if got != fresh || w.lost[causeGap] != lost {
			t.Errorf("%s %s %d: fresh is %t, %d lost; want %t and %d", node, boot, n, got, w.lost[causeGap], fresh, lost)
		}
	}
	f("n1", "a", epoch, 3, true, 2)
	f("n1", "a", epoch, 3, false, 2)
	f("n1", "b", epoch, 3, true, 2)
	f("n2", "a", epoch, 0, true, 0) // no number of an agent
	f("n2", "a", epoch, 0, true, 0)
	f("n2", "a", epoch, 1<<64-1, true, 0)
	for i := range maxBoots {
		f("n1", fmt.Sprint(i), epoch.Add(time.Duration(i)), 1, true, 0)
	}
	f("n1", "a", epoch, 3, true, 0) // forgotten: believed, and nothing is missing
	f("n1", "a", epoch, 2, true, 0)
	f("n1", "a", epoch, 2, false, 0)
	f("n1", "a", epoch, 5, true, 1)
	f("n1", "new", epoch.Add(time.Hour), 2, true, 1)
	f("n3", "a", epoch.Add(-time.Hour), 2, true, 1) // of another node nothing was forgotten

	tr.unknown = epoch.Add(time.Minute)
	f("n4", "a", epoch, 5000, true, 0)
	f("n4", "a", epoch, 1, true, 0)
	f("n4", "b", epoch.Add(time.Hour), 2, true, 1)
	h := content{heartbeat: &event.Heartbeat{Node: "n5", Boot: "b", Numbers: []uint64{4}, Started: epoch.Add(time.Hour), Time: epoch.Add(2 * time.Hour)}}
	if w, _ := tr.note(&h, epoch); !w.age(epoch.Add(openFor)) || w.lost[causeGap] != 4 {
		t.Errorf("after a heartbeat behind 4 batches %d are lost", w.lost[causeGap])
	}
	h.heartbeat.Node, h.heartbeat.Started = "n6", epoch
	if w, _ := tr.note(&h, epoch); w.age(epoch.Add(openFor)) {
		t.Errorf("of a start that is not known %d are lost", w.lost[causeGap])
	}
	for i := range maxTracked {
		tr.window(coverageKey{fmt.Sprint("x", i), "b"}, epoch.Add(3*time.Hour), epoch.Add(3*time.Hour))
	}
	if tr.nodes.Len() != maxTracked || !tr.unknown.Equal(epoch.Add(time.Hour)) {
		t.Errorf("%d nodes are tracked, starts up to %s are not known", tr.nodes.Len(), tr.unknown)
	}
}

// lostOf is what the coverage of a node says.
func lostOf(t *testing.T, s *store.Store, node string) map[string]uint64 {
	t.Helper()
	watched, err := s.Watched(t.Context(), epoch.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for i := range watched {
		if watched[i].Node != node {
			continue
		}
		var lost map[string]uint64
		for cause, n := range watched[i].Lost {
			if lost == nil {
				lost = map[string]uint64{}
			}
			name, _, _ := strings.Cut(cause, "#") // and the partition
			lost[name] += n
		}
		return lost
	}
	return nil
}

// repeat stores messages of the stream again, as an agent does whose acknowledgements were lost for longer than the stream looks back.
func (n *node) repeat(sequences ...uint64) {
	n.t.Helper()
	stream, err := n.js.Stream(n.t.Context(), event.StreamObservations)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, sequence := range sequences {
		m, err := stream.GetMsg(n.t.Context(), sequence)
		if err != nil {
			n.t.Fatal(err)
		}
		n.send(m.Subject, m.Data)
	}
}

// TestDuplicates checks that a message that is stored twice counts once: at once, after a restart, after a crash, and without the memory of it at
// least no good message is dropped.
func TestDuplicates(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	for port := range uint16(4) {
		n.publish(time.Second, port)
	}
	n.repeat(2, 1)
	duplicates := func(r *running, want float64) {
		t.Helper()
		n.settled(r)
		if got := value(t, r.metrics.duplicate); got != want {
			t.Errorf("%v duplicates, want %v", got, want)
		}
		n.checkTotals(s)
	}
	r := start(t, bus, s, nil)
	duplicates(r, 2)
	n.publish(time.Second, 9)
	n.repeat(3, n.last)
	duplicates(r, 4)
	r.end(t)

	n.publish(time.Second, 10)
	n.repeat(1, 4, n.last)
	r = start(t, bus, s, nil)
	duplicates(r, 3)
	r.end(t)

	// Cut off in an insert that leaves out a duplicate, before and after.
	for _, after := range []bool{false, true} {
		n.publish(time.Second, 11, 1)
		n.repeat(n.last)
		c := &cutStore{Store: s, at: 3, after: after, cut: make(chan struct{})} // coverage, sightings, observations
		r = launch(t, bus, c, func(cfg *Config) { cfg.FlushInterval, cfg.Grace = 300*time.Millisecond, 10*time.Millisecond })
		r.await(t, "the write", c.cut)
		r.end(t)
		n.repeat(n.last)
		r = start(t, bus, s, nil)
		duplicates(r, 1) // the other one was left out by the plan
		r.end(t)
	}

	// What was written down is lost: what comes is taken, in any order, once.
	windows, err := n.js.Stream(t.Context(), "KV_"+windowsBucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := windows.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	r = start(t, bus, s, nil)
	n.publish(time.Second, 12)
	n.repeat(n.last)
	duplicates(r, 1)
	if lost := lostOf(t, s, "n1"); len(lost) != 0 {
		t.Errorf("lost is %v", lost)
	}
	r.end(t)
}

// TestCheckpoint checks that a tracker is made again as it was from an old checkpoint and the stream.
func TestCheckpoint(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	r := start(t, bus, s, nil)
	n.publish(time.Second, 1)
	n.sequence += 3 // never come
	n.publish(time.Second, 1)
	n.settled(r)
	r.end(t)
	kv, err := n.js.KeyValue(t.Context(), windowsBucket)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := n.js.Stream(t.Context(), event.StreamObservations)
	if err != nil {
		t.Fatal(err)
	}
	old := map[string][]byte{}
	keys, err := kv.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		e, err := kv.Get(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		old[k] = e.Value()
	}
	r = start(t, bus, s, nil)
	n.publish(time.Second, 2)
	m := newNode(t, bus, "n2")
	m.publish(time.Second, 2)
	n.publish(time.Second, 3)
	n.settled(r)
	r.end(t)
	load := func(done uint64) *tracker {
		t.Helper()
		tr, known, lowest, err := r.loadTracker(t.Context(), kv, stream.CachedInfo().Created, n.home(), done)
		if err != nil {
			t.Fatal(err)
		}
		// As the judge does.
		if _, err := readSpan(t.Context(), stream, subject(n.home()), lowest+1, done, func(m message) error {
			in, refused := decode(m.Subject(), m.Data(), m.stored, r.cfg.MaxBehind, n.partitions)
			if refused == nil && m.sequence > known[shardOf(in.batch.Node)] {
				tr.note(&in, m.stored)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return tr
	}
	dump := func(tr *tracker) map[string]string {
		out := map[string]string{}
		for node, x := range tr.nodes.All() {
			for _, w := range x.boots {
				out[node] += fmt.Sprintf("%+v;", writeWindow(w))
			}
		}
		return out
	}
	head := keysOf(n.home()) + "head"
	want := dump(load(n.last))
	if len(want) != 2 {
		t.Fatalf("the tracker knows %d nodes, want 2", len(want))
	}
	for _, k := range keys { // as by a crash between two checkpoints
		if _, err := kv.Put(t.Context(), k, old[k]); err != nil {
			t.Fatal(err)
		}
	}
	if got := dump(load(n.last)); !reflect.DeepEqual(got, want) {
		t.Errorf("made again it is\n%v\nwant\n%v", got, want)
	}
	if got := load(n.last - 1); got.find(coverageKey{"n1", "boot"}).high != n.sequence-1 {
		t.Error("it knows of a message that is not in the store")
	}
	if got := load(1); got.nodes.Len() != 0 || !got.unknown.After(time.Now()) {
		t.Error("a tracker that is ahead of the store is believed")
	}
	if _, err := kv.PutString(t.Context(), head, "{"); err != nil {
		t.Fatal(err)
	}
	if got := load(n.last); got.nodes.Len() != 0 || !got.unknown.After(time.Now()) {
		t.Error("a damaged checkpoint is believed")
	}
	if _, err := kv.Put(t.Context(), head, old[head]); err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeKeep(0)); err != nil {
		t.Fatal(err)
	}
	if got := load(n.last); got.find(coverageKey{"n1", "boot"}).high != n.sequence-2 {
		t.Error("without the messages behind it, the checkpoint is not what is left")
	}
}

// TestLostMessages checks that what an agent numbered and never came is in the coverage of its node, with what was refused.
func TestLostMessages(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	r := start(t, bus, s, nil)
	n.publish(time.Second, 1)
	n.sequence += 5 // never come
	n.publish(time.Second, 1)
	n.sequence++ // refused
	n.send(event.ObservationSubject(n.home(), n.name), []byte("nonsense"))
	n.flood(windowSize+1, 1)
	n.settled(r)
	r.end(t)
	if got := lostOf(t, s, "n1"); len(got) != 1 || got[causeGap] != 6 {
		t.Errorf("lost is %v, want 6 messages", got)
	}

	// What else is left out goes the same way, and adds up over restarts.
	r = start(t, bus, s, nil)
	n.sequence += 2
	b := event.NewBatchBuilder(n.name, "boot", epoch)
	o := observation(n.now, 1)
	o.Workload.Identity = identity(t, "spiffe://test.example/node/n2/unit/a.service")
	b.Add(&o)
	n.sendBatch(b, n.now)
	n.flood(windowSize+1, 1)
	numbers := make([]uint64, n.partitions)
	numbers[n.home()] = n.sequence
	h := event.Heartbeat{Node: n.name, Boot: "boot", Started: epoch, Time: n.now, Sequence: n.sequence, Numbers: numbers, Version: "v1", Lost: map[string]uint64{"ring_full": 3, causeGap: 1 << 50}}
	beat, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	n.send(event.AgentSubject(n.name), beat)
	n.settled(r)
	r.end(t)
	want := map[string]uint64{causeGap: 8, causeForeign: 2, "ring_full": 3}
	if got := lostOf(t, s, "n1"); !reflect.DeepEqual(got, want) {
		t.Errorf("lost is %v, want %v", got, want)
	}
}
