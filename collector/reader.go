package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

const (
	ackWait    = 2 * time.Minute
	fetchAhead = 128
	fetchBytes = 1 << 20     // at most, and the largest message that the server takes
	heartbeat  = time.Second // of the server, while there are no messages: two that are missing mean that it does not know of the request, or of the consumer
)

// message is one message of the stream, with its sequence there and when it came.
type message struct {
	jetstream.Msg
	sequence uint64
	stored   time.Time
	pending  uint64 // how many are behind it
}

// reader gives the messages of some subjects in their order, each once, from the one after taken. The journal knows where to begin after a
// restart, so the durable consumer is made anew at each start, and its state needs no disk: what was taken before comes again at once and in
// order, instead of after ackWait and between others.
type reader struct {
	js        jetstream.JetStream
	name      string   // of the durable consumer: its acknowledgements show how far the collector is
	subjects  []string // that do not overlap
	ack       jetstream.AckPolicy
	maxBytes  int                                 // of messages that are fetched ahead
	owned     func(context.Context) (bool, error) // whether the consumer is this collector's still
	resumed   func()                              // counts interruptions
	log       *slog.Logger
	taken     atomic.Uint64 // last sequence given out
	until     atomic.Uint64 // last sequence to give out, once the end is known
	interrupt chan struct{} // of one: what is on its way may be lost

	mu      sync.Mutex
	stop    context.CancelFunc // of run
	drained bool               // there is nothing to give out any more
}

// drain has the reader end after a message of the stream.
func (r *reader) drain(until uint64) {
	r.until.Store(max(until, 1))
	if r.taken.Load() < until {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drained = true
	if r.stop != nil {
		r.stop()
	}
}

// reopen has the reader ask again for what it has not given out.
func (r *reader) reopen() {
	select {
	case r.interrupt <- struct{}{}:
	default:
	}
}

// run sends messages to out until ctx ends, or what drain was told, and closes out. Whatever befalls the consumer, it goes on behind the last
// message that it gave out.
func (r *reader) run(ctx context.Context, out chan<- message) error {
	defer close(out)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.mu.Lock()
	r.stop = cancel
	if r.drained {
		cancel()
	}
	r.mu.Unlock()
	wait := retry{}
	for first := true; ctx.Err() == nil; first = false {
		if until := r.until.Load(); until > 0 && r.taken.Load() >= until {
			return nil
		}
		before := r.taken.Load()
		err := r.follow(ctx, first, out)
		if ctx.Err() != nil || errors.Is(err, errDrained) {
			return nil
		}
		if errors.Is(err, errNotOwned) {
			return err
		}
		if r.taken.Load() > before {
			wait = retry{}
		}
		r.resumed()
		r.log.Warn("reading the stream was interrupted, it goes on", "consumer", r.name, "after", r.taken.Load(), "error", err)
		wait.sleep(ctx)
	}
	return nil
}

var (
	errGap      = errors.New("a delivery is missing")
	errDrained  = errors.New("the stream is drained")
	errNotOwned = errors.New("another collector reads the partition")
)

func (r *reader) follow(ctx context.Context, first bool, out chan<- message) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	consumer, err := r.open(ctx, first)
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(fetchAhead, r.maxBytes), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return fmt.Errorf("read %s: %w", event.StreamObservations, err)
	}
	defer messages.Stop()
	over := make(chan struct{})
	defer func() { <-over }()
	defer cancel()
	go func() {
		defer close(over)
		select {
		case <-r.interrupt:
			cancel()
		case <-ctx.Done():
		}
	}()
	for delivered := uint64(1); ; delivered++ {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read %s: %w", event.StreamObservations, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read %s: %w", event.StreamObservations, err)
		}
		if meta.Sequence.Consumer != delivered {
			return fmt.Errorf("%w: number %d came instead of %d", errGap, meta.Sequence.Consumer, delivered)
		}
		sequence := meta.Sequence.Stream
		if sequence <= r.taken.Load() { // delivered again after ackWait
			continue
		}
		if until := r.until.Load(); until > 0 && sequence > until {
			return errDrained
		}
		select {
		case out <- message{m, sequence, meta.Timestamp, meta.NumPending}:
			r.taken.Store(sequence)
		case <-ctx.Done():
			return ctx.Err()
		}
		if until := r.until.Load(); until > 0 && sequence >= until {
			return errDrained
		}
	}
}

// open makes the consumer. One that lost its consumer to another collector leaves it alone.
func (r *reader) open(ctx context.Context, first bool) (jetstream.Consumer, error) {
	if !first {
		switch owned, err := r.owned(ctx); {
		case err != nil:
			return nil, err
		case !owned:
			return nil, errNotOwned
		}
	}
	err := r.js.DeleteConsumer(ctx, event.StreamObservations, r.name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, fmt.Errorf("delete the old consumer: %w", err)
	}
	consumer, err := r.js.CreateConsumer(ctx, event.StreamObservations, jetstream.ConsumerConfig{
		Durable:        r.name,
		FilterSubjects: r.subjects,
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    r.taken.Load() + 1,
		AckPolicy:      r.ack,
		AckWait:        ackWait,
		MaxAckPending:  -1, // the groups of rows bound it
		MemoryStorage:  true,
	})
	if err != nil {
		return nil, fmt.Errorf("create the consumer: %w", err)
	}
	return consumer, nil
}

// readSpan visits the messages of a subject from one sequence to another, as they are in the stream now. It gives their number.
func readSpan(ctx context.Context, stream jetstream.Stream, subject string, first, last uint64, visit func(message) error) (n int, err error) {
	doing := func(err error) error { return fmt.Errorf("read %s again: %w", event.StreamObservations, err) }
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject: subject, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: abandoned,
	})
	if err != nil {
		return 0, doing(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = stream.DeleteConsumer(ctx, consumer.CachedInfo().Name) // else the server does so soon
	}()
	if consumer.CachedInfo().NumPending == 0 {
		return 0, nil
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(fetchAhead, fetchBytes), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return 0, doing(err)
	}
	defer messages.Stop()
	for delivered := uint64(1); ; delivered++ {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return n, doing(err)
		}
		meta, err := m.Metadata()
		switch {
		case err != nil:
			return n, doing(err)
		case meta.Sequence.Consumer != delivered:
			return n, doing(fmt.Errorf("%w: number %d came instead of %d", errGap, meta.Sequence.Consumer, delivered))
		case meta.Sequence.Stream > last:
			return n, nil
		}
		n++
		if err := visit(message{m, meta.Sequence.Stream, meta.Timestamp, meta.NumPending}); err != nil {
			return n, err
		}
		if meta.Sequence.Stream == last || meta.NumPending == 0 {
			return n, nil
		}
	}
}
