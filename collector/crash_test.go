package collector

import (
	"context"
	"encoding/json"
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
			_ = do() // whatever the store said, nobody hears it any more
		}
		close(s.cut)
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *cutStore) InsertBatches(ctx context.Context, token string, messages []store.Message) error {
	return s.write(ctx, func() error { return s.Store.InsertBatches(ctx, token, messages) })
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

// published gives the findings that were told.
func published(t *testing.T, n *node) map[string]bool {
	t.Helper()
	stream, err := n.js.Stream(t.Context(), event.StreamFindings)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for i := uint64(1); i <= stream.CachedInfo().State.LastSeq; i++ {
		m, err := stream.GetMsg(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		var f event.Finding
		if err := json.Unmarshal(m.Data, &f); err != nil {
			t.Fatal(err)
		}
		told[f.ID] = true
	}
	return told
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
				late := time.After(patient)
				for traffic := true; traffic; { // until the cut comes
					n.publish(time.Second, port, 2)
					select {
					case <-c.cut:
						traffic = false
					case err := <-r.done:
						t.Fatalf("it ended with %v", err)
					case <-late:
						t.Fatal("the write never came")
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

// TestCrashWhileDividing cuts a collector off before and after each write of an insert that the store refuses, and that is divided therefore:
// the next one goes on with the same parts, and everything but what is refused counts once.
func TestCrashWhileDividing(t *testing.T) {
	s, _ := openStrictStore(t, map[string]string{"observations": "peer_port = 666"})
	bus := openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	for at := 1; at <= 14; at++ {
		for _, after := range []bool{false, true} {
			for port := range uint16(6) {
				n.publish(time.Second, port, 1)
			}
			n.publish(time.Second, 666)
			n.publish(time.Second, 1)
			c := &cutStore{Store: s, at: at, after: after, cut: make(chan struct{})}
			r := launch(t, bus, c, func(cfg *Config) {
				cfg.FlushInterval, cfg.Grace = 200*time.Millisecond, 10*time.Millisecond
			})
			r.await(t, fmt.Sprintf("write %d", at), c.cut)
			r.end(t)
		}
	}
	last := start(t, bus, s, nil)
	n.settled(last)
	last.end(t)
	n.forget(666)
	n.checkTotals(s)
}

// TestCrashAfterFinding cuts a collector off when it has stored a finding of an edge that is not used again: it was told.
func TestCrashAfterFinding(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("after %t", after), func(t *testing.T) {
			s, bus := openStore(t), openBus(t, t.TempDir())
			n := newNode(t, bus, "n1")
			r := start(t, bus, s, nil)
			n.publish(10*time.Second, 1)
			n.publish(2*time.Minute, 1)
			n.settled(r)
			r.end(t)
			n.publish(time.Second, 443)
			c := &cutStore{Store: s, at: 1, after: after, cut: make(chan struct{})}
			// No insert of rows comes before that of the finding.
			r = start(t, bus, c, func(cfg *Config) { cfg.FlushInterval, cfg.Grace = time.Minute, 10*time.Millisecond })
			r.await(t, "the write", c.cut)
			r.end(t)
			r = start(t, bus, s, nil)
			n.settled(r)
			r.end(t)
			found, _, err := s.Findings(t.Context(), store.FindingFilter{})
			if err != nil || len(found) != 1 {
				t.Fatalf("%d findings are stored, want 1: %v", len(found), err)
			}
			if told := published(t, n); len(told) != 1 || !told[found[0].ID] {
				t.Errorf("told are %v, want the one that is stored", told)
			}
			n.checkTotals(s)
		})
	}
}
