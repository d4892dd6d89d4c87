package decision

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// fetchWait is how long a server is asked for messages at a time.
const fetchWait = 5 * time.Second

// consume gives the messages of a durable consumer to take, at most so many at a time, until ctx ends. The consumer is made where it is missing. What take fails at
// comes again.
func (s *Service) consume(ctx context.Context, js jetstream.JetStream, stream string, config jetstream.ConsumerConfig, most int, take func(ctx context.Context, batch []jetstream.Msg) error) error {
	for troubled := false; ; {
		err := s.consumeSome(ctx, js, stream, config, most, take)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !troubled {
			s.log.Warn("work of decisions waits in the stream", "consumer", config.Durable, "error", err)
		}
		troubled = err != nil
		if err != nil && !pause(ctx) {
			return nil
		}
	}
}

func (s *Service) consumeSome(ctx context.Context, js jetstream.JetStream, stream string, config jetstream.ConsumerConfig, most int, take func(ctx context.Context, batch []jetstream.Msg) error) error {
	consumer, err := js.Consumer(ctx, stream, config.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		consumer, err = js.CreateConsumer(ctx, stream, config)
	}
	if err != nil {
		return fmt.Errorf("open the consumer %s: %w", config.Durable, err)
	}
	for ctx.Err() == nil {
		batch, err := fetch(ctx, consumer, most)
		if err != nil {
			return err
		}
		if len(batch) == 0 {
			continue
		}
		if err := take(ctx, batch); err != nil {
			for _, m := range batch {
				_ = m.NakWithDelay(pauseTime)
			}
			return err
		}
		for _, m := range batch {
			_ = m.Ack() // else it comes again
		}
	}
	return nil
}

// fetch waits for one message, and takes along what else is there.
func fetch(ctx context.Context, consumer jetstream.Consumer, most int) ([]jetstream.Msg, error) {
	wait, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	first, err := consumer.Fetch(1, jetstream.FetchContext(wait))
	if err != nil {
		return nil, fmt.Errorf("fetch messages: %w", err)
	}
	out, err := collect(first, nil)
	if err != nil || len(out) == 0 || most == 1 {
		return out, err
	}
	rest, err := consumer.FetchNoWait(most - 1)
	if err != nil {
		return nil, fmt.Errorf("fetch messages: %w", err)
	}
	return collect(rest, out)
}

// collect adds the messages of a batch, which ends by itself, to others.
func collect(batch jetstream.MessageBatch, out []jetstream.Msg) ([]jetstream.Msg, error) {
	for m := range batch.Messages() {
		out = append(out, m)
	}
	if err := batch.Error(); err != nil && len(out) == 0 && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return nil, fmt.Errorf("fetch messages: %w", err)
	}
	return out, nil
}
