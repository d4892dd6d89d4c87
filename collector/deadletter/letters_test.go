package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type bench struct {
	t      *testing.T
	server *testenv.NATSCluster
	js     jetstream.JetStream
	stream jetstream.Stream
	*Letters
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, server: testenv.StartNATSCluster(t, 1)}
	nc, err := nats.Connect(b.server.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if b.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	if b.stream, err = b.js.CreateStream(t.Context(), Stream()); err != nil {
		t.Fatal(err)
	}
	b.Letters = New(b.js, prometheus.NewRegistry())
	return b
}

func (b *bench) messages() uint64 {
	b.t.Helper()
	info, err := b.stream.Info(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return info.State.Msgs
}

func (b *bench) count(c *prometheus.CounterVec, label string) float64 {
	b.t.Helper()
	var m dto.Metric
	if err := c.WithLabelValues(label).Write(&m); err != nil {
		b.t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func TestLetter(t *testing.T) {
	b := newBench(t)
	at := time.Date(2026, 11, 22, 10, 0, 0, 5, time.UTC)
	r := Refused{Cause: "too_large", Subject: "ambit.v1.obs.3.n1", Sequence: 77, Time: at, Err: errors.New("one\r\nNats-Rollup: all\x00 \xff two"), Data: []byte{0, 1, 2, 255}}
	for range 3 { // as after a crash
		b.Put(t.Context(), r)
	}
	if n := b.messages(); n != 1 {
		t.Fatalf("there are %d letters", n)
	}
	m, err := b.stream.GetLastMsgForSubject(t.Context(), "ambit.v1.dead.too_large")
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		HeaderSubject: "ambit.v1.obs.3.n1", HeaderSequence: "77", HeaderCause: "too_large", HeaderTime: "2026-11-22T10:00:00.000000005Z",
		HeaderError: "one  Nats-Rollup: all  ? two", HeaderLength: "", "Nats-Rollup": "", nats.MsgIdHdr: "too_large/77",
	} {
		if got := m.Header.Get(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if !bytes.Equal(m.Data, r.Data) {
		t.Errorf("the body is %x", m.Data)
	}
}

// TestLongAndStrange checks what is refused for its size, and that a cause cannot leave its place.
func TestLongAndStrange(t *testing.T) {
	b := newBench(t)
	b.Put(t.Context(), Refused{Cause: "a.b>c *", Sequence: 1, Err: errors.New(strings.Repeat("x", 1<<20)), Data: make([]byte, 900<<10)})
	b.Put(t.Context(), Refused{Sequence: 2})
	m, err := b.stream.GetLastMsgForSubject(t.Context(), "ambit.v1.dead.a-b-c--")
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Data) != event.MaxMessageBytes || m.Header.Get(HeaderLength) != fmt.Sprint(900<<10) || len(m.Header.Get(HeaderError)) != maxError {
		t.Errorf("the letter has %d bytes, headers %v", len(m.Data), m.Header)
	}
	if _, err := b.stream.GetLastMsgForSubject(t.Context(), "ambit.v1.dead.unknown"); err != nil {
		t.Error(err)
	}
}

// TestFlood has one cause come ten thousand times: it is limited, and others keep their place.
func TestFlood(t *testing.T) {
	b := newBench(t)
	b.Put(t.Context(), Refused{Cause: "version", Sequence: 1})
	began := time.Now()
	for i := range uint64(10_000) {
		b.Put(t.Context(), Refused{Cause: "malformed", Sequence: i, Data: make([]byte, 1000)})
	}
	t.Logf("10,000 refusals took %s", time.Since(began))
	written, left := b.count(b.written, "malformed"), b.count(b.left, leftRate)
	most := burst + perSecond*time.Since(began).Seconds() + 1
	if written < burst || written > most || written+left != 10_000 {
		t.Errorf("%v were written, %v were not", written, left)
	}
	if n := b.messages(); n != uint64(written)+1 {
		t.Errorf("there are %d letters", n)
	}
	for i := range 100 { // causes are of a small set; were they not, metrics and subjects would still be bounded
		b.Put(t.Context(), Refused{Cause: fmt.Sprint("cause", i), Sequence: 1})
	}
	info, err := b.stream.Info(t.Context(), jetstream.WithSubjectFilter(event.SubjectDead))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(info.State.Subjects); n > maxCauses+1 {
		t.Errorf("there are %d causes", n)
	}
}

// TestBound fills the stream with one cause for longer than the limit of writing would take: others keep their letters.
func TestBound(t *testing.T) {
	b := newBench(t)
	b.Put(t.Context(), Refused{Cause: "version", Sequence: 1})
	for i := range uint64(maxPerCause + 20) {
		if _, err := b.js.PublishMsg(t.Context(), letter("malformed", Refused{Sequence: i, Data: make([]byte, maxBody)})); err != nil {
			t.Fatal(err)
		}
	}
	info, err := b.stream.Info(t.Context(), jetstream.WithSubjectFilter(event.SubjectDead))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.State.Subjects; got["ambit.v1.dead.malformed"] < maxPerCause-1 || got["ambit.v1.dead.malformed"] > maxPerCause || got["ambit.v1.dead.version"] != 1 || info.State.Bytes > MaxBytes {
		t.Errorf("the stream holds %v, %d bytes", got, info.State.Bytes)
	}
}

// TestAway has no server: refusing goes on, and what is not kept is counted.
func TestAway(t *testing.T) {
	b := newBench(t)
	b.server.Stop(0)
	began := time.Now()
	for i := range uint64(1000) {
		b.Put(t.Context(), Refused{Cause: "malformed", Sequence: i})
	}
	if took := time.Since(began); took > 2*maxWait {
		t.Errorf("1000 refusals took %s", took)
	}
	if n := b.count(b.left, leftAway); n != 1000 {
		t.Errorf("%v letters are counted as lost", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.Put(ctx, Refused{Cause: "malformed"})
}
