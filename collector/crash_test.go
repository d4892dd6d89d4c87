package collector

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// cutStore is a real store whose process dies, as it were, at the at-th write: before it is done or just after. From then on nothing is
// done any more, until the collector is stopped.
type cutStore struct {
	*store.Store
	at    int
	after bool
	cut   chan struct{} // closed at the cut

	mu sync.Mutex
	n  int
}

func (s *cutStore) write(ctx context.Context, do func() error) error {
	s.mu.Lock()
	s.n++
	n := s.n
	s.mu.Unlock()
	if n < s.at {
		return do()
	}
	if n == s.at {
		if s.after {
			if err := do(); err != nil {
				return err
			}
		}
		close(s.cut)
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *cutStore) InsertObservations(ctx context.Context, token string, rows []store.ObservationRow) error {
	return s.write(ctx, func() error { return s.Store.InsertObservations(ctx, token, rows) })
}

func (s *cutStore) InsertSightings(ctx context.Context, sightings []store.Sighting) error {
	return s.write(ctx, func() error { return s.Store.InsertSightings(ctx, sightings) })
}

func (s *cutStore) InsertCoverage(ctx context.Context, rows []store.Coverage) error {
	return s.write(ctx, func() error { return s.Store.InsertCoverage(ctx, rows) })
}

func (s *cutStore) InsertFindings(ctx context.Context, findings []event.Finding) error {
	return s.write(ctx, func() error { return s.Store.InsertFindings(ctx, findings) })
}

// TestCrash cuts a collector off before and after each write that it makes, with traffic going on, and starts another one: in the end every
// acknowledged observation counted once, and every new resource is one finding.
func TestCrash(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	first := start(t, bus, s, nil)
	n.publish(10*time.Second, 1, 2)
	n.publish(2*time.Minute, 1) // learned
	n.settled(first)
	first.end(t)

	port, findings := uint16(1000), 0
	for at := 1; at <= 9; at++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d after %t", at, after), func(t *testing.T) {
				port++
				findings++
				n.publish(time.Second, 1, 2, 2)
				n.publish(time.Second, port, 1) // a new resource
				c := &cutStore{Store: s, at: at, after: after, cut: make(chan struct{})}
				r := launch(t, bus, c, func(cfg *Config) {
					cfg.FlushRows, cfg.Grace = 3, 10*time.Millisecond
				})
				n.publish(time.Second, 1, port)
				for traffic := true; traffic; { // until the cut comes
					n.publish(time.Second, port, 2)
					select {
					case <-c.cut:
						traffic = false
					case <-time.After(10 * time.Millisecond):
					}
				}
				r.end(t)
			})
		}
	}

	last := start(t, bus, s, nil)
	n.settled(last)
	last.end(t)
	n.checkTotals(s)
	found, _, err := s.Findings(t.Context(), store.FindingFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != findings {
		t.Errorf("%d findings, want %d", len(found), findings)
	}
	for _, f := range found {
		if want := n.sent[f.Resource].Connections; f.Count != want {
			t.Errorf("%s: count is %d, %d connections were made", f.Resource, f.Count, want)
		}
	}
}
