package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
)

func TestRefusals(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	r := start(t, bus, s, nil)
	n.publish(time.Second, 1)
	good, err := event.NewBatchBuilder("n1", "boot", epoch).Encode(99, 99, epoch)
	if err != nil {
		t.Fatal(err)
	}
	h := event.Heartbeat{Node: "n1", Boot: "boot", Started: epoch, Time: epoch.Add(time.Hour), Lost: map[string]uint64{"ring_full": 3}, Version: "v1"}
	beat, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	refused := func(cause string) int { return int(value(t, r.metrics.refused.WithLabelValues(cause))) }
	f := func(cause, subject string, data []byte) {
		t.Helper()
		before := refused(cause)
		n.send(subject, data)
		n.settled(r)
		if got := refused(cause) - before; got != 1 {
			t.Errorf("%s: %d refused as %s", subject, got, cause)
		}
	}
	f(causeMalformed, "ambit.v1.obs.0.n1", []byte("nonsense"))
	f(causeMalformed, "ambit.v1.obs.15.n1", []byte("nonsense"))
	f(causeMalformed, "ambit.v1.agent.n1", nil)
	f(causeTooLarge, "ambit.v1.obs.0.n1", make([]byte, event.MaxMessageBytes+1))
	f(causeNode, "ambit.v1.obs.0.n2", good)
	f(causeNode, "ambit.v1.agent.n2", beat)
	f(causeSubject, "ambit.v1.obs.0.n1.more", good)
	f(causeSubject, "ambit.v1.obs.0", good)
	f(causeSubject, "ambit.v1.agent.n1.more", beat)
	ahead, err := event.NewBatchBuilder("n1", "boot", epoch).Encode(100, 100, time.Now().Add(maxAhead+time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	f(causeClock, "ambit.v1.obs.0.n1", ahead)
	n.send(event.AgentSubject("n1"), beat)
	n.publish(time.Second, 1, 2)
	n.settled(r)

	// Refused messages do not come back, good ones are acknowledged.
	for p, last := range n.lastOf {
		for _, kind := range []string{"detect", "store"} {
			if kind == "detect" && p == n.partitions {
				continue
			}
			await(t, "acknowledgements", func() bool {
				c, err := n.js.Consumer(t.Context(), event.StreamObservations, fmt.Sprintf("ambit-%s-%d", kind, p))
				if err != nil {
					t.Fatal(err)
				}
				info := c.CachedInfo()
				return info.NumAckPending == 0 && info.AckFloor.Stream >= last
			})
		}
	}
	r.end(t)
	n.checkTotals(s)
	var watched []store.Span
	if err := s.EachNode(t.Context(), func(node string, spans []store.Span) error {
		watched = append(watched, spans...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if last := watched[len(watched)-1].Until; !last.Equal(h.Time) {
		t.Errorf("the node was watched until %s, want the heartbeat's %s", last, h.Time)
	}
}

// failingStore is a real store that cannot be reached for a while.
type failingStore struct {
	*store.Store
	away     func(attempt int) (before, after bool) // fail before the insert, or after it, when only the answer is lost
	attempts int
}

var errAway = errors.New("the store is away")

func (s *failingStore) InsertBatches(ctx context.Context, token string, messages []store.Message) error {
	before, after := s.away(s.attempts)
	s.attempts++
	if before {
		return errAway
	}
	if err := s.Store.InsertBatches(ctx, token, messages); err != nil {
		return err
	}
	if after {
		return errAway
	}
	return nil
}

func TestStoreAway(t *testing.T) {
	real, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	s := &failingStore{Store: real, away: func(attempt int) (before, after bool) { return attempt%4 == 0, attempt%4 == 2 }}
	r := start(t, bus, s, func(c *Config) { c.FlushRows = 2 })
	for port := range uint16(12) {
		n.publish(time.Second, port, 1)
	}
	n.settled(r)
	r.end(t)
	n.checkTotals(real)
	if value(t, r.metrics.retried.WithLabelValues("insert observations")) == 0 {
		t.Error("no retry was counted")
	}
}

// TestBackPressure checks that a collector whose store is away takes a bounded part of the stream, says that it is not well, and stops in
// time; nothing is lost.
func TestBackPressure(t *testing.T) {
	real, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	s := &failingStore{Store: real, away: func(int) (before, after bool) { return true, false }}
	began := time.Now()
	r := start(t, bus, s, func(c *Config) { c.FlushRows, c.Grace = 2, 50*time.Millisecond })
	n.flood(4196, 2)
	await(t, "a failed insert", func() bool {
		return errors.Is(r.troubled(time.Now().Add(2*patience)), errAway)
	})
	if err := r.troubled(began); err != nil { // at first it is patient
		t.Errorf("ready: %v", err)
	}
	if err := r.troubled(time.Now().Add(2 * patience)); !errors.Is(err, errAway) {
		t.Errorf("not ready: %v", err)
	}
	c, err := n.js.Consumer(t.Context(), event.StreamObservations, fmt.Sprintf("ambit-store-%d", n.home()))
	if err != nil {
		t.Fatal(err)
	}
	if info := c.CachedInfo(); info.AckFloor.Stream != 0 {
		t.Errorf("up to %d messages are acknowledged", info.AckFloor.Stream)
	}
	r.end(t)
	next := start(t, bus, real, nil)
	n.settled(next)
	next.end(t)
	n.checkTotals(real)
}

func TestReading(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	r := start(t, bus, s, nil)
	n.publish(time.Second, 1)
	n.settled(r)

	// The consumer is lost while messages come.
	for _, kind := range []string{"detect", "store"} {
		if err := n.js.DeleteConsumer(t.Context(), event.StreamObservations, fmt.Sprintf("ambit-%s-%d", kind, n.home())); err != nil {
			t.Fatal(err)
		}
	}
	for port := range uint16(50) {
		n.publish(time.Second, port)
	}
	n.settled(r)
	if value(t, r.metrics.resumed) == 0 {
		t.Error("reading was not interrupted")
	}
	r.end(t)
	n.checkTotals(s)

	// Messages leave the stream before anyone reads them: they are lost, and counted, once they are missing for long.
	for range 5 {
		n.publish(time.Second)
	}
	stream, err := n.js.Stream(t.Context(), event.StreamObservations)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	r = start(t, bus, s, nil)
	n.flood(windowSize+1, 1)
	n.settled(r)
	r.end(t)
	if lost := lostOf(t, s, "n1")[causeGap]; lost != 5 {
		t.Errorf("%v messages are counted as lost, want 5", lost)
	}
	n.checkTotals(s)
}

func TestFindings(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	r := start(t, bus, s, nil)
	n.publish(10*time.Second, 1)
	n.publish(2*time.Minute, 1)
	n.settled(r)
	if p, ok := r.Progress(busy.Identity); !ok || p.State != detector.Stable {
		t.Fatalf("progress is %+v", p)
	}

	type told struct {
		sequence uint64
		finding  event.Finding
	}
	follow := func(after uint64) (<-chan told, context.CancelFunc) {
		out, following := make(chan told), make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(out)
			err := r.Follow(ctx, after, func(sequence uint64, data []byte) error {
				if data == nil {
					close(following)
					return nil
				}
				var f event.Finding
				if err := json.Unmarshal(data, &f); err != nil {
					return err
				}
				select {
				case out <- told{sequence, f}:
				case <-ctx.Done():
				}
				return nil
			})
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}()
		receive(t, "the follower", following)
		return out, cancel
	}
	events, cancel := follow(0)
	begin := time.Now()
	n.publish(time.Second, 443)
	first := receive(t, "a finding", events)
	t.Logf("a finding was published %s after its message", time.Since(begin))
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	if got := first.finding.Resource.String(); got != "net:192.0.2.1/32:443/tcp" {
		t.Errorf("the finding is of %s", got)
	}
	n.settled(r) // it is told before it is stored
	page, _, err := s.Findings(t.Context(), store.FindingFilter{})
	if err != nil || len(page) != 1 || page[0].ID != first.finding.ID {
		t.Fatalf("the store holds %d findings: %v", len(page), err)
	}
	for range 20 {
		n.publish(time.Second, 443)
	}
	n.settled(r)
	n.publish(time.Second, 444)
	if second := receive(t, "a finding", events); second.finding.Resource.Port() != 444 {
		t.Errorf("the second finding is of %s, told again", second.finding.Resource)
	}
	cancel()
	for range events {
	}
	again, cancel := follow(first.sequence) // as one who was away since
	if second := receive(t, "a finding", again); second.finding.Resource.Port() != 444 {
		t.Errorf("after %d came the finding of %s", first.sequence, second.finding.Resource)
	}
	cancel()
	for range again {
	}
	r.end(t)
	if err := r.Follow(t.Context(), 0, nil); err == nil {
		t.Error("a stopped collector can be followed")
	}
	if err := r.Ready(t.Context()); err == nil {
		t.Error("a stopped collector is ready")
	}

	// The next start knows both, with their counts.
	page, _, err = s.Findings(t.Context(), store.FindingFilter{})
	if err != nil || len(page) != 2 {
		t.Fatalf("the store holds %d findings: %v", len(page), err)
	}
	for _, f := range page {
		if want := n.sent[f.Resource].Connections; f.Count != want {
			t.Errorf("%s: count is %d, want %d", f.Resource, f.Count, want)
		}
	}
	r = start(t, bus, s, nil)
	n.publish(time.Second, 443, 444, 1)
	n.settled(r)
	if got := value(t, r.metrics.findings.WithLabelValues(string(first.finding.Severity))); got != 0 {
		t.Errorf("%v findings were told again after a restart", got)
	}
	r.end(t)
}

func TestBus(t *testing.T) {
	dir := t.TempDir()
	cfg := DefaultBusConfig()
	cfg.Dir, cfg.Logger = dir, quiet
	bus, err := OpenBus(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t, bus, "n1")
	n.publish(time.Second, 1)
	n.nc.Close()
	bus.Close()

	n = newNode(t, openBus(t, dir), "n1")
	stream, err := n.js.Stream(t.Context(), event.StreamObservations)
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got != 1 {
		t.Errorf("%d messages outlived the server, want 1", got)
	}
	if got := stream.CachedInfo().Config.Discard; got != jetstream.DiscardOld {
		t.Errorf("a full stream discards %s", got)
	}
}

func TestBusConfig(t *testing.T) {
	f := func(ok bool, urls ...string) {
		t.Helper()
		c := DefaultBusConfig()
		c.URLs = urls
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("%v: %v", urls, err)
		}
	}
	f(true, "nats://127.0.0.1:4222")
	f(true, "nats://localhost:4222", "nats://[::1]:4222")
	f(true, "tls://nats.example:4222")
	f(false)
	f(false, "nats://192.0.2.1:4222")
	f(false, "nats://nats.example:4222")
	f(false, "nats://127.0.0.1:4222", "nats://192.0.2.1")
	f(false, "ws://127.0.0.1:80")
	f(false, "127.0.0.1:4222")
	f(false, "nats://user:geheim@nats.example\x7f")
	c := DefaultBusConfig()
	c.URLs = []string{"nats://user:geheim@nats.example:4222"}
	if err := c.Validate(); err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("a password shows, or no error: %v", err)
	}
}

func ExampleBus_Where() {
	b := &Bus{cfg: BusConfig{URLs: []string{"nats://user:secret@127.0.0.1:4222"}}}
	fmt.Println(b.Where())
	// Output: NATS at nats://user:xxxxx@127.0.0.1:4222
}
