package kube

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"
)

// backoff is how long is waited after each failure: half a second, then longer, up to 16. With four kinds of objects the API is asked every 3 seconds
// or so while it is away; the first that gets through wakes the others.
func backoff() *wait.Backoff {
	return &wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 1, Cap: 8 * time.Second, Steps: 8}
}

// pace is a clock whose pauses end early where the API is back, or nobody wants to know any more. The reflector itself waits in places without
// looking whether it is to stop.
type pace struct {
	clock.RealClock
	ctx  context.Context
	back *signal
}

func (p pace) After(d time.Duration) <-chan time.Time {
	ch, back := make(chan time.Time, 1), p.back.wait()
	go func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-back:
		case <-p.ctx.Done():
		}
		ch <- time.Now()
	}()
	return ch
}

// signal wakes all that wait for it, each time it is given.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

func newSignal() *signal { return &signal{ch: make(chan struct{})} }

func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}

func (s *signal) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.ch)
	s.ch = make(chan struct{})
}
