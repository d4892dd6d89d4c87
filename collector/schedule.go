package collector

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

// ScheduledReport is a report that is made again and again.
type ScheduledReport interface {
	// Last is when it was last made, by any collector; zero: never.
	Last(ctx context.Context) (time.Time, error)
	// Make makes it: it has its findings told, and only then keeps that it was made. So who dies in between tells some of them twice, and none never.
	Make(ctx context.Context, tell func(context.Context, []event.Finding) error) error
}

// Schedule makes a report every so often, by one of the collectors that share a bus.
type Schedule struct {
	Bus    *Bus
	Report ScheduledReport
	Every  time.Duration
	Log    *slog.Logger

	now func() time.Time // nil is time.Now
}

// scheduleRetry is how long a report that failed waits.
const scheduleRetry = time.Minute

// Run makes reports until ctx ends. One that fails is logged, and made again after a while.
func (s *Schedule) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		wait, err := s.wait(ctx)
		if err == nil && wait <= 0 {
			if err = s.make(ctx); err == nil {
				continue
			}
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			s.Log.Error("make a scheduled report", "error", err)
			wait = scheduleRetry
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return nil
}

func (s *Schedule) clock() time.Time {
	if s.now != nil {
		return s.now()
	}
	return time.Now()
}

// wait says how long until the report is due.
func (s *Schedule) wait(ctx context.Context) (time.Duration, error) {
	last, err := s.Report.Last(ctx)
	if err != nil {
		return 0, err
	}
	if last.IsZero() {
		return 0, nil
	}
	return last.Add(s.Every).Sub(s.clock()), nil
}

// make makes the report, unless another collector has made it meanwhile.
func (s *Schedule) make(ctx context.Context) error {
	held, unlock, err := lockBus(ctx, s.Bus, "report", s.Log)
	if err != nil {
		return err
	}
	defer unlock()
	if wait, err := s.wait(held); err != nil || wait > 0 {
		return err
	}
	return s.Report.Make(held, func(ctx context.Context, findings []event.Finding) error { return tellFindings(ctx, s.Bus, findings) })
}

// tellFindings publishes findings to those who follow them.
func tellFindings(ctx context.Context, bus *Bus, findings []event.Finding) (err error) {
	if len(findings) == 0 {
		return nil
	}
	nc, err := bus.Connect("ambit report")
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	for i := range findings {
		f := &findings[i]
		data, encode := json.Marshal(f)
		if encode != nil {
			err = errors.Join(err, fmt.Errorf("encode the finding %s: %w", f.ID, encode))
			continue
		}
		if _, publish := js.Publish(ctx, event.FindingSubject(f), data, jetstream.WithMsgID(f.MessageID())); publish != nil {
			return errors.Join(err, fmt.Errorf("publish the finding %s: %w", f.ID, publish))
		}
	}
	return err
}
