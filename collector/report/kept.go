package report

import (
	"context"
	"slices"
	"sync"
	"time"
)

// kept holds for a while what takes long to read, of windows that end now, so that questions that come one after the other, or at once, share it. Who asks
// while somebody reads waits for that: what is kept here is read one at a time.
type kept[T any] struct {
	changes func() uint64 // what was read before a change is of no use after it
	windows int           // that are held, the latest ones
	quick   time.Duration // what took no longer is read anew by all but those who waited for it
	reading chan struct{} // of one

	mu   sync.Mutex
	held []*held[T] // the latest last
}

// held is a value with what says for how long it may be used.
type held[T any] struct {
	value T
	age
	timer *time.Timer // lets it go
}

// age says how old something is.
type age struct {
	window  time.Duration
	now     time.Time // as which it was asked for
	changes uint64    // when the reading began
	took    time.Duration
	ended   time.Time // by this machine's clock, as until
	until   time.Time
}

const (
	// reuseFactor is how many times as long as it took to read is what was read used: reading takes a small part of the time at most.
	reuseFactor = 10
	// reuseQuick is what reading may take that is not worth to be saved.
	reuseQuick = 100 * time.Millisecond
	// reuseAhead is how much earlier than what is kept a question may be: of questions at the same time, the one with the later time may be heard first.
	reuseAhead = 5 * time.Second
)

func newKept[T any](windows int, quick time.Duration, changes func() uint64) *kept[T] {
	return &kept[T]{changes: changes, windows: windows, quick: quick, reading: make(chan struct{}, 1)}
}

// get gives the value of a window that ends now, kept for most at most, or reads and keeps it. read tells the age of what it used that may be kept itself, or
// nil: what is made of that is kept no longer than that may be. Without most, nothing is kept.
func (k *kept[T]) get(ctx context.Context, most, window time.Duration, now time.Time, read func(context.Context) (T, *age, error)) (*held[T], error) {
	if most <= 0 {
		return k.read(ctx, most, window, now, read)
	}
	asked := time.Now()
	select {
	case k.reading <- struct{}{}:
		defer func() { <-k.reading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if h := k.fresh(window, now, asked); h != nil {
		return h, nil
	}
	h, err := k.read(ctx, most, window, now, read)
	if err != nil {
		return nil, err
	}
	k.keep(h)
	return h, nil
}

// read reads a value, and keeps it not.
func (k *kept[T]) read(ctx context.Context, most, window time.Duration, now time.Time, read func(context.Context) (T, *age, error)) (*held[T], error) {
	began, changes := time.Now(), k.changes()
	value, of, err := read(ctx)
	if err != nil {
		return nil, err
	}
	ended := time.Now()
	h := &held[T]{value: value, age: age{window: window, now: now, changes: changes, took: ended.Sub(began), ended: ended}}
	h.until = ended.Add(min(reuseFactor*h.took, most))
	if of != nil {
		h.changes = min(h.changes, of.changes)
		if last := of.ended.Add(most); last.Before(h.until) {
			h.until = last
		}
	}
	return h, nil
}

// fresh gives what is held of a window, if who asked at a time by this machine's clock may still use it.
func (k *kept[T]) fresh(window time.Duration, now, asked time.Time) *held[T] {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, h := range k.held {
		waited := asked.Before(h.ended)
		inTime := h.took > k.quick && time.Now().Before(h.until)
		if h.window == window && h.changes == k.changes() && !now.Add(reuseAhead).Before(h.now) && (waited || inTime) {
			return h
		}
	}
	return nil
}

// keep holds a value until its time is over, in place of that of its window, or of the oldest where there are too many.
func (k *kept[T]) keep(h *held[T]) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(func(old *held[T]) bool { return old.window == h.window })
	for len(k.held) >= k.windows {
		oldest := k.held[0]
		k.drop(func(old *held[T]) bool { return old == oldest })
	}
	k.held = append(k.held, h)
	h.timer = time.AfterFunc(time.Until(h.until), func() { // or the memory would be held until somebody asks again
		k.mu.Lock()
		defer k.mu.Unlock()
		k.drop(func(old *held[T]) bool { return old == h })
	})
}

// drop lets values go. k.mu is held.
func (k *kept[T]) drop(which func(*held[T]) bool) {
	k.held = slices.DeleteFunc(k.held, func(h *held[T]) bool {
		if !which(h) {
			return false
		}
		h.timer.Stop()
		return true
	})
}
