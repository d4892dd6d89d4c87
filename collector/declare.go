package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ambit-nhi/ambit/collector/lease"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// What inventories and scopes say is in the store, where any collector may change it. Who works a partition looks for changes that the partition's detector
// does not know, and sends them through the stream, so that they come between the same observations whenever these are judged again.

const (
	maxDeclared    = 100       // identities in one message, which stays below 1 MB whatever their texts are
	versionOverlap = time.Hour // versions are times of several clocks: so far back what is new may turn up
)

// declareAll looks for changes until ctx ends.
func (s *shift) declareAll(ctx context.Context, leases *lease.Group) error {
	tick := time.NewTicker(s.cfg.DeclareInterval)
	defer tick.Stop()
	known := map[*worker]uint64{} // the latest version that each was looked after for; 0: all has to be looked at
	scopes := scopesLooked{}
	for steady := 0; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		// Who has leases again, and these not, will not get back what was kept for them.
		if now := leases.Status(); now.Err == nil && now.Members > 0 {
			if steady++; time.Duration(steady)*s.cfg.DeclareInterval >= keepFor {
				s.keeping.clear()
			}
		} else {
			steady = 0
		}
		if err := s.try(ctx, theStore, "look for what is declared", func() error { return s.declareNew(ctx, known, scopes) }); err != nil {
			return err
		}
	}
}

// keepFor is how long what a lost lease left is kept once the collector has leases again.
const keepFor = time.Minute

func (s *shift) declareNew(ctx context.Context, known map[*worker]uint64, scopes scopesLooked) error {
	working := map[int]*worker{}
	above := ^uint64(0)
	for _, w := range s.all() {
		if w.judges() && w.started.Load() && w.context.Err() == nil {
			working[w.partition] = w
			above = min(above, known[w])
		}
	}
	maps.DeleteFunc(known, func(w *worker, _ uint64) bool { return working[w.partition] != w })
	if len(working) == 0 {
		return nil
	}
	latest := above
	news := map[*worker][]declared{}
	err := s.store.EachDeclared(ctx, above-min(above, uint64(versionOverlap.Microseconds())), func(id event.Identity, d store.Declared) error {
		latest = max(latest, d.Version)
		if w := working[event.Partition(id, s.cfg.Partitions)]; w != nil && w.declares(id, &d) {
			news[w] = append(news[w], declared{id, d.Created, d.Gone, d.Owner, d.Version})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.rescopeNew(ctx, working, scopes); err != nil {
		return err
	}
	for w, list := range news {
		for part := range slices.Chunk(list, maxDeclared) {
			if err := s.declare(ctx, w, &declarations{Declared: part}); err != nil {
				return err
			}
		}
	}
	for _, w := range working {
		known[w] = latest
	}
	return nil
}

// scopesLooked is when each was last looked after for scopes; who is not in it must know all of them.
type scopesLooked map[*worker]time.Time

// since is from when on scopes may be news to one of some who work, and forgets those who do not. Scopes have the times of several clocks.
func (l scopesLooked) since(working map[int]*worker) time.Time {
	maps.DeleteFunc(l, func(w *worker, _ time.Time) bool { return working[w.partition] != w })
	var since time.Time
	for _, w := range working {
		at, ok := l[w]
		if !ok {
			return time.Time{}
		}
		if since.IsZero() || at.Before(since) {
			since = at
		}
	}
	return since.Add(-versionOverlap)
}

// rescopeNew sends scopes that detectors do not know.
func (s *shift) rescopeNew(ctx context.Context, working map[int]*worker, looked scopesLooked) error {
	began := time.Now()
	of := func(id event.Identity) *worker { return working[event.Partition(id, s.cfg.Partitions)] }
	news := map[*worker][]event.Scope{}
	err := s.store.EachScope(ctx, looked.since(working), func(id event.Identity) bool { return of(id) != nil }, func(scope *event.Scope) error {
		w := of(scope.Identity)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.detector != nil && scope.Version > w.scoped[scope.Identity] {
			news[w] = append(news[w], *scope)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for w, list := range news {
		for _, scope := range list { // one may be long
			err := s.declare(ctx, w, &declarations{Scopes: []event.Scope{scope}})
			if errors.Is(err, nats.ErrMaxPayload) { // then it comes between other observations in a replay, and nothing else waits for it
				w.mu.Lock()
				if w.detector != nil {
					w.scope(&scope)
				}
				w.mu.Unlock()
				continue
			}
			if err != nil {
				return err
			}
		}
	}
	for _, w := range working {
		looked[w] = began
	}
	return nil
}

func (s *shift) declare(ctx context.Context, w *worker, d *declarations) error {
	data, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode declarations: %w", err)
	}
	return s.publishOnce(ctx, event.DeclaredSubject(w.partition), data)
}

// declares says whether what is declared is news to the detector.
func (w *worker) declares(id event.Identity, now *store.Declared) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.detector == nil {
		return false
	}
	old, known := w.detector.Declared(id)
	same := old.Created.Equal(now.Created) && old.Gone.Equal(now.Gone) && old.Owner == now.Owner
	return !known || old.Version < now.Version || old.Version == now.Version && !same
}
