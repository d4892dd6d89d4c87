package collector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

// abandoned is how long the server keeps a consumer that nobody asks for messages any more, if it could not be deleted.
const abandoned = 10 * time.Second

// Follow calls tell with each finding, as JSON, that was published behind the sequence after; 0 means from now on. Before the first one it
// calls tell with no finding, when none can be missed any more. It ends with ctx or with an error of tell.
func (c *Collector) Follow(ctx context.Context, after uint64, tell func(sequence uint64, finding []byte) error) error {
	js := c.js.Load()
	if js == nil {
		return errors.New("the collector is starting or stopping")
	}
	stream, err := (*js).Stream(ctx, event.StreamFindings)
	if err != nil {
		return fmt.Errorf("open the stream %s: %w", event.StreamFindings, err)
	}
	last := stream.CachedInfo().State.LastSeq
	if after == 0 || after > last { // the latter is from another stream
		after = last
	}
	consumer, err := (*js).OrderedConsumer(ctx, event.StreamFindings, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1,
		InactiveThreshold: abandoned,
	})
	if err != nil {
		return fmt.Errorf("follow %s: %w", event.StreamFindings, err)
	}
	defer c.forget(ctx, *js, consumer)
	messages, err := consumer.Messages(jetstream.PullMaxMessages(64))
	if err != nil {
		return fmt.Errorf("follow %s: %w", event.StreamFindings, err)
	}
	defer messages.Stop()
	if err := tell(after, nil); err != nil {
		return err
	}
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("follow %s: %w", event.StreamFindings, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("follow %s: %w", event.StreamFindings, err)
		}
		if err := tell(meta.Sequence.Stream, m.Data()); err != nil {
			return err
		}
	}
}

// forget deletes the consumer of a follower that has gone: clients come and go faster than the server forgets by itself.
func (c *Collector) forget(ctx context.Context, js jetstream.JetStream, consumer jetstream.Consumer) {
	info := consumer.CachedInfo()
	if info == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := js.DeleteConsumer(ctx, event.StreamFindings, info.Name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		c.log.Debug("delete the consumer of a follower", "consumer", info.Name, "error", err)
	}
}
