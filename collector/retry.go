package collector

import (
	"context"
	"math/rand/v2"
	"time"
)

// retry waits longer each time, from 50 ms to 5 s, with jitter.
type retry struct{ n int }

// sleep waits, or returns false when ctx ends first.
func (r *retry) sleep(ctx context.Context) bool {
	d := min(50*time.Millisecond<<min(r.n, 10), 5*time.Second)
	r.n++
	d = d/2 + rand.N(d/2)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
