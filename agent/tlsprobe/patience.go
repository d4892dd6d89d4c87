package tlsprobe

import (
	"context"
	"errors"
	"time"
)

const (
	patience = 30 * time.Second
	maxStuck = 4
)

// errStuck says that the kernel holds up whoever looks: a process whose memory is locked for long, a disk that does not answer.
var errStuck = errors.New("the kernel does not answer")

// patiently does what the kernel may hold up, and goes on without it after some time: then late takes the result, if it ever comes. Few may be held up
// at a time; a goroutine that still is when Run ends stays behind.
func patiently[T any](ctx context.Context, f *Finder, do func() T, late func(T)) (result T, err error) {
	f.mu.Lock()
	full := f.stuck >= maxStuck
	f.mu.Unlock()
	if full {
		return result, errStuck
	}
	done := make(chan T)
	gone := make(chan struct{})
	go func() {
		result := do()
		select {
		case done <- result:
		case <-gone:
			late(result)
			f.mu.Lock()
			f.stuck--
			f.mu.Unlock()
		}
	}()
	t := time.NewTimer(f.patience)
	defer t.Stop()
	select {
	case result = <-done:
		return result, nil
	case <-t.C:
		err = errStuck
	case <-ctx.Done():
		// What is only slow ends with Run.
		select {
		case result = <-done:
			return result, nil
		case <-t.C:
			err = ctx.Err()
		}
	}
	f.mu.Lock()
	f.stuck++
	f.report.count(lostStuck)
	f.mu.Unlock()
	close(gone)
	return result, err
}
