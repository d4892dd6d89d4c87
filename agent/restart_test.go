package agent

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// The clock is set back to before the agent's start: what is sent from then on says so, and receivers take it.
func TestPublisherRestarts(t *testing.T) {
	first := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	second := first.Add(-24 * time.Hour)
	p := newPublisher(PublisherConfig{Node: "n1", Boot: "b1", Started: first, Partitions: 1}, nil)
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	w := event.Workload{Identity: event.UnitIdentity(td, "n1", "a.service")}
	observe := func(at time.Time) {
		p.Observe(&event.Observation{
			Time: at, Node: "n1", Direction: event.Outbound, Protocol: event.TCP, Workload: w,
			Peer: event.Peer{Address: netip.MustParseAddr("10.0.0.1"), Port: 443}, Counts: event.Counts{Connections: 1},
		})
	}
	p.Heartbeat(&event.Heartbeat{Time: first.Add(time.Second)})
	observe(first.Add(2 * time.Second)) // not flushed
	p.Restart("b2", second)
	p.Heartbeat(&event.Heartbeat{Time: second.Add(time.Second)})
	observe(second.Add(2 * time.Second))
	p.Flush(second.Add(3 * time.Second))
	p.Heartbeat(&event.Heartbeat{Time: second.Add(4 * time.Second)}) // instead of the former one of the same boot

	type sent struct {
		id            string
		started, time time.Time
	}
	var got []sent
	for _, m := range p.outbox.queue {
		if strings.HasPrefix(m.subject, "ambit.v1.agent.") {
			h, err := event.DecodeHeartbeat(m.data)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, sent{event.MessageID(h.Node, h.Boot, h.Sequence), h.Started, h.Time})
			continue
		}
		b, err := event.DecodeBatch(m.data)
		if err != nil {
			t.Fatal(err)
		}
		if b.Len() != 1 {
			t.Errorf("%d observations of %s", b.Len(), b.Boot)
		}
		got = append(got, sent{event.MessageID(b.Node, b.Boot, b.Sequence), b.Started, b.Time})
	}
	want := []sent{
		{"n1/b1/0", first, first.Add(time.Second)},
		{"n1/b1/1", first, first.Add(2 * time.Second)},
		{"n1/b2/1", second, second.Add(3 * time.Second)},
		{"n1/b2/1", second, second.Add(4 * time.Second)},
	}
	if len(got) != len(want) {
		t.Fatalf("%d messages: %+v", len(got), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("message %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
}

// A monotonic reading would win when times are compared, and hide that the wall clock was set back.
func TestPublisherComparesWallTime(t *testing.T) {
	p := newPublisher(PublisherConfig{Node: "n1", Boot: "b1", Started: time.Now(), Partitions: 1}, nil)
	if s := p.cfg.Started; s != s.Round(0) {
		t.Errorf("%v has a monotonic reading", s)
	}
	if p.Restart("b2", time.Now()); p.cfg.Started != p.cfg.Started.Round(0) {
		t.Errorf("%v has a monotonic reading", p.cfg.Started)
	}
}
