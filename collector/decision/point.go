package decision

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

// Point is another place that can refuse connections or end sessions. It is told of each decision when it is issued and when it is revoked, at least once.
type Point interface {
	// Name is one word, which names the point in metrics and of its consumer.
	Name() string
	// Tell brings a decision there. An error that wraps [ErrPointless] is not tried again.
	Tell(ctx context.Context, d *event.Decision) error
}

// ErrPointless is for what another try will not help.
var ErrPointless = errors.New("refused for good")

// Bounds of telling points.
const (
	pointTries = 20
	pointTime  = 10 * time.Second
)

// tell tells a point of decisions until ctx ends. All collectors share the work, and the point's place is kept while none of them runs.
func (s *Service) tell(ctx context.Context, run *running, p Point) error {
	stream := "KV_" + event.BucketDecisions
	return s.consume(ctx, run.js, stream, jetstream.ConsumerConfig{
		Durable: "ambit-point-" + p.Name(), Description: "tells " + p.Name() + " of decisions", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 2 * pointTime,
		DeliverPolicy: jetstream.DeliverNewPolicy, MaxAckPending: 1, MaxDeliver: pointTries,
	}, 1, func(ctx context.Context, batch []jetstream.Msg) error {
		for _, m := range batch {
			if len(m.Data()) == 0 {
				continue // a key is gone
			}
			if err := s.tellOne(ctx, p, m.Data()); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) tellOne(ctx context.Context, p Point, data []byte) error {
	d, err := event.DecodeDecision(data)
	if err == nil {
		err = d.Verify(s.book.verifier.Keys, s.now(), s.cfg.MaxLife)
	}
	if err != nil { // what is not believed is told to nobody
		s.metrics.points.WithLabelValues(p.Name(), "not believed").Inc()
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, pointTime)
	defer cancel()
	err = p.Tell(ctx, d)
	switch {
	case err == nil:
		s.metrics.points.WithLabelValues(p.Name(), "told").Inc()
	case errors.Is(err, ErrPointless):
		s.metrics.points.WithLabelValues(p.Name(), "refused").Inc()
		s.log.Warn("an enforcement point is not told", "point", p.Name(), "decision", d.ID, "error", err)
	default:
		s.metrics.points.WithLabelValues(p.Name(), "failed").Inc()
		return fmt.Errorf("tell %s of decision %s: %w", p.Name(), d.ID, err)
	}
	return nil
}
