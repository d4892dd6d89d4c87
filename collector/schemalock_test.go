package collector

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

var (
	_ store.Lock = SchemaLock{}
	_ store.Lock = ScopeLock{}
)

// TestSchemaLock has several collectors change a database at once.
func TestSchemaLock(t *testing.T) {
	lock := SchemaLock{openBus(t, t.TempDir()), slog.New(slog.NewTextHandler(t.Output(), nil))}
	_, unlock, err := lock.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, _, err := lock.Lock(impatient); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("two have the lock: %v", err)
	}
	unlock()

	c := store.Default()
	c.Socket = testenv.Engine(t)
	var starts errgroup.Group
	for range 3 {
		starts.Go(func() error {
			s, err := store.Open(t.Context(), c)
			if err != nil {
				return err
			}
			return errors.Join(s.MigrateAlone(t.Context(), lock), s.Close())
		})
	}
	if err := starts.Wait(); err != nil {
		t.Error(err)
	}
}

// TestScopeLock has two collectors that share a database replace the same scope at once: each version is given out once, and of those that mean to replace
// the same one, one does.
func TestScopeLock(t *testing.T) {
	bus, log := openBus(t, t.TempDir()), slog.New(slog.NewTextHandler(t.Output(), nil))
	c := store.Default()
	c.Socket = testenv.Engine(t)
	var collectors []*store.Store
	for range 2 {
		s := openStoreWith(t, c)
		s.ScopeLock = ScopeLock{bus, log}
		collectors = append(collectors, s)
	}
	scope := event.Scope{Identity: busy.Identity, ApprovedBy: "anna", At: time.Now()}
	const each = 4
	var mu sync.Mutex
	given := map[uint64]int{}
	var work errgroup.Group
	for _, s := range collectors {
		work.Go(func() error {
			for range each {
				got, err := s.ApplyScope(t.Context(), scope, nil)
				if err != nil {
					return err
				}
				mu.Lock()
				given[got.Version]++
				mu.Unlock()
			}
			return nil
		})
	}
	if err := work.Wait(); err != nil {
		t.Fatal(err)
	}
	for version := uint64(1); version <= 2*each; version++ {
		if given[version] != 1 {
			t.Errorf("version %d was given out %d times: %v", version, given[version], given)
		}
	}
	last := uint64(2 * each)
	applied := 0
	for _, s := range collectors {
		work.Go(func() error {
			_, err := s.ApplyScope(t.Context(), scope, &last)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				applied++
			} else if !errors.Is(err, store.ErrChanged) {
				return err
			}
			return nil
		})
	}
	if err := work.Wait(); err != nil || applied != 1 {
		t.Errorf("%d replaced version %d, %v", applied, last, err)
	}
}
