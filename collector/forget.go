package collector

import (
	"context"
	"time"
)

const (
	forgetAfter    = time.Minute // of work: first of all what waits in the stream is taken
	forgetInterval = 24 * time.Hour
)

// forgetAll has the store forget identities that are gone, once a day, by the one who works the partition of agents.
func (w *worker) forgetAll(ctx context.Context) error {
	due := time.NewTimer(forgetAfter)
	defer due.Stop()
	for {
		select {
		case <-due.C:
			due.Reset(forgetInterval)
		case <-ctx.Done():
			return nil
		}
		switch n, err := w.shift.Collector.store.Forget(ctx, time.Now()); {
		case ctx.Err() != nil:
			return nil
		case err != nil: // tomorrow is early enough
			w.log.Warn("cannot forget identities that are gone", "error", err)
		case n > 0:
			w.log.Info("identities that are gone were forgotten", "identities", n)
		}
	}
}
