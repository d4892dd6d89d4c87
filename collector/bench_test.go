package collector

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

// flood publishes batches of so many observations each as fast as the stream takes them. Identities and peers are those of a busy node.
func (n *node) flood(messages, observations int) {
	n.t.Helper()
	js, err := jetstream.New(n.nc, jetstream.WithPublishAsyncMaxPending(256), jetstream.WithPublishAsyncTimeout(patient)) // an answer may be lost
	if err != nil {
		n.t.Fatal(err)
	}
	b := event.NewBatchBuilder(n.name, "boot", epoch)
	var last jetstream.PubAckFuture
	for range messages {
		b.Reset()
		n.sequence++
		n.now = n.now.Add(time.Millisecond)
		for i := range observations {
			o := observation(n.now, uint16(1+i%20))
			o.Workload.Executable = fmt.Sprintf("/worker-%d", i%30)
			o.Peer.Address = netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i/20)})
			b.Add(&o)
			sum := n.sent[event.ResourceOf(&o)]
			sum.Add(o.Counts)
			n.sent[event.ResourceOf(&o)] = sum
		}
		data, err := b.Encode(n.sequence, n.sequence, n.now)
		if err != nil {
			n.t.Fatal(err)
		}
		if last, err = js.PublishAsync(event.ObservationSubject(n.home(), n.name), data, jetstream.WithStallWait(20*time.Second)); err != nil {
			n.t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	select {
	case ack := <-last.Ok():
		n.noteLast(event.ObservationSubject(n.home(), n.name), ack.Sequence)
	case err := <-last.Err():
		n.t.Fatal(err)
	}
}

// TestSmallBatches checks that a node that sends very many small messages does not hold up what comes behind them: at the usual interval of
// inserts, a finding behind thousands of messages comes as soon as they were read.
func TestSmallBatches(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	r := start(t, bus, s, func(c *Config) { c.FlushInterval = Default().FlushInterval })
	n.publish(10*time.Second, 1)
	n.publish(2*time.Minute, 1)
	n.settled(r)
	found := make(chan struct{}, 1)
	following := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- r.Follow(ctx, 0, func(_ uint64, finding []byte) error {
			if finding == nil {
				close(following)
				return nil
			}
			found <- struct{}{}
			return nil
		})
	}()
	receive(t, "the follower", following)
	const messages = 4000
	n.flood(messages, 1)
	begin := time.Now()
	n.publish(time.Second, 443)
	select {
	case <-found:
		t.Logf("a finding behind %d messages took %s", messages, time.Since(begin))
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("a finding took %s", took)
		}
	case <-time.After(20 * time.Second):
		t.Error("no finding came")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	n.settled(r)
	r.end(t)
}

// BenchmarkCollector measures the way through JetStream, detector and engine, with the usual settings, of what waits in the stream.
func BenchmarkCollector(b *testing.B) {
	for _, size := range []struct{ messages, observations int }{{30_000, 1}, {10_000, 10}, {1000, 200}} {
		b.Run(fmt.Sprintf("%d observations a message", size.observations), func(b *testing.B) {
			s, bus := openStore(b), openBus(b, b.TempDir())
			n := newNode(b, bus, "n1")
			var took time.Duration
			for b.Loop() {
				b.StopTimer()
				n.flood(size.messages, size.observations)
				begin := time.Now()
				b.StartTimer()
				r := start(b, bus, s, func(c *Config) { c.FlushInterval = Default().FlushInterval })
				n.settled(r)
				took += time.Since(begin)
				r.end(b)
			}
			messages := float64(size.messages) * float64(b.N)
			b.ReportMetric(messages/took.Seconds(), "messages/s")
			b.ReportMetric(messages*float64(size.observations)/took.Seconds(), "observations/s")
		})
	}
}
