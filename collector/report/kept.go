package report

import (
	"context"
	"sync"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
)

// kept holds what was last read of all identities for a while: reports of a large estate, which people ask for one after the other, and pages that ask for
// several at once, share it. Who asks while it is read waits for that, so that questions about all are read one at a time.
type kept struct {
	reading chan struct{} // of one

	mu   sync.Mutex
	last *population // nil: none
}

// population is all identities as they were at a time.
type population struct {
	since, now time.Time
	members    []store.Member
	estate     *estate
	until      time.Time // by this machine's clock
}

// reuseFactor is how many times as long as it took to read is what was read used: what is read in no time is never old.
const reuseFactor = 10

func newKept() *kept { return &kept{reading: make(chan struct{}, 1)} }

// get gives the population of a window that ends now, at most as old as most.
func (k *kept) get(ctx context.Context, most time.Duration, since, now time.Time, read func(ctx context.Context, since, now time.Time) ([]store.Member, *estate, error)) ([]store.Member, *estate, error) {
	if most <= 0 {
		return read(ctx, since, now)
	}
	select {
	case k.reading <- struct{}{}:
		defer func() { <-k.reading }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	if p := k.fresh(since, now); p != nil {
		return p.members, p.estate, nil
	}
	began := time.Now()
	members, e, err := read(ctx, since, now)
	if err != nil {
		return nil, nil, err
	}
	age := min(reuseFactor*time.Since(began), most)
	p := &population{since, now, members, e, time.Now().Add(age)}
	k.mu.Lock()
	k.last = p
	k.mu.Unlock()
	time.AfterFunc(age, func() { // or the memory would be held until somebody asks again
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.last == p {
			k.last = nil
		}
	})
	return members, e, nil
}

// fresh gives what is held of a window that is as long, if it may still be used.
func (k *kept) fresh(since, now time.Time) *population {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.last
	if p == nil || now.Sub(since) != p.now.Sub(p.since) || now.Before(p.now) || !time.Now().Before(p.until) {
		return nil
	}
	return p
}
