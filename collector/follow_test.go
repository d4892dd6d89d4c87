package collector

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/ambit-nhi/ambit/event"
)

// TestFollowersGo checks that nothing of those who followed is left in the server, whichever end they came to.
func TestFollowersGo(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	r := start(t, bus, s, nil)
	consumers := func() int {
		t.Helper()
		stream, err := n.js.Stream(t.Context(), event.StreamFindings)
		if err != nil {
			t.Fatal(err)
		}
		return stream.CachedInfo().State.Consumers
	}
	const followers = 20
	ctx, cancel := context.WithCancel(t.Context())
	var following, gone sync.WaitGroup
	following.Add(followers)
	for range followers {
		gone.Go(func() {
			if err := r.Follow(ctx, 0, func(uint64, []byte) error { following.Done(); return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	following.Wait()
	if got := consumers(); got != followers {
		t.Errorf("%d consumers for %d followers", got, followers)
	}
	cancel()
	gone.Wait()
	broken := errors.New("the client went away")
	if err := r.Follow(t.Context(), 0, func(uint64, []byte) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("following ended with %v", err)
	}
	if got := consumers(); got != 0 {
		t.Errorf("%d consumers are left of %d followers who have gone", got, followers+1)
	}
	r.end(t)
}
