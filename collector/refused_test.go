package collector

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/deadletter"
	"github.com/ambit-nhi/ambit/event"
)

// TestRefusedMessagesAreKept sends what is refused, of every cause, to a collector at work: each is counted and kept once with its reason, also when
// another collector follows, and what is good goes on.
func TestRefusedMessagesAreKept(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	n.partitions = 1
	zip, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer zip.Close()
	batch := func(node string, at time.Time) []byte {
		t.Helper()
		b := event.NewBatchBuilder(node, "boot", at.Add(-time.Hour))
		o := observation(at, 1)
		b.Add(&o)
		data, err := b.Encode(1, 1, at)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	subject := event.ObservationSubject(0, "n1")
	bad := []struct {
		cause, subject, reason string
		data                   []byte
	}{
		{causeMalformed, subject, "zstd", []byte("hello\x00\r\n")},
		{causeMalformed, event.AgentSubject("n1"), "EOF", nil},
		{causeMalformed, subject, "nested", zip.EncodeAll(bytes.Repeat([]byte{0x81}, 1<<20), nil)},
		{causeTooLarge, subject, "too large", zip.EncodeAll(make([]byte, 64<<20), nil)},
		{causeTooLarge, subject, "too large", make([]byte, event.MaxMessageBytes+1)},
		{causeVersion, subject, "version 99", zip.EncodeAll([]byte{0xa1, 0x01, 0x18, 99}, nil)},
		{causeNode, subject, `node "n2" spoke`, batch("n2", epoch)},
		{causeClock, subject, "ahead", batch("n1", time.Now().Add(time.Hour))},
		{causeClock, subject, "old", batch("n1", time.Now().Add(-30*24*time.Hour))},
	}
	want := map[string]int{}
	r := start(t, bus, s, one)
	for _, m := range bad {
		want[m.cause]++
		n.send(m.subject, m.data)
		n.publish(time.Second, 1)
	}
	n.settled(r)
	for cause, count := range want {
		if got := value(t, r.metrics.refused.WithLabelValues(cause)); got != float64(count) {
			t.Errorf("%v messages are counted as %s, want %d", got, cause, count)
		}
	}
	r.end(t)
	r = start(t, bus, s, one)
	n.publish(time.Second, 1)
	n.settled(r)
	r.end(t)
	n.checkTotals(s)

	stream, err := n.js.Stream(t.Context(), event.StreamDead)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(event.SubjectDead))
	if err != nil {
		t.Fatal(err)
	}
	for cause, count := range want {
		if got := info.State.Subjects["ambit.v1.dead."+cause]; got != uint64(count) {
			t.Errorf("%d letters are about %s, want %d", got, cause, count)
		}
	}
	if int(info.State.Msgs) != len(bad) {
		t.Fatalf("there are %d letters", info.State.Msgs)
	}
	var letters []*jetstream.RawStreamMsg
	for i := range bad {
		letter, err := stream.GetMsg(t.Context(), uint64(i)+1)
		if err != nil {
			t.Fatal(err)
		}
		letters = append(letters, letter)
	}
	refusedAt := func(m *jetstream.RawStreamMsg) int { // partitions are worked at the same time
		n, err := strconv.Atoi(m.Header.Get(deadletter.HeaderSequence))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	slices.SortFunc(letters, func(a, b *jetstream.RawStreamMsg) int { return refusedAt(a) - refusedAt(b) })
	for i, m := range bad {
		letter := letters[i]
		if h := letter.Header; h.Get(deadletter.HeaderCause) != m.cause || h.Get(deadletter.HeaderSubject) != m.subject || !strings.Contains(h.Get(deadletter.HeaderError), m.reason) {
			t.Errorf("letter %d, want %s %q: %v", i+1, m.cause, m.reason, h)
		}
		if kept := min(len(m.data), event.MaxMessageBytes); !bytes.Equal(letter.Data, m.data[:kept]) {
			t.Errorf("letter %d has %d bytes", i+1, len(letter.Data))
		}
	}
}
