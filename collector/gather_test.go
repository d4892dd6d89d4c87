package collector

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

// heldMessage is a message whose content nobody asks for.
type heldMessage struct{ jetstream.Msg }

func (heldMessage) Data() []byte { return nil }

// batchOf makes a batch of so many observations.
func batchOf(t *testing.T, observations int) *event.Batch {
	t.Helper()
	b := event.NewBatchBuilder("n1", "boot", epoch)
	for i := range observations {
		b.Add(&event.Observation{Time: epoch, Workload: busy, Direction: event.Outbound, Protocol: event.TCP, Counts: event.Counts{Connections: 1},
			Peer: event.Peer{Address: netip.MustParseAddr("192.0.2.1"), Port: uint16(i + 1)}})
	}
	data, err := b.Encode(1, 1, epoch.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	batch, err := event.DecodeBatch(data)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// TestGatherBacklog: while there is more to read, a group grows beyond what is inserted together at least, for no longer than the interval.
func TestGatherBacklog(t *testing.T) {
	two := batchOf(t, 2) // the codec has goroutines of its own
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &shift{
			Collector: &Collector{cfg: Config{FlushRows: 2, FlushInterval: time.Second}},
			items:     make(chan item), groups: make(chan *group),
		}
		ended := make(chan error)
		go func() { ended <- s.gather(ctx) }()
		w := &worker{shift: s}
		sequence := uint64(0)
		add := func(pending uint64) {
			sequence++
			s.items <- item{worker: w, message: message{heldMessage{}, sequence, epoch, pending}, batch: two}
			synctest.Wait()
		}
		ready := func() *group {
			select {
			case g := <-s.groups:
				return g
			default:
				return nil
			}
		}
		add(7)
		add(6)
		if g := ready(); g != nil {
			t.Errorf("a group of %d rows does not wait for the rest", g.rows)
		}
		add(0)
		if g := ready(); g == nil || g.rows != 6 {
			t.Errorf("at the end of the backlog: %+v", g)
		}
		add(9)
		time.Sleep(time.Second)
		synctest.Wait()
		if g := ready(); g == nil || g.rows != 2 {
			t.Errorf("after the interval: %+v", g)
		}
		cancel()
		<-ended
	})
}
