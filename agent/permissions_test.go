package agent

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/agent/spool"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// TestPublisherNeedsNoMore has a publisher do its work with the rights that deploy/nats gives an agent, with and without a spool.
func TestPublisherNeedsNoMore(t *testing.T) {
	const node = "ip-10-0-0-1.ec2.internal"
	u := testenv.StartNATSUsers(t, node)
	connect := func(id, inbox string, opts ...jetstream.JetStreamOpt) jetstream.JetStream {
		t.Helper()
		nc, err := nats.Connect(u.URL, nats.Secure(u.TLS(id)), nats.CustomInboxPrefix(inbox), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1),
			nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { t.Errorf("%s: %v", id, err) }))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		js, err := jetstream.New(nc, opts...)
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
	control := connect(testenv.CollectorID, "_INBOX.collector")
	stream, err := control.CreateStream(t.Context(), jetstream.StreamConfig{Name: event.StreamObservations, Subjects: []string{event.SubjectObservations, event.SubjectAgents}})
	if err != nil {
		t.Fatal(err)
	}
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	for i, disk := range []spool.Config{{}, {Dir: t.TempDir()}} {
		js := connect(testenv.AgentID(event.NodeToken(node)), event.AgentInbox(node), PublishOptions()...)
		p, err := NewPublisher(PublisherConfig{Node: node, Boot: fmt.Sprint("b", i), Started: time.Now(), Partitions: 16, Spool: disk}, js)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 100 {
			p.Observe(&event.Observation{
				Time: time.Now(), Node: node, Direction: event.Outbound, Protocol: event.TCP,
				Workload: event.Workload{Identity: event.UnitIdentity(td, node, fmt.Sprint("u", n))},
				Peer:     event.Peer{Address: netip.MustParseAddr("192.0.2.1"), Port: 443},
				Counts:   event.Counts{Connections: 1},
			})
		}
		p.Flush(time.Now())
		p.Heartbeat(&event.Heartbeat{Time: time.Now()})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		for deadline := time.Now().Add(time.Minute); p.Gauges()["publish-acknowledged"] < 17; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("messages were not acknowledged: %v, %v", p.Gauges(), p.Counters())
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	info, err := stream.Info(t.Context())
	if err != nil || info.State.Msgs != 2*17 {
		t.Errorf("the stream holds %d messages, %v", info.State.Msgs, err)
	}
}
