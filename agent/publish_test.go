package agent

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/ambit-nhi/ambit/event"
)

// natsServer starts a server on a folder, at a port if it is not 0. It can be stopped and started again.
func natsServer(t *testing.T, dir string, port int) *server.Server {
	t.Helper()
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { stopServer(s) })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server is not ready after 10s")
	}
	return s
}

func stopServer(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// publishing is a publisher with a real server behind it.
type publishing struct {
	*Publisher
	t    *testing.T
	js   jetstream.JetStream
	made int
}

func newPublishing(t *testing.T, s *server.Server, cfg PublisherConfig) *publishing {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, PublishOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Node, cfg.Boot, cfg.Started, cfg.Partitions = "n1", "b1", time.Now(), 4
	p, err := NewPublisher(cfg, js)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return &publishing{Publisher: p, t: t, js: js}
}

func (p *publishing) createStream(change func(*jetstream.StreamConfig)) {
	p.t.Helper()
	cfg := jetstream.StreamConfig{
		Name: event.StreamObservations, Subjects: []string{event.SubjectObservations, event.SubjectAgents}, Storage: jetstream.FileStorage,
	}
	if change != nil {
		change(&cfg)
	}
	if _, err := p.js.CreateStream(p.t.Context(), cfg); err != nil {
		p.t.Fatal(err)
	}
}

// start runs the publisher. The function that it gives ends it and waits.
func (p *publishing) start() (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	p.t.Cleanup(func() { _ = stop() })
	return stop
}

// observe makes observations of one connection each, spread over identities, and flushes them.
func (p *publishing) observe(n int) {
	p.t.Helper()
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		p.t.Fatal(err)
	}
	for range n {
		p.made++
		p.Observe(&event.Observation{
			Time: time.Now(), Node: "n1", Direction: event.Outbound, Protocol: event.TCP,
			Workload: event.Workload{Identity: event.UnitIdentity(td, "n1", fmt.Sprintf("s%d.service", p.made%10))},
			Peer:     event.Peer{Address: netip.AddrFrom4([4]byte{10, 0, byte(p.made >> 8), byte(p.made)}), Port: 443},
			Counts:   event.Counts{Connections: 1},
		})
	}
	p.Flush(time.Now())
}

// waitFor polls: what it waits for happens in the server.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20s", what)
		}
	}
}

func (p *publishing) settled() bool {
	messages, _, _ := p.outbox.waiting()
	return messages == 0
}

// received reads the whole stream: connections, and the numbers of messages in the order in which they stand there.
func (p *publishing) received() (connections uint64, sequences []uint64, heartbeats []*event.Heartbeat) {
	t := p.t
	t.Helper()
	stream, err := p.js.Stream(t.Context(), event.StreamObservations)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var highest uint64
	ids := map[string]bool{}
	for n := info.State.FirstSeq; n > 0 && n <= info.State.LastSeq; n++ {
		m, err := stream.GetMsg(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject == event.AgentSubject("n1") {
			h, err := event.DecodeHeartbeat(m.Data)
			if err != nil {
				t.Fatal(err)
			}
			if h.Sequence < highest {
				t.Errorf("a heartbeat says that %d batches were sent, and stands behind number %d", h.Sequence, highest)
			}
			if id := m.Header.Get(jetstream.MsgIDHeader); !strings.HasPrefix(id, "n1/b1/heartbeat/") || ids[id] {
				t.Errorf("a heartbeat has id %q", id)
			}
			ids[m.Header.Get(jetstream.MsgIDHeader)] = true
			heartbeats = append(heartbeats, h)
			continue
		}
		b, err := event.DecodeBatch(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		for o := range b.Observations() {
			connections += o.Counts.Connections
			if want := event.ObservationSubject(event.Partition(o.Workload.Identity, 4), "n1"); m.Subject != want {
				t.Errorf("subject %s, want %s", m.Subject, want)
			}
		}
		sequence := b.Sequence
		highest = sequence
		if id := m.Header.Get(jetstream.MsgIDHeader); id != event.MessageID("n1", "b1", sequence) {
			t.Errorf("message %d has id %q", sequence, id)
		}
		sequences = append(sequences, sequence)
	}
	return connections, sequences, heartbeats
}

// check says that everything that was made is in the stream once, in order, except what was counted as lost.
func (p *publishing) check(lost uint64) (sequences []uint64, heartbeats []*event.Heartbeat) {
	p.t.Helper()
	connections, sequences, heartbeats := p.received()
	if connections+lost != uint64(p.made) {
		p.t.Errorf("%d connections arrived and %d are counted as lost, of %d", connections, lost, p.made)
	}
	for i := 1; i < len(sequences); i++ {
		if sequences[i] <= sequences[i-1] {
			p.t.Errorf("message %d stands behind %d", sequences[i], sequences[i-1])
		}
	}
	return sequences, heartbeats
}

func leaks(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
}

func TestPublish(t *testing.T) {
	leaks(t)
	p := newPublishing(t, natsServer(t, t.TempDir(), 0), PublisherConfig{Window: 3})
	p.createStream(nil)
	stop := p.start()
	for range 20 {
		p.observe(50)
	}
	p.Heartbeat(&event.Heartbeat{Time: time.Now(), Kernel: "6.1"})
	if err := stop(); err != nil { // sends what is left
		t.Fatal(err)
	}
	sequences, heartbeats := p.check(0)
	for i := range sequences { // heartbeats take none of the numbers
		if sequences[i] != uint64(i+1) {
			t.Errorf("batch %d has number %d", i+1, sequences[i])
		}
	}
	if len(heartbeats) != 1 || heartbeats[0].Sequence != sequences[len(sequences)-1] || heartbeats[0].Boot != "b1" {
		t.Errorf("heartbeats %+v, want one, behind %d messages", heartbeats, len(sequences))
	}
	if g := p.Gauges(); g["publish-acknowledged"] != uint64(len(sequences)+1) || g["publish-waiting"] != 0 {
		t.Errorf("gauges %v, want %d acknowledged", g, len(sequences))
	}
}

// The server goes away in the middle of traffic, and comes back with its files.
func TestPublishAcrossServerRestart(t *testing.T) {
	leaks(t)
	dir := t.TempDir()
	s := natsServer(t, dir, 0)
	port := s.Addr().(interface{ AddrPort() netip.AddrPort }).AddrPort().Port()
	p := newPublishing(t, s, PublisherConfig{})
	p.createStream(nil)
	stop := p.start()
	for range 3 {
		p.observe(200)
		waitFor(t, "acknowledgement", func() bool { return p.acknowledged.Load() > 0 })
		p.observe(200)
		stopServer(s)
		p.observe(200)
		p.Heartbeat(&event.Heartbeat{Time: time.Now()})
		p.observe(200)
		p.Heartbeat(&event.Heartbeat{Time: time.Now()})
		s = natsServer(t, dir, int(port))
		waitFor(t, "delivery after the restart", p.settled)
	}
	p.check(0)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// What was stored while its acknowledgement was lost is sent again, and the stream knows it.
func TestPublishTwiceIsStoredOnce(t *testing.T) {
	leaks(t)
	p := newPublishing(t, natsServer(t, t.TempDir(), 0), PublisherConfig{})
	p.createStream(nil)
	p.observe(100)
	for _, m := range p.outbox.queue { // as by a publisher whose connection broke before the answer
		if _, err := p.js.PublishMsg(t.Context(), &nats.Msg{Subject: m.subject, Data: m.data}, jetstream.WithMsgID(m.id)); err != nil {
			t.Fatal(err)
		}
	}
	stop := p.start()
	waitFor(t, "delivery", p.settled)
	sequences, _ := p.check(0)
	if n := p.Gauges()["publish-duplicates"]; n != uint64(len(sequences)) {
		t.Errorf("%d duplicates, want %d", n, len(sequences))
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestPublishQueueFull(t *testing.T) {
	leaks(t)
	p := newPublishing(t, natsServer(t, t.TempDir(), 0), PublisherConfig{QueueBytes: 20_000})
	for range 100 { // nobody sends yet
		p.observe(20)
		p.Heartbeat(&event.Heartbeat{Time: time.Now()})
	}
	messages, observations, bytes := p.outbox.waiting()
	lost := p.Counters()["publish-queue-full"]
	if bytes > 20_000 || lost == 0 || lost+observations != uint64(p.made) {
		t.Fatalf("%d messages of %d bytes wait with %d observations, %d are counted as lost, of %d", messages, bytes, observations, lost, p.made)
	}
	p.createStream(nil)
	stop := p.start()
	waitFor(t, "delivery", p.settled)
	_, heartbeats := p.check(lost)
	if len(heartbeats) != 1 {
		t.Errorf("%d heartbeats, want the last one only", len(heartbeats))
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestPublishBeforeTheStreamExists(t *testing.T) {
	leaks(t)
	p := newPublishing(t, natsServer(t, t.TempDir(), 0), PublisherConfig{})
	stop := p.start()
	p.observe(100)
	waitFor(t, "a second try", func() bool { return p.retries.Load() > 4 })
	p.createStream(nil)
	waitFor(t, "delivery", p.settled)
	p.check(0)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// A message that can never be taken does not hold up the others.
func TestPublishRefused(t *testing.T) {
	leaks(t)
	p := newPublishing(t, natsServer(t, t.TempDir(), 0), PublisherConfig{})
	p.createStream(func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1500 })
	stop := p.start()
	p.observe(1)
	p.observe(5000)
	p.observe(1)
	waitFor(t, "settling", p.settled)
	lost := p.Counters()["publish-refused"]
	if lost != 5000 {
		t.Errorf("%d observations are counted as refused, want 5000", lost)
	}
	p.check(lost)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestPublishEndsWithoutServer(t *testing.T) {
	leaks(t)
	s := natsServer(t, t.TempDir(), 0)
	p := newPublishing(t, s, PublisherConfig{Drain: 50 * time.Millisecond})
	p.createStream(nil)
	stop := p.start()
	p.observe(10)
	waitFor(t, "delivery", p.settled)
	stopServer(s)
	p.observe(10)
	begin := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("ended after %s", took)
	}
	if _, observations, _ := p.outbox.waiting(); observations != 10 {
		t.Errorf("%d observations wait, want 10", observations)
	}
}

func TestPublishOverClosedConnection(t *testing.T) {
	leaks(t)
	p := newPublishing(t, natsServer(t, t.TempDir(), 0), PublisherConfig{})
	p.js.Conn().Close()
	p.observe(1)
	if err := p.Run(t.Context()); err == nil {
		t.Error("no error")
	}
}

func BenchmarkObserve(b *testing.B) {
	p := newPublisher(PublisherConfig{Node: "n1", Boot: "b1", Started: time.Now(), Partitions: 16, QueueBytes: 1 << 20}, nil)
	td, _ := event.ParseTrustDomain("shop.example")
	o := event.Observation{
		Time: time.Now(), Direction: event.Outbound, Protocol: event.TCP, Counts: event.Counts{Connections: 1},
		Workload: event.Workload{Identity: event.UnitIdentity(td, "n1", "a.service")}, Peer: event.Peer{Address: netip.MustParseAddr("10.0.0.1"), Port: 443},
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		p.Observe(&o)
		if n%1000 == 999 { // an interval
			p.Flush(o.Time)
		}
	}
}

// A batch never exceeds the bound of a message, and its time is that of its observations if it is full before the interval ends.
func TestPublishFullBatch(t *testing.T) {
	p := newPublisher(PublisherConfig{Node: "n1", Boot: "b1", Started: time.Now().Add(-time.Hour), Partitions: 1}, nil)
	td, _ := event.ParseTrustDomain("shop.example")
	at := time.Now().Add(-time.Minute)
	n := 0
	for ; p.sequence == 0; n++ {
		p.Observe(&event.Observation{
			Time: at, Direction: event.Outbound, Protocol: event.TCP, Counts: event.Counts{Connections: 1},
			Workload: event.Workload{Identity: event.UnitIdentity(td, "n1", "a.service")}, Peer: event.Peer{Address: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})},
		})
	}
	m, err := p.outbox.take()
	if err != nil {
		t.Fatal(err)
	}
	b, err := event.DecodeBatch(m.data)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.data) > event.MaxMessageBytes || b.Len() != n || m.observations != uint64(n) || !b.Time.Equal(at) {
		t.Errorf("%d bytes, %d of %d observations, counted %d, time %s, want %s", len(m.data), b.Len(), n, m.observations, b.Time, at)
	}
}
