package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/ambit-nhi/ambit/event"
)

const (
	ledgerEvery = 10 * time.Second
	statusEvery = 2 * time.Second
	// suspects is how many documents a receiver must refuse in a row, before it is the receiver that is wrong, not the documents.
	suspects = 10
	// grace is for what is being sent when the lane shall end.
	grace = 2 * time.Second
	// maxLifts bounds the decisions whose end is remembered.
	maxLifts = 1000
)

// lane delivers the records of one kind of a feed.
type lane struct {
	cfg     Config
	all     []Config // of all feeds
	kind    Kind
	name    string // of the feed, and for other kinds than findings of the kind
	maker   maker
	making  *making
	veil    *veil
	js      jetstream.JetStream
	bucket  jetstream.KeyValue
	owners  *owners
	decide  Decide
	metrics *metrics
	log     *slog.Logger
	aside   rate.Sometimes
	status  board
	member  string
	now     func() time.Time

	// Of the one goroutine that works it.
	book    book
	mark    *mark
	ledger  *ledger
	sender  sender
	queue   []item
	tried   int             // the first items of the queue that were refused for good
	refused time.Time       // when the first of them was
	why     error           // of the last of them
	lifting map[string]bool // decisions whose end is in the queue
	chunk   int             // documents that are sent at once
	wait    backoff
	last    message // the last one that is done
	dirty   bool    // the mark is not written
}

// work delivers until ctx ends, or another collector works the lane.
func (l *lane) work(ctx context.Context) error {
	if err := l.restore(ctx); err != nil {
		return err
	}
	defer func() {
		if l.sender != nil {
			l.sender.close()
			l.sender = nil
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages := make(chan message, 16)
	g, ctx := errgroup.WithContext(ctx)
	r := &reader{js: l.js, lane: l, taken: l.mark.Sequence}
	g.Go(func() error { return r.run(ctx, messages) })
	g.Go(func() error { return l.report(ctx) })
	if l.cfg.Silences && l.decide != nil && l.kind == KindFinding {
		g.Go(func() error { return l.followSilences(ctx) })
	}
	g.Go(func() error {
		defer cancel()
		return l.deliverAll(ctx, messages)
	})
	err := g.Wait()
	l.leave()
	return err
}

// leave writes what is not written yet, for the collector that goes on.
func (l *lane) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if l.dirty {
		if err := l.book.save(ctx, l.mark); err != nil { // then some are sent again
			l.log.Debug("stop a feed", "error", err)
			return
		}
		l.dirty = false
	}
	if l.book.saved < l.mark.Sequence {
		if err := l.book.saveLedger(ctx, l.ledger, l.mark.Sequence); err != nil {
			l.log.Debug("stop a feed", "error", err)
		}
	}
}

// restore reads how far the lane is. A ledger that is older than the mark learns what was told since from the stream.
func (l *lane) restore(ctx context.Context) error {
	l.book = book{bucket: l.bucket, lane: l.name}
	l.queue, l.tried, l.chunk, l.wait, l.last, l.dirty = nil, 0, l.cfg.Batch.Size, backoff{}, message{}, false
	l.refused, l.why, l.lifting = time.Time{}, nil, map[string]bool{}
	stream, err := l.js.Stream(ctx, sources[l.kind].stream)
	if err != nil {
		return fmt.Errorf("open the stream %s: %w", sources[l.kind].stream, err)
	}
	info := stream.CachedInfo()
	if l.mark, err = l.book.load(ctx); err != nil {
		return err
	}
	switch {
	case l.mark == nil:
		l.mark = &mark{Stream: info.Created}
		if l.cfg.From == "now" {
			l.mark.Sequence = info.State.LastSeq
		} else if info.State.FirstSeq > 0 {
			l.mark.Sequence = info.State.FirstSeq - 1
		}
		if err := l.book.save(ctx, l.mark); err != nil {
			return err
		}
		if err := l.book.saveLedger(ctx, newLedger(), l.mark.Sequence); err != nil {
			return err
		}
	case !l.mark.Stream.Equal(info.Created): // another one: all in it is new
		l.mark.Stream, l.mark.Sequence = info.Created, 0
	}
	var known bool
	if l.ledger, known, err = l.book.loadLedger(ctx); err != nil {
		return err
	}
	if first := info.State.FirstSeq; first > l.mark.Sequence+1 && l.mark.Sequence > 0 && sources[l.kind].dense {
		l.lose(first - l.mark.Sequence - 1)
	}
	l.status.note(func(s *Status) { s.Sequence, s.State, s.Collector = l.mark.Sequence, StateWorking, l.member })
	if w := l.mark.Summary; w != nil {
		l.queue = append(l.queue, item{record: w.summary(&l.cfg, l.now()), injected: true})
	}
	if known && l.book.saved < l.mark.Sequence && l.kind != KindObservation {
		return l.relearn(ctx, stream, l.book.saved)
	}
	return nil
}

// relearn puts into the ledger what was told between two of its writings.
func (l *lane) relearn(ctx context.Context, stream jetstream.Stream, after uint64) error {
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{sources[l.kind].subject}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1, InactiveThreshold: 10 * time.Second,
	})
	if err != nil {
		return fmt.Errorf("read what the feed has told: %w", err)
	}
	if consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(256))
	if err != nil {
		return fmt.Errorf("read what the feed has told: %w", err)
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read what the feed has told: %w", err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read what the feed has told: %w", err)
		}
		if meta.Sequence.Stream > l.mark.Sequence {
			return nil
		}
		got := message{m, meta.Sequence.Stream, meta.Timestamp, meta.NumPending}
		items := l.read(got)
		staged, err := l.stage(ctx, items, len(items)+1, l.now())
		if err != nil {
			return err
		}
		for _, s := range staged {
			if s.key != 0 {
				l.ledger.told.Put(s.key, s.entry)
			}
		}
		if meta.NumPending == 0 || meta.Sequence.Stream == l.mark.Sequence {
			return nil
		}
	}
}

func (l *lane) lose(n uint64) {
	l.metrics.lost.WithLabelValues(l.cfg.Name, causeLost).Add(float64(n))
	l.status.note(func(s *Status) { s.Lost += n })
	l.log.Warn("the stream has dropped messages before the feed has read them: the receiver was away for too long", "messages", n)
}

// read makes the items of a message.
func (l *lane) read(m message) []item {
	records, err := sources[l.kind].decode(&m)
	if err != nil {
		return []item{{from: m, sequence: m.sequence, bad: err}}
	}
	if len(records) == 0 {
		return []item{{from: m, sequence: m.sequence}}
	}
	items := make([]item, len(records))
	for i, r := range records {
		items[i] = item{record: r, from: m}
	}
	items[len(items)-1].sequence = m.sequence
	return items
}

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
		l.tried = 0
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

// suspect takes the first document of the queue for one that the receiver refuses for good. Others are tried before it is set aside: if the receiver
// takes none at all, the receiver is wrong, and the documents wait.
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
	l.refused = time.Time{}
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

// finish takes the items from the queue that are done: those whose documents were taken, and those without.
func (l *lane) finish(ctx context.Context, list []staged, taken, all int) error {
	if taken > 0 && l.tried > 0 { // the receiver takes others
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
	if d.Revoked.IsZero() && r.Life != Close && len(l.mark.Lifts) < maxLifts {
		kept := *d
		kept.Signature = nil
		l.mark.Lifts = append(l.mark.Lifts, kept)
	}
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
