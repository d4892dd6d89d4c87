package report

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// reads counts how often something is read, which takes a while. What is read is the time.
type reads struct {
	n       int
	took    time.Duration
	err     error
	of      *age
	changes atomic.Uint64
}

func (r *reads) read(now time.Time) func(context.Context) (time.Time, *age, error) {
	return func(context.Context) (time.Time, *age, error) {
		r.n++
		time.Sleep(r.took)
		return now, r.of, r.err
	}
}

func (r *reads) changed() uint64 { return r.changes.Load() }

func (k *kept[T]) holds() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.held)
}

func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reads{took: time.Second}
		k := newKept[time.Time](1, 100*time.Millisecond, r.changed)
		ask := func(window time.Duration) time.Time {
			t.Helper()
			now := time.Now()
			h, err := k.get(t.Context(), 30*time.Second, window, now, r.read(now))
			if err != nil {
				t.Fatal(err)
			}
			return h.value
		}
		want := func(n int, why string) {
			t.Helper()
			if r.n != n {
				t.Errorf("%s: read %d times, want %d", why, r.n, n)
			}
		}
		began := time.Now()
		ask(90 * day)
		time.Sleep(9 * time.Second)
		if at := ask(90 * day); !at.Equal(began) {
			t.Errorf("it says that it was read at %s, want %s", at, began)
		}
		want(1, "within ten times of what it took")
		ask(30 * day)
		want(2, "another window")
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if k.holds() > 0 {
			t.Error("it is held although it is too old")
		}
		ask(30 * day)
		want(3, "after ten times of what it took")
		r.took = time.Minute
		ask(90 * day)
		time.Sleep(29 * time.Second)
		ask(90 * day)
		want(4, "within the bound")
		time.Sleep(2 * time.Second)
		ask(90 * day)
		want(5, "after the bound")
		// Who asks at once waits for the one who reads.
		time.Sleep(time.Hour)
		done := make(chan struct{})
		for range 3 {
			go func() { ask(90 * day); done <- struct{}{} }()
		}
		for range 3 {
			<-done
		}
		want(6, "at once")
		// Before it was read, it is of no use: a report of the past is of that time.
		now := time.Now().Add(-time.Hour)
		if _, err := k.get(t.Context(), time.Minute, 90*day, now, r.read(now)); err != nil {
			t.Fatal(err)
		}
		want(7, "of the past")
		time.Sleep(time.Hour)
		r.err = errors.New("away")
		if _, err := k.get(t.Context(), time.Minute, day, now, r.read(now)); err == nil || k.holds() > 0 {
			t.Errorf("an error is %v, and kept: %d", err, k.holds())
		}
		// Who does not want to wait any more need not.
		r.err = nil
		go func() { ask(90 * day); done <- struct{}{} }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := k.get(ctx, time.Minute, 0, now, r.read(now)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who waits no longer: %v", err)
		}
		<-done
		time.Sleep(time.Hour) // timers end
	})
}

// What was read before a change is of no use after it, to whom it was read for neither.
func TestKeptChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reads{took: time.Second}
		k := newKept[time.Time](1, 0, r.changed)
		var mu sync.Mutex
		ask := func() time.Time {
			now := time.Now()
			h, err := k.get(t.Context(), time.Minute, day, now, func(ctx context.Context) (time.Time, *age, error) {
				mu.Lock()
				defer mu.Unlock()
				return r.read(now)(ctx)
			})
			if err != nil {
				t.Error(err)
				return time.Time{}
			}
			return h.value
		}
		ask()
		ask()
		if r.n != 1 {
			t.Errorf("read %d times, want once", r.n)
		}
		r.changes.Add(1)
		changed := time.Now()
		if at := ask(); at.Before(changed) || k.holds() != 1 {
			t.Errorf("after a change: of %s, which was at %s; %d are held", at, changed, k.holds())
		}
		// A change comes while it is read: who asks after that gets what was read after that.
		r.changes.Add(1)
		done := make(chan time.Time)
		go func() { done <- ask() }()
		synctest.Wait()
		time.Sleep(time.Second / 2)
		r.changes.Add(1)
		changed = time.Now()
		go func() { done <- ask() }()
		if first := <-done; !first.Before(changed) {
			t.Errorf("who asked before the change got what was read at %s", first)
		}
		if second := <-done; second.Before(changed) {
			t.Errorf("who asked after the change got what was read at %s", second)
		}
		time.Sleep(time.Hour) // timers end
	})
}

// What is read fast is read anew, but by those who waited for it; and what is made of what is kept does not become older than that.
func TestKeptAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reads{took: 100 * time.Millisecond}
		k := newKept[time.Time](2, 100*time.Millisecond, r.changed)
		ask := func(window time.Duration, ahead time.Duration) *held[time.Time] {
			now := time.Now().Add(ahead)
			h, err := k.get(t.Context(), 30*time.Second, window, now, r.read(now))
			if err != nil {
				t.Error(err)
				return &held[time.Time]{}
			}
			return h
		}
		want := func(n int, why string) {
			t.Helper()
			if r.n != n {
				t.Errorf("%s: read %d times, want %d", why, r.n, n)
			}
		}
		ask(day, 0)
		ask(day, 0)
		want(2, "fast")
		time.Sleep(time.Minute)
		done := make(chan struct{})
		for i := range 3 { // one of them asks as a little later than those that come after it
			go func() { ask(day, time.Duration(3-i)*time.Second); done <- struct{}{} }()
			synctest.Wait()
		}
		for range 3 {
			<-done
		}
		want(3, "at once")
		if ask(2*day, 0); k.holds() != 2 {
			t.Errorf("%d windows are held, want 2", k.holds())
		}
		if ask(3*day, 0); k.holds() != 2 {
			t.Errorf("%d windows are held, want 2", k.holds())
		}
		time.Sleep(time.Minute)
		if k.holds() != 0 {
			t.Errorf("%d windows are held after their time", k.holds())
		}
		r.took, r.of = 2*time.Second, &age{ended: time.Now().Add(-25 * time.Second)}
		n := r.n
		if h := ask(day, 0); !h.until.Equal(r.of.ended.Add(30 * time.Second)) {
			t.Errorf("it is kept until %s, and what it is made of is of %s", h.until, r.of.ended)
		}
		time.Sleep(2 * time.Second)
		ask(day, 0)
		want(n+1, "while that is kept which it is made of")
		time.Sleep(2 * time.Second)
		ask(day, 0)
		want(n+2, "when that is not kept any more")
		// Nothing is kept where that was not asked for.
		time.Sleep(time.Hour)
		if _, err := k.get(t.Context(), 0, day, time.Now(), r.read(time.Now())); err != nil || k.holds() > 0 {
			t.Errorf("%v; %d are held", err, k.holds())
		}
	})
}
