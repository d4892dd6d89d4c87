package lease

import (
	"testing"
	"time"
)

// TestShortOutage has nobody lose a lease.
func TestShortOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.join("a", nil)
	w.join("b", nil)
	w.settle(8, 9)
	time.Sleep(1500 * time.Millisecond) // so that the last news is not from the start
	moves := w.moves
	w.Stop(0)
	time.Sleep(3 * time.Second)
	w.Start(0)
	time.Sleep(DefaultTTL)
	w.settle(8, 9)
	if w.moves != moves {
		t.Errorf("%d leases were gained again", w.moves-moves)
	}
}

// TestLongOutage has everybody lose all, and get the same back.
func TestLongOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.join("a", nil)
	w.join("b", nil)
	w.join("c", nil)
	w.settle(5, 6, 6)
	before := share([]string{"a", "b", "c"}, partitions)
	w.settleAs(before) // there may be an exchange yet, which leaves the numbers as they are
	w.Stop(0)
	began := time.Now()
	for w.held() > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	if took := time.Since(began); took > DefaultTTL {
		t.Errorf("the leases were lost after %s only", took)
	}
	time.Sleep(30*time.Second - time.Since(began))
	w.mu.Lock()
	w.moves, w.again, w.first = 0, 0, map[string]time.Time{}
	w.mu.Unlock()
	w.Start(0)
	t.Logf("all is shared again %s after NATS is back", w.settleAs(before))
	w.mu.Lock()
	defer w.mu.Unlock()
	var earliest, latest time.Time
	for _, at := range w.first {
		if earliest.IsZero() || at.Before(earliest) {
			earliest = at
		}
		if at.After(latest) {
			latest = at
		}
	}
	// Others wait for who comes back so late that they would not wait longer for a dead one.
	if apart := latest.Sub(earliest); apart > DefaultTTL/5 {
		t.Logf("the members were back %s apart; %d leases were gained, %d of them by who had them before", apart, w.moves, w.again)
	} else if w.moves != partitions || w.again != partitions {
		t.Errorf("%d leases were gained, %d of them by who had them before", w.moves, w.again)
	}
}

func (w *world) held() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.holders)
}

// TestClusterLosesLeader kills the server that leads the bucket's stream.
func TestClusterLosesLeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.join("a", nil)
	w.join("b", nil)
	w.settle(8, 9)
	for range 2 {
		leader := w.StreamLeader("KV_" + testBucket)
		if leader < 0 {
			t.Fatal("the bucket has no leader")
		}
		w.mu.Lock()
		w.moves, w.again = 0, 0
		w.mu.Unlock()
		began := time.Now()
		w.Stop(leader)
		for w.StreamLeader("KV_"+testBucket) < 0 {
			time.Sleep(10 * time.Millisecond)
		}
		led := time.Since(began)
		time.Sleep(2 * time.Second)
		w.settle(8, 9)
		t.Logf("another server leads after %s, all is shared after %s; %d leases were gained, %d of them by who had them", led, time.Since(began), w.moves, w.again)
		w.Start(leader)
		w.AwaitLeader()
	}
}
