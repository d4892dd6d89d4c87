package feed

import (
	"math/rand/v2"
	"time"
)

// backoff waits longer each time, from 100 ms to 30 s, with jitter, and never less than the receiver asks for.
type backoff struct{ n int }

func (b *backoff) next(least time.Duration) time.Duration {
	d := min(100*time.Millisecond<<min(b.n, 10), 30*time.Second)
	b.n++
	d = d/2 + rand.N(d/2)
	if least > 0 {
		d = max(d, least+rand.N(least/10+time.Millisecond)) // not all at the same moment
	}
	return d
}
