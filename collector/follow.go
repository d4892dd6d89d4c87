package collector

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

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
	})
	if err != nil {
		return fmt.Errorf("follow %s: %w", event.StreamFindings, err)
	}
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
