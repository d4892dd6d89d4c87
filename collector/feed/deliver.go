package feed

import (
	"context"
	"errors"
	"slices"
	"time"
)

// deliverAll works the queue: it fills it with what has come, delivers from its front, and waits while there is nothing, or the receiver takes
// nothing.
func (l *lane) deliverAll(ctx context.Context, messages <-chan message) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var before uint64 // sequence of the last message
	push := func(m message) {
		if sources[l.kind].dense && before > 0 && m.sequence > before+1 {
			l.lose(m.sequence - before - 1)
		}
		before = m.sequence
		l.queue = append(l.queue, l.read(m)...)
	}
	full := func() bool { return len(l.queue) >= 2*l.cfg.Batch.Size }
	for ctx.Err() == nil {
		if len(l.queue) == 0 { // wait for more
			select {
			case m, more := <-messages:
				if !more {
					return nil
				}
				push(m)
				l.linger(ctx, messages, push)
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
		for more := true; more && !full(); {
			select {
			case m, open := <-messages:
				if more = open; open {
					push(m)
				}
			default:
				more = false
			}
		}
		l.inject()
		if len(l.queue) == 0 {
			if err := l.settle(ctx, false); err != nil {
				return err
			}
			continue
		}
		pause, err := l.deliver(ctx)
		if err != nil {
			return err
		}
		if err := l.settle(ctx, false); err != nil {
			return err
		}
		if pause > 0 && !l.pause(ctx, pause, messages, push, full) {
			return nil
		}
	}
	return nil
}

// linger waits for a batch to fill, where the configuration says so.
func (l *lane) linger(ctx context.Context, messages <-chan message, push func(message)) {
	if l.cfg.Batch.Wait == 0 {
		return
	}
	over := time.NewTimer(l.cfg.Batch.Wait)
	defer over.Stop()
	for len(l.queue) < l.cfg.Batch.Size {
		select {
		case m, open := <-messages:
			if !open {
				return
			}
			push(m)
		case <-over.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// pause waits before the next attempt. While documents are suspected that the receiver refuses for good, others that come are tried at once.
func (l *lane) pause(ctx context.Context, d time.Duration, messages <-chan message, push func(message), full func() bool) bool {
	over := time.NewTimer(d)
	defer over.Stop()
	fresh := messages
	if l.tried == 0 || l.tried >= suspects || full() {
		fresh = nil
	}
	select {
	case <-over.C:
		l.tried, l.again = 0, false
		return true
	case m, open := <-fresh:
		if open {
			push(m)
		}
		return open
	case <-ctx.Done():
		return false
	}
}

// inject puts summaries and ends of decisions that are due into the queue.
func (l *lane) inject() {
	now := l.now()
	if w := &l.mark.Window; w.due(now, l.cfg.Rate.Per) && l.mark.Summary == nil { // one that is on its way comes first
		if w.Left > 0 {
			told := w.clone()
			l.mark.Summary = &told // until it has arrived
			l.queue = slices.Insert(l.queue, l.tried, item{record: w.summary(&l.cfg, now), injected: true})
		}
		*w = window{}
		l.dirty = true
	}
	for i := range l.mark.Lifts {
		d := l.mark.Lifts[i]
		if !now.Before(d.Expires) && !l.lifting[d.ID] {
			l.lifting[d.ID] = true
			l.queue = append(l.queue, item{record: &Record{Decision: &d, Life: Close, Time: now, UID: "decision-" + d.ID}, injected: true})
		}
	}
}

// deliver sends the next documents of the queue. It says how long to wait before the next attempt.
func (l *lane) deliver(ctx context.Context) (pause time.Duration, err error) {
	staged, err := l.stage(ctx, l.queue[l.tried:], l.chunk, l.now())
	if err != nil {
		return l.fail(err, 0), nil
	}
	var docs []Document
	for _, s := range staged {
		docs = append(docs, s.docs...)
	}
	if len(docs) == 0 && l.tried > 0 { // nobody to compare the suspects with
		return l.wait.next(0), nil
	}
	var got receipt
	if len(docs) > 0 {
		got, err = l.send(ctx, docs)
		if ctx.Err() != nil && err != nil {
			err = errors.Join(err, ctx.Err())
		}
	}
	if err := l.finish(ctx, staged, got.taken, len(docs)); err != nil {
		if errors.Is(err, errNotOwned) {
			return 0, err
		}
		return l.fail(err, 0), nil
	}
	if err == nil {
		if len(docs) > 0 {
			l.chunk = min(max(2*l.chunk, 2), l.cfg.Batch.Size)
			l.wait = backoff{}
			l.succeed()
		}
		return 0, nil
	}
	if ctx.Err() != nil {
		return 0, nil
	}
	var r *refusal
	if !errors.As(err, &r) || !r.final {
		var after time.Duration
		if r != nil {
			after = r.after
		}
		if got.taken == 0 { // perhaps it is too much at once: for the time of an attempt, or for the receiver
			l.chunk = max(1, min(l.chunk, len(docs))/2)
		}
		return l.fail(err, after), nil
	}
	// The receiver says that it will never take some of these.
	if rest := len(docs) - got.taken; rest > 1 {
		l.chunk = max(1, min(l.chunk, rest)/2)
		l.metrics.retries.WithLabelValues(l.cfg.Name).Inc()
		return 0, nil
	}
	return l.suspect(ctx, err)
}

// suspect takes the first document of the queue for one that the receiver refuses for good. Others are tried before it is set aside, and
// it once more behind them: if the receiver takes none at all, the receiver is wrong, and the documents wait.
func (l *lane) suspect(ctx context.Context, why error) (time.Duration, error) {
	if l.tried == 0 && l.refused.IsZero() {
		l.refused = l.now()
	}
	for l.tried < len(l.queue) { // up to and with the one that has a document
		s, err := l.stage(ctx, l.queue[l.tried:l.tried+1], 1, l.now())
		if err != nil {
			return l.fail(err, 0), nil
		}
		l.tried++
		if len(s) == 1 && len(s[0].docs) > 0 {
			break
		}
	}
	l.chunk, l.why = 1, why
	switch {
	case l.tried >= suspects:
		return l.fail(why, 0), nil
	case l.now().Sub(l.refused) >= l.cfg.Patience:
		return 0, l.condemn(ctx)
	case l.tried < len(l.queue):
		return 0, nil
	}
	return l.fail(why, 0), nil
}

// condemn sets the suspects aside: the receiver has taken another document, or they have waited for long enough.
func (l *lane) condemn(ctx context.Context) error {
	for l.tried > 0 {
		s, err := l.stage(ctx, l.queue[:1], 1, l.now())
		if err != nil {
			return nil // next time
		}
		if i := &l.queue[0]; len(s[0].docs) > 0 || s[0].left == leftRate {
			var body []byte
			if len(s[0].docs) > 0 {
				body = s[0].docs[0].Body
			} else {
				body = i.from.Data()
			}
			if err := l.setAside(ctx, causeRefused, i.record.UID, i.from.sequence, body, l.why); err != nil {
				l.log.Warn("set a document aside", "error", err)
				return nil
			}
			l.arrived(i)
		}
		l.done(1)
		l.tried--
	}
	l.refused, l.again = time.Time{}, false
	return nil
}

// send delivers documents, over a connection that is made if there is none.
func (l *lane) send(ctx context.Context, docs []Document) (receipt, error) {
	if l.sender == nil {
		s, err := l.open()
		if err != nil {
			return receipt{}, err
		}
		l.sender = s
	}
	patient, cancel := context.WithCancel(context.WithoutCancel(ctx)) // what is on its way when the collector stops may still arrive, and be known to have
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()
	got, err := l.sender.send(patient, docs)
	if err != nil && !final(err) {
		var r *refusal
		if !errors.As(err, &r) || r.after == 0 { // files of secrets and certificates may have changed
			l.sender.close()
			l.sender = nil
		}
	}
	return got, err
}

func (l *lane) open() (sender, error) {
	return transports[l.cfg.Transport].open(&opening{Config: &l.cfg, maker: l.maker, making: l.making, veil: l.veil, js: l.js})
}
