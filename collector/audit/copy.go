package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

// Bounds of copying.
const (
	copyBatch = 256
	copyWait  = 20 * time.Millisecond // for one more record
	copyPause = time.Second           // after a failure
)

// consumerName is the consumer that all collectors share.
const consumerName = "ambit-audit"

// Run lets records be appended, and copies them into the archive, until ctx ends. It calls ready when the log takes records. What cannot be copied yet
// waits in the stream.
func (l *Log) Run(ctx context.Context, js jetstream.JetStream, log *slog.Logger, ready func()) error {
	if _, err := js.Stream(ctx, event.StreamAudit); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("open the stream %s: %w", event.StreamAudit, err)
	}
	l.js.Store(&js)
	defer l.js.Store(nil)
	ready()
	for troubled := false; ; {
		err := l.copy(ctx, js)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !troubled {
			log.Warn("the audit trail waits in the stream", "error", err)
		}
		troubled = err != nil
		if err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(copyPause):
		}
	}
}

// copy takes one batch of records.
func (l *Log) copy(ctx context.Context, js jetstream.JetStream) error {
	consumer, err := js.Consumer(ctx, event.StreamAudit, consumerName)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		consumer, err = js.CreateConsumer(ctx, event.StreamAudit, jetstream.ConsumerConfig{
			Durable: consumerName, Description: "copies the audit trail into the database",
			AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute, MaxAckPending: 4 * copyBatch,
		})
	}
	if err != nil {
		return fmt.Errorf("open the consumer %s: %w", consumerName, err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(copyBatch))
	if err != nil {
		return fmt.Errorf("follow %s: %w", event.StreamAudit, err)
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		var batch []jetstream.Msg
		for err == nil {
			if batch = append(batch, m); len(batch) == copyBatch {
				break
			}
			m, err = messages.Next(jetstream.NextMaxWait(copyWait))
		}
		if len(batch) == 0 {
			return fmt.Errorf("follow %s: %w", event.StreamAudit, err)
		}
		if err := l.take(ctx, batch); err != nil {
			return err
		}
	}
}

// take inserts what messages bring. A message that is no record is left out: the chain tells that one is missing.
func (l *Log) take(ctx context.Context, messages []jetstream.Msg) error {
	var records []Record
	for _, m := range messages {
		var r Record
		if err := json.Unmarshal(m.Data(), &r); err == nil {
			records = append(records, r)
		}
	}
	if err := l.archive.InsertAudit(ctx, records); err != nil {
		for _, m := range messages {
			_ = m.NakWithDelay(copyPause)
		}
		return fmt.Errorf("insert records: %w", err)
	}
	for _, m := range messages {
		_ = m.Ack() // else it comes again
	}
	return nil
}
