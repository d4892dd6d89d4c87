package report

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
)

// reads counts how often all identities are read, which takes a while.
type reads struct {
	n    int
	took time.Duration
	err  error
}

func (r *reads) read(ctx context.Context, _, now time.Time) ([]store.Member, *estate, error) {
	r.n++
	time.Sleep(r.took)
	return []store.Member{{}}, &estate{now: now}, r.err
}

func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, r := newKept(), &reads{took: time.Second}
		ask := func(window time.Duration) *estate {
			t.Helper()
			now := time.Now()
			_, e, err := k.get(t.Context(), 30*time.Second, now.Add(-window), now, r.read)
			if err != nil {
				t.Fatal(err)
			}
			return e
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
		if e := ask(90 * day); !e.now.Equal(began) {
			t.Errorf("it says that it was read at %s, want %s", e.now, began)
		}
		want(1, "within ten times of what it took")
		ask(30 * day)
		want(2, "another window")
		time.Sleep(11 * time.Second)
		synctest.Wait()
		k.mu.Lock()
		held := k.last != nil
		k.mu.Unlock()
		if held {
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
		if _, _, err := k.get(t.Context(), time.Minute, now.Add(-90*day), now, r.read); err != nil {
			t.Fatal(err)
		}
		want(7, "of the past")
		time.Sleep(time.Hour)
		r.err = errors.New("away")
		if _, _, err := k.get(t.Context(), time.Minute, now.Add(-day), now, r.read); err == nil || k.last != nil {
			t.Errorf("an error is %v, and kept: %v", err, k.last)
		}
		// Who does not want to wait any more need not.
		r.err = nil
		go func() { ask(90 * day); done <- struct{}{} }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := k.get(ctx, time.Minute, now, now, r.read); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who waits no longer: %v", err)
		}
		<-done
		time.Sleep(time.Hour) // timers end
	})
}
