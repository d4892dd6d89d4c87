package feed

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
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
	// maxLiftBytes bounds them, too: a mark that is larger than a message could not be written.
	maxLiftBytes = 512 << 10
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
	again   bool            // they are tried once more, for the receiver takes others
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
	l.refused, l.why, l.again, l.lifting = time.Time{}, nil, false, map[string]bool{}
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
	if l.book.saved > l.mark.Sequence { // of another stream
		l.book.saved = 0
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
