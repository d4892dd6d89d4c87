package lease

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

func (w *world) lock(ttl time.Duration) (*Lock, *nats.Conn) {
	w.t.Helper()
	js := w.connect()
	kv, err := js.KeyValue(w.t.Context(), testBucket)
	if err != nil {
		w.t.Fatal(err)
	}
	return &Lock{JetStream: js, Bucket: kv, Name: "schema", Member: "m", TTL: ttl, Log: slog.New(slog.NewTextHandler(w.t.Output(), nil))}, js.Conn()
}

func TestLockIsOfOne(t *testing.T) {
	w := newWorld(t, 1)
	var inside, most atomic.Int32
	var all errgroup.Group
	for range 5 {
		l, _ := w.lock(4 * time.Second)
		all.Go(func() error {
			held, unlock, err := l.Lock(t.Context())
			if err != nil {
				return err
			}
			most.Store(max(most.Load(), inside.Add(1)))
			if err := held.Err(); err != nil {
				return err
			}
			inside.Add(-1)
			unlock()
			if held.Err() == nil {
				return errors.New("the context goes on after unlock")
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil || most.Load() != 1 {
		t.Errorf("%d at once, %v", most.Load(), err)
	}
}

func TestLockIsLost(t *testing.T) {
	w := newWorld(t, 1)
	first, conn := w.lock(2 * time.Second)
	held, unlock, err := first.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// It is held for longer than its TTL.
	if err := w.until(3*time.Second, held); err != nil {
		t.Fatalf("the lock was lost while it was renewed: %v", err)
	}
	impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	second, _ := w.lock(2 * time.Second)
	if _, _, err := second.Lock(impatient); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second one: %v", err)
	}
	conn.Close() // as if it were killed
	_, release, err := second.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if held.Err() == nil {
		t.Error("two have the lock")
	}
	unlock() // of the first one: it takes nothing from the second
	if _, err := second.Bucket.Get(t.Context(), lockPrefix+"schema"); err != nil {
		t.Errorf("the lock of the second one: %v", err)
	}
	release()
	if _, err := second.Bucket.Get(t.Context(), lockPrefix+"schema"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("the lock after the end: %v", err)
	}
}

// until waits for a time, or for the end of a context, which is an error.
func (w *world) until(d time.Duration, ctx context.Context) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
