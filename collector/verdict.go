package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

var errNotRunning = errors.New("the collector does not work the stream now; try again")

// Judge publishes what a person decided about a finding, so that the detector of its identity learns of it in order with what it sees. Once it is in the
// stream it is never lost; to publish it again changes nothing.
func (c *Collector) Judge(ctx context.Context, v *event.Verdict) error {
	js := c.js.Load()
	if js == nil {
		return fmt.Errorf("publish the verdict about %s: %w", v.Finding, errNotRunning)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the verdict about %s: %w", v.Finding, err)
	}
	if _, err := (*js).Publish(ctx, v.Subject(c.cfg.Partitions), data, jetstream.WithMsgID(v.MessageID())); err != nil {
		return fmt.Errorf("publish the verdict about %s: %w", v.Finding, err)
	}
	return nil
}
