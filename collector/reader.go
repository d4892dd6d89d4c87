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
	maxAckPending = 512 // messages that are taken and not yet in the store
	ackWait       = 2 * time.Minute
	fetchAhead    = 128
)

// message is one message of the stream, with its sequence there.
type message struct {
	jetstream.Msg
	sequence uint64
}

// reader gives the messages of the stream in their order, each once, from the one after taken. The journal knows where to begin after a
// restart, so the durable consumer is made anew at each start: what an earlier collector had taken comes again at once and in order,
// instead of after ackWait and between others.
type reader struct {
	js      jetstream.JetStream
	metrics *metrics
	log     *slog.Logger
	settled *atomic.Uint64 // up to here messages are in the store or refused
	taken   uint64         // last sequence given out
}

// run sends to out until ctx ends, and closes out. Whatever befalls the consumer, it goes on behind the last message it gave out.
func (r *reader) run(ctx context.Context, out chan<- message) error {
	defer close(out)
	wait := retry{}
	for ctx.Err() == nil {
		before := r.taken
		err := r.follow(ctx, out)
		if ctx.Err() != nil {
			return nil
		}
		if r.taken > before {
			wait = retry{}
		}
		r.metrics.resumed.Inc()
		r.log.Warn("reading the stream was interrupted, it goes on", "after", r.taken, "error", err)
		wait.sleep(ctx)
	}
	return nil
}

// errGap means that the server delivered a message that did not arrive here.
var errGap = errors.New("a delivery is missing")

func (r *reader) follow(ctx context.Context, out chan<- message) error {
	consumer, err := r.open(ctx)
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(fetchAhead))
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
		if sequence <= r.taken { // delivered again after ackWait
			if sequence <= r.settled.Load() {
				_ = m.Ack() // the first one may be lost; then it comes again
			}
			continue
		}
		if missing := sequence - r.taken - 1; missing > 0 {
			r.metrics.lost.WithLabelValues("expired").Add(float64(missing))
			r.log.Error("messages left the stream before they were read: it is too small for this outage (nats.max_bytes, nats.max_age)", "messages", missing)
		}
		select {
		case out <- message{m, sequence}:
			r.taken = sequence
		case <-ctx.Done():
			return ctx.Err()
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
		OptStartSeq:   r.taken + 1,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxAckPending: maxAckPending,
	})
	if err != nil {
		return nil, fmt.Errorf("create the consumer: %w", err)
	}
	return consumer, nil
}
