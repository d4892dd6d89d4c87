package collector

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

var _ store.Lock = SchemaLock{}

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
