package feed

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// finish takes the items from the queue that are done: those whose documents were taken, and those without.
func (l *lane) finish(ctx context.Context, list []staged, taken, all int) error {
	if taken > 0 && l.tried > 0 && !l.again { // the receiver takes others: perhaps it has recovered, and takes the suspects now
		l.tried, l.again = 0, true
		return nil
	}
	if taken > 0 && l.tried > 0 { // it takes others, and has refused these once more
		if err := l.condemn(ctx); err != nil {
			return err
		}
		if l.tried > 0 {
			return errors.New("set documents aside: the stream does not answer")
		}
	}
	if l.tried > 0 { // nothing may pass them
		return nil
	}
	l.again = l.again && taken == 0
	n := 0
	now := l.now()
	for _, s := range list {
		if len(s.docs) > taken {
			break
		}
		taken -= len(s.docs)
		i := &l.queue[n]
		switch {
		case s.aside != nil:
			cause := causeUnwritable
			if i.bad != nil {
				cause = causeMalformed
			}
			uid := "message"
			if i.record != nil {
				uid = i.record.UID
			}
			if err := l.setAside(ctx, cause, uid, i.from.sequence, i.from.Data(), s.aside); err != nil {
				l.done(n)
				return err
			}
		case s.left != "":
			l.metrics.left.WithLabelValues(l.cfg.Name, s.left).Inc()
			if s.left == leftRate {
				l.mark.Window.leave(i.record, i.from.sequence)
				l.status.note(func(st *Status) { st.Limited++ })
			}
		case len(s.docs) > 0:
			l.metrics.sent.WithLabelValues(l.cfg.Name).Add(float64(len(s.docs)))
			l.metrics.delay.WithLabelValues(l.cfg.Name).Observe(now.Sub(i.record.Time).Seconds())
			if i.record.Finding != nil && i.injected {
				l.metrics.summaries.WithLabelValues(l.cfg.Name).Inc()
			}
			if s.limit {
				l.mark.Window.admit(now, l.cfg.Rate)
			}
			l.remember(i.record)
			l.arrived(i)
			sent := uint64(len(s.docs))
			l.status.note(func(st *Status) { st.Sent += sent; st.LastSent = now.UTC() })
		}
		if s.key != 0 {
			l.ledger.told.Put(s.key, s.entry)
		}
		n++
	}
	l.done(n)
	return nil
}

// arrived forgets what was made here and is told now.
func (l *lane) arrived(i *item) {
	if !i.injected {
		return
	}
	if i.record.Decision != nil {
		delete(l.lifting, i.record.Decision.ID)
		l.remember(i.record)
		return
	}
	l.mark.Summary = nil
}

// remember keeps a decision whose end will have to be told.
func (l *lane) remember(r *Record) {
	d := r.Decision
	if d == nil {
		return
	}
	l.mark.Lifts = slices.DeleteFunc(l.mark.Lifts, func(old event.Decision) bool { return old.ID == d.ID })
	if !d.Revoked.IsZero() || r.Life == Close {
		return
	}
	kept := *d
	kept.Signature = nil
	lifts := append(l.mark.Lifts, kept)
	if data, err := json.Marshal(lifts); err != nil || len(lifts) > maxLifts || len(data) > maxLiftBytes {
		l.metrics.left.WithLabelValues(l.cfg.Name, leftEnd).Inc()
		return
	}
	l.mark.Lifts = lifts
}

// done drops the first items of the queue.
func (l *lane) done(n int) {
	for i := range l.queue[:n] {
		if s := l.queue[i].sequence; s > 0 {
			l.mark.Sequence, l.last = s, l.queue[i].from
		}
	}
	if n > 0 {
		l.dirty = true
	}
	l.queue = slices.Delete(l.queue, 0, n) // which clears what is behind
}

// settle writes how far the lane is, and acknowledges it.
func (l *lane) settle(ctx context.Context, force bool) error {
	if l.dirty || force {
		err := l.book.save(ctx, l.mark)
		switch {
		case errors.Is(err, errNotOwned):
			return err
		case err != nil:
			if ctx.Err() == nil {
				l.log.Debug("write how far a feed is", "error", err) // with the next batch, then
			}
			return nil
		}
		l.dirty = false
		if l.last.Msg != nil {
			if err := l.last.Ack(); err != nil {
				l.log.Debug("acknowledge a message", "error", err)
			}
			l.last = message{}
		}
		l.status.note(func(s *Status) { s.Sequence = l.mark.Sequence })
	}
	if l.book.saved < l.mark.Sequence && time.Since(l.book.ledgered) >= ledgerEvery {
		if err := l.book.saveLedger(ctx, l.ledger, l.mark.Sequence); err != nil && ctx.Err() == nil {
			l.log.Debug("write what a feed has told", "error", err)
		}
	}
	return nil
}

// fail notes that an attempt was in vain, and says how long to wait.
func (l *lane) fail(err error, after time.Duration) time.Duration {
	l.metrics.retries.WithLabelValues(l.cfg.Name).Inc()
	l.metrics.failing.WithLabelValues(l.cfg.Name).Set(1)
	pause := l.wait.next(after)
	told := l.veil.told(err)
	first := false
	l.status.note(func(s *Status) {
		now := l.now().UTC()
		if s.Attempts == 0 {
			s.Since, first = now, true
		}
		s.Attempts++
		s.State, s.Error, s.Next = StateRetrying, told, now.Add(pause)
	})
	if first {
		l.log.Warn("a feed's receiver takes nothing; it is tried again", "error", told)
	}
	return pause
}

func (l *lane) succeed() {
	l.metrics.failing.WithLabelValues(l.cfg.Name).Set(0)
	again, since := false, time.Time{}
	l.status.note(func(s *Status) {
		again, since = s.Attempts > 0, s.Since
		s.State, s.Attempts, s.Error, s.Since, s.Next = StateWorking, 0, "", time.Time{}, time.Time{}
	})
	l.refused = time.Time{}
	if again {
		l.log.Info("a feed's receiver takes documents again", "after", l.now().Sub(since).Round(time.Second).String())
	}
}
