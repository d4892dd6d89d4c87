package decision

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/store"
)

// keepArchive brings decisions into the database as they come, until ctx ends.
func (s *Service) keepArchive(ctx context.Context) error {
	for {
		select {
		case <-s.book.news:
		case <-ctx.Done():
			return nil
		}
		if err := s.flush(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("keep decisions, later again", "error", err)
			if !pause(ctx) {
				return nil
			}
		}
	}
}

// flush returns when all decisions that are known are in the database, also those that another call is just bringing there.
func (s *Service) flush(ctx context.Context) error {
	select {
	case s.keeping <- struct{}{}:
		defer func() { <-s.keeping }()
	case <-ctx.Done():
		return ctx.Err()
	}
	list := s.book.takeUnkept()
	if len(list) == 0 {
		return nil
	}
	err := s.store.InsertDecisions(ctx, list)
	if errors.Is(err, store.ErrRefused) { // it will be again
		s.log.Error("keep decisions", "error", err)
		return nil
	}
	if err != nil {
		s.book.giveBack(list)
	}
	return err
}

// Times of what is over.
const (
	expiryTick  = 500 * time.Millisecond
	forgetTicks = 120 // a minute
	// keepOver is how long a decision stays in the bucket after its time: agents that start then learn what became of it. Nodes end it by themselves.
	keepOver = time.Minute
)

// endExpired takes decisions and requests away whose time is over, until ctx ends. Whoever is first writes it down.
func (s *Service) endExpired(ctx context.Context, run *running) error {
	tick := time.NewTicker(expiryTick)
	defer tick.Stop()
	told := map[string]bool{}
	for n := 1; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		now := s.now()
		if n%forgetTicks == 0 {
			s.book.forget(now)
		}
		for _, k := range s.book.all() {
			switch {
			case now.Before(k.Expires):
			case now.Before(k.Expires.Add(keepOver)):
				if !told[k.ID] && k.Revoked.IsZero() {
					told[k.ID] = true
					s.book.tell(Change{Decision: k.ID, What: "expired", At: k.Expires})
				}
			default:
				s.end(ctx, run, k)
				delete(told, k.ID)
			}
		}
		for _, w := range s.book.allWaiting() {
			if !now.Before(w.Until) {
				s.endWaiting(ctx, run, &w)
			}
		}
	}
}

func (s *Service) end(ctx context.Context, run *running, k *kept) {
	err := run.decisions.Purge(ctx, k.ID, jetstream.LastRevision(k.revision), jetstream.PurgeTTL(MarkerTTL))
	switch {
	case isConflict(err): // another collector was quicker, or it was changed
		s.book.remove(k.ID)
		return
	case err != nil:
		if ctx.Err() == nil {
			s.log.Warn("take an expired decision away", "decision", k.ID, "error", err)
		}
		return
	}
	s.book.remove(k.ID)
	if !k.Revoked.IsZero() {
		return
	}
	if _, err := s.trail.Append(ctx, "ambit", "decision.expired", k.ID, map[string]string{"expires": k.Expires.Format(time.RFC3339)}); err != nil && ctx.Err() == nil {
		s.log.Error("write down that a decision expired", "decision", k.ID, "error", err)
	}
}

func (s *Service) endWaiting(ctx context.Context, run *running, w *keptWaiting) {
	err := run.requests.Purge(ctx, w.ID, jetstream.LastRevision(w.revision), jetstream.PurgeTTL(MarkerTTL))
	s.book.removeWaiting(w.ID)
	if err != nil {
		return // another collector was quicker; or it comes again with the next start
	}
	s.book.tell(Change{Decision: w.ID, What: "withdrawn", At: s.now().UTC()})
	if _, err := s.trail.Append(ctx, "ambit", "decision.withdrawn", w.ID, map[string]string{"why": "nobody approved it in time"}); err != nil && ctx.Err() == nil {
		s.log.Error("write down that a request ended", "decision", w.ID, "error", err)
	}
}
