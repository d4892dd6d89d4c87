package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

// consumerName is the durable consumer: its acknowledgements show how far the collector is.
const consumerName = "collector"

const (
	maxAckPending = 4096 // messages that are taken and not yet in the store
	ackWait       = 2 * time.Minute
	fetchAhead    = 256
	heartbeat     = 2 * time.Second // of the server, while there are no messages: two that are missing mean that the consumer is another one now
)

// message is one message of the stream, with its sequence there and when it came.
type message struct {
	jetstream.Msg
	sequence uint64
	stored   time.Time
}

// reader gives the messages of the stream in their order, each once, from the one after taken. The journal knows where to begin after a
// restart, so the durable consumer is made anew at each start: what an earlier collector had taken comes again at once and in order,
// instead of after ackWait and between others.
type reader struct {
	js      jetstream.JetStream
	stream  jetstream.Stream
	metrics *metrics
	log     *slog.Logger
	settled *atomic.Uint64 // up to here messages are in the store or refused
	taken   atomic.Uint64  // last sequence given out
	until   atomic.Uint64  // last sequence to give out, once the end is known
}

// run sends to out what is in the stream until ctx ends, or until work does, and closes out. Whatever befalls the consumer, it goes on
// behind the last message it gave out.
func (r *reader) run(ctx, work context.Context, out chan<- message) error {
	defer close(out)
	work, cancel := context.WithCancel(work)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		info, err := r.stream.Info(work)
		if err != nil || info.State.LastSeq <= r.taken.Load() {
			cancel()
			return
		}
		r.until.Store(info.State.LastSeq)
		if r.taken.Load() >= info.State.LastSeq { // it came in between
			cancel()
		}
	})()
	wait := retry{}
	for work.Err() == nil {
		before := r.taken.Load()
		err := r.follow(work, out)
		if work.Err() != nil || errors.Is(err, errDrained) {
			return nil
		}
		if r.taken.Load() > before {
			wait = retry{}
		}
		r.metrics.resumed.Inc()
		r.log.Warn("reading the stream was interrupted, it goes on", "after", r.taken.Load(), "error", err)
		wait.sleep(work)
	}
	return nil
}

// errGap means that the server delivered a message that did not arrive here.
var errGap = errors.New("a delivery is missing")

// errDrained means that nothing is left that should be read.
var errDrained = errors.New("the stream is drained")

func (r *reader) follow(ctx context.Context, out chan<- message) error {
	consumer, err := r.open(ctx)
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(fetchAhead), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return fmt.Errorf("read %s: %w", event.StreamObservations, err)
	}
	defer messages.Stop()
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
			return errGap
		}
		sequence := meta.Sequence.Stream
		if sequence <= r.taken.Load() { // delivered again after ackWait
			if sequence <= r.settled.Load() {
				_ = m.Ack() // the first one may be lost; then it comes again
			}
			continue
		}
		if missing := sequence - r.taken.Load() - 1; missing > 0 {
			r.metrics.lost.WithLabelValues("expired").Add(float64(missing))
			r.log.Error("messages left the stream before they were read: it is too small for this outage (nats.max_bytes, nats.max_age)", "messages", missing)
		}
		select {
		case out <- message{m, sequence, meta.Timestamp}:
			r.taken.Store(sequence)
		case <-ctx.Done():
			return ctx.Err()
		}
		if until := r.until.Load(); until > 0 && sequence >= until {
			return errDrained
		}
	}
}

func (r *reader) open(ctx context.Context) (jetstream.Consumer, error) {
	err := r.js.DeleteConsumer(ctx, event.StreamObservations, consumerName)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, fmt.Errorf("delete the old consumer: %w", err)
	}
	consumer, err := r.js.CreateConsumer(ctx, event.StreamObservations, jetstream.ConsumerConfig{
		Durable:       consumerName,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   r.taken.Load() + 1,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxAckPending: maxAckPending,
	})
	if err != nil {
		return nil, fmt.Errorf("create the consumer: %w", err)
	}
	return consumer, nil
}
