package collector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/collector/journal"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
)

// letter is a message that is only read.
type letter struct {
	jetstream.Msg
	subject string
	data    []byte
}

func (l letter) Subject() string { return l.subject }
func (l letter) Data() []byte    { return l.data }

// court is a partition's judge without the rest of a collector.
type court struct{ *shift }

func newCourt(t testing.TB) *court {
	t.Helper()
	bus := openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	cfg := Default()
	cfg.Partitions = 2
	cfg.Detector.Learn = time.Minute
	c, err := New(cfg, bus, nil, prometheus.NewRegistry(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.openShift(t.Context(), n.js)
	if err != nil {
		t.Fatal(err)
	}
	s.work, s.ending = t.Context(), t.Context()
	return &court{s}
}

// sit makes a judge that knows nothing, or what a state says.
func (c *court) sit(from *state) *worker {
	w := c.newWorker(0, c.work)
	w.claim = &journal.Claim{}
	if from == nil {
		w.mind, w.tracker = mind{detector: detector.New(c.shareOf()), quota: newQuota(c.cfg.Partitions)}, newTracker(0)
		return w
	}
	w.mind, w.tracker = from.mind, from.tracker
	w.base, w.around = from.asOf, from.asOf
	for i := range w.known {
		w.known[i] = from.asOf
	}
	return w
}

// hearing has a judge take messages, and gives what was told at the end, by ID.
func hearing(t interface{ Fatal(...any) }, w *worker, messages []message, told map[string]string) {
	note := func() {
		for i := range w.told {
			data, err := json.Marshal(&w.told[i])
			if err != nil {
				t.Fatal(err)
			}
			told[w.told[i].ID] = string(data)
		}
	}
	for _, m := range messages {
		if err := w.take(context.Background(), m); err != nil {
			t.Fatal(err)
		}
		note()
	}
}

// neighbours is what a detector of another partition tells when it has seen so many identities reach something.
func neighbours(t interface{ Fatal(...any) }, n int) []byte {
	c := detector.Default()
	c.Share = true
	d := detector.New(c)
	for i := range n {
		o := observation(epoch, uint16(1+i%7))
		id, err := event.ParseIdentity(fmt.Sprintf("spiffe://test.example/ns/a/sa/other%d", i))
		if err != nil {
			t.Fatal(err)
		}
		o.Workload.Identity, o.Peer.Address = id, netip.AddrFrom4([4]byte{10, 0, 0, 1})
		d.Observe(&o, nil)
	}
	data, err := d.Notes()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// stories are messages of one partition, as two nodes and others could have sent them.
func stories(t *rapid.T) (messages []message) {
	var people []event.Workload
	for i := 0; len(people) < 12; i++ {
		id, err := event.ParseIdentity(fmt.Sprintf("spiffe://test.example/ns/a/sa/s%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if event.Partition(id, 2) == 0 {
			w := busy
			w.Identity, w.ServiceAccount = id, fmt.Sprintf("s%d", i)
			people = append(people, w)
		}
	}
	now := epoch
	send := func(subject string, data []byte) {
		messages = append(messages, message{Msg: letter{subject: subject, data: data}, sequence: uint64(len(messages) + 1), stored: now, pending: 1})
	}
	numbers := map[string]uint64{}
	for range rapid.IntRange(5, 60).Draw(t, "messages") {
		now = now.Add(time.Duration(rapid.IntRange(1, 1200).Draw(t, "seconds")) * time.Second)
		node := rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "node")
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0: // again
			if len(messages) > 0 {
				m := messages[rapid.IntRange(0, len(messages)-1).Draw(t, "again")]
				send(m.Subject(), m.Data())
			}
		case 1:
			d := declared{Identity: people[rapid.IntRange(0, 11).Draw(t, "who")].Identity, Created: now.Add(-100 * 24 * time.Hour), Version: uint64(len(messages))}
			if rapid.Bool().Draw(t, "gone") {
				d.Gone = now.Add(-2 * time.Hour)
			}
			data, err := json.Marshal(&declarations{Declared: []declared{d}})
			if err != nil {
				t.Fatal(err)
			}
			send(event.DeclaredSubject(0), data)
		case 2: // from a detector that knows one more of the group each time
			if data := neighbours(t, len(messages)); data != nil {
				send(event.SharedSubject(1), data)
			}
		case 3:
			data, err := (&event.Heartbeat{Node: node, Boot: "boot", Sequence: uint64(len(messages)), Started: epoch, Time: now, Numbers: []uint64{numbers[node], 0}}).Encode()
			if err != nil {
				t.Fatal(err)
			}
			send(event.AgentSubject(node), data)
		default:
			b := event.NewBatchBuilder(node, "boot", epoch)
			for range rapid.IntRange(1, 6).Draw(t, "observations") {
				o := observation(now, uint16(rapid.IntRange(1, 40).Draw(t, "port")))
				o.Workload = people[rapid.IntRange(0, 11).Draw(t, "who")]
				o.Peer.Address = netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(1, 3).Draw(t, "peer"))})
				o.Counts.BytesSent = uint64(rapid.IntRange(0, 1<<30).Draw(t, "bytes"))
				b.Add(&o)
			}
			numbers[node]++
			data, err := b.Encode(numbers[node], numbers[node], now)
			if err != nil {
				t.Fatal(err)
			}
			send(event.ObservationSubject(0, node), data)
		}
	}
	return messages
}

// TestSavedStateGoesOn has a judge stop at any messages, and another one begin with what the first one saved, or had saved some messages before: what is told
// is the same as without a stop.
func TestSavedStateGoesOn(t *testing.T) {
	c := newCourt(t)
	told, findings := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		messages := stories(t)
		whole := map[string]string{}
		hearing(t, c.sit(nil), messages, whole)
		findings += len(whole)

		cut := map[string]string{}
		w := c.sit(nil)
		cuts := rapid.SliceOfN(rapid.IntRange(0, len(messages)), 1, 4).Draw(t, "cuts")
		slices.Sort(cuts)
		var at int
		for _, next := range cuts {
			hearing(t, w, messages[at:next], cut)
			var saved bytes.Buffer
			if err := encodeState(&saved, c.shift.created, 2, &state{mind: w.mind, tracker: w.tracker}); err != nil {
				t.Fatal(err)
			}
			lost := rapid.IntRange(next, len(messages)).Draw(t, "judged after it was saved")
			hearing(t, w, messages[next:lost], cut) // told, and told again
			from, err := decodeState(&saved, c.shareOf(), c.shift.created, 0, 2)
			if err != nil {
				t.Fatal(err)
			}
			w, at = c.sit(from), next
			if rapid.Bool().Draw(t, "from before") { // as the tracker may want
				at = rapid.IntRange(0, next).Draw(t, "from")
			}
		}
		hearing(t, w, messages[at:], cut)
		if len(cut) != len(whole) {
			t.Fatalf("%d findings with stops, %d without", len(cut), len(whole))
		}
		for id, want := range whole {
			if cut[id] != want {
				t.Fatalf("with stops: %s\nwithout:    %s", cut[id], want)
			}
		}
		told += len(cut)
	})
	if findings == 0 || told != findings {
		t.Fatalf("%d findings, %d without stops", told, findings)
	}
	t.Logf("%d findings", findings)
}

// TestDamagedStates are refused, whatever is wrong.
func TestDamagedStates(t *testing.T) {
	c := newCourt(t)
	w := c.sit(nil)
	for i := range 20 {
		b := event.NewBatchBuilder("n1", "boot", epoch)
		o := observation(epoch.Add(time.Duration(i)*time.Minute), uint16(i))
		id, err := event.ParseIdentity(fmt.Sprintf("spiffe://test.example/ns/a/sa/s%d", i))
		if err != nil {
			t.Fatal(err)
		}
		o.Workload.Identity = id
		b.Add(&o)
		data, err := b.Encode(uint64(i+1), uint64(i+1), o.Time)
		if err != nil {
			t.Fatal(err)
		}
		hearing(t, w, []message{{Msg: letter{subject: event.ObservationSubject(0, "n1"), data: data}, sequence: uint64(i + 1), stored: o.Time}}, map[string]string{})
	}
	var saved bytes.Buffer
	if err := encodeState(&saved, c.shift.created, 2, &state{mind: w.mind, tracker: w.tracker}); err != nil {
		t.Fatal(err)
	}
	good := saved.Bytes()
	read := func(data []byte, partition, partitions int) error {
		_, err := decodeState(bytes.NewReader(data), c.shareOf(), c.shift.created, partition, partitions)
		return err
	}
	if err := read(good, 0, 2); err != nil {
		t.Fatal(err)
	}
	f := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, errState) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	f("of another partition", read(good, 1, 2))
	f("of other partitions", read(good, 0, 3))
	f("nothing", read(nil, 0, 2))
	for n := 1; n < len(good); n += len(good)/50 + 1 {
		f(fmt.Sprintf("cut after %d bytes", n), read(good[:n], 0, 2))
	}
	_, err := decodeState(bytes.NewReader(good), c.shareOf(), c.shift.created.Add(1), 0, 2)
	f("of another stream", err)
}
