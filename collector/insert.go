package collector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// inserter puts groups into the store, each exactly once: the plan is written down, the rows are inserted under the plan's token, the
// outcome is written down, the messages are acknowledged.
type inserter struct {
	c       *Collector
	journal *journal
	stream  jetstream.Stream
	windows jetstream.KeyValue
	proof   *proof // nil until an insert succeeded
}

const writeJournal = "write the journal"

func (in *inserter) run(ctx context.Context, groups <-chan *group) error {
	for g := range groups {
		p := newPlan(g.first, g.last)
		p.Skip = g.skipped
		if len(g.rows) > 0 {
			if err := in.c.try(ctx, writeJournal, func() error { return in.journal.begin(ctx, p) }); err != nil {
				return err
			}
		}
		if err := in.insert(ctx, p, g); err != nil {
			return err
		}
		for _, m := range g.messages {
			if err := m.Ack(); err != nil { // it is settled all the same; delivered again, it is acknowledged again
				in.c.log.Debug("acknowledge a message", "sequence", m.sequence, "error", err)
			}
		}
	}
	return nil
}

// insert repeats until the store has the group, or ctx ends.
func (in *inserter) insert(ctx context.Context, p plan, g *group) error {
	c, start := in.c, time.Now()
	if len(g.coverage) > 0 {
		rows := slices.Collect(maps.Values(g.coverage))
		refused, err := insertSome(ctx, c, "insert coverage", rows, func(rows []store.Coverage) error { return c.store.InsertCoverage(ctx, rows) })
		if err != nil {
			return err
		}
		c.metrics.inserted.WithLabelValues("coverage").Add(float64(len(rows) - len(refused)))
	}
	if len(g.sightings) > 0 {
		rows := slices.Collect(maps.Values(g.sightings))
		refused, err := insertSome(ctx, c, "insert sightings", rows, func(rows []store.Sighting) error { return c.store.InsertSightings(ctx, rows) })
		if err != nil {
			return err
		}
		c.metrics.inserted.WithLabelValues("sightings").Add(float64(len(rows) - len(refused)))
	}
	if len(g.rows) > 0 {
		if err := in.observations(ctx, &p, g); err != nil {
			return err
		}
		c.metrics.seconds.Observe(time.Since(start).Seconds())
	}
	if g.last > 0 {
		if err := c.try(ctx, writeJournal, func() error { return in.journal.done(ctx, g.last) }); err != nil {
			return err
		}
		c.settled.Store(g.last)
		c.metrics.settled.Set(float64(g.last))
	}
	if g.checkpoint != nil {
		if err := g.checkpoint.save(ctx, in.windows); err != nil { // the one before is as good, only more has to be read again
			c.log.Warn("the next start reads more of the stream", "error", err)
		}
	}
	return nil
}

// recover repeats the insert that an earlier collector began and did not write down as done. Its messages are taken from the stream by
// their sequence, and give the same rows; the store knows by the token which of them it has.
func (in *inserter) recover(ctx context.Context) error {
	p := in.journal.entry.Plan
	if p == nil {
		return nil
	}
	g := newGroup()
	for sequence := p.First; sequence <= p.Last; sequence++ {
		g.take(sequence)
		m, err := in.message(ctx, sequence)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			in.c.metrics.lost.WithLabelValues("expired").Inc()
			continue
		}
		if err != nil {
			return err
		}
		switch said, refused := decode(m.Subject, m.Data, m.Time, in.c.cfg.MaxBehind); {
		case refused != nil: // counted when it was taken
		case said.batch != nil:
			b := said.batch
			g.addBatch(b, sequence)
			for i := range b.Workloads {
				g.sight(&b.Workloads[i], b)
			}
		default:
			g.addHeartbeat(said.heartbeat)
		}
		in.c.metrics.replayed.Inc()
	}
	g.skip(p.Skip)
	if err := in.insert(ctx, *p, g); err != nil {
		return fmt.Errorf("repeat the insert of messages %d to %d of %s: %w", p.First, p.Last, event.StreamObservations, err)
	}
	in.c.log.Info("an insert that was cut off was repeated", "first", p.First, "last", p.Last, "rows", len(g.rows))
	return nil
}

func (in *inserter) message(ctx context.Context, sequence uint64) (*jetstream.RawStreamMsg, error) {
	var m *jetstream.RawStreamMsg
	var missing error
	err := in.c.try(ctx, "read the stream", func() (err error) {
		m, err = in.stream.GetMsg(ctx, sequence)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			missing, err = err, nil
		}
		return err
	})
	return m, errors.Join(err, missing)
}

// try repeats an operation until it succeeds; an error is only that ctx ended, or that repeating is of no use.
func (c *Collector) try(ctx context.Context, operation string, do func() error) error {
	return c.repeat(ctx, operation, do, func(err error) bool { return errors.Is(err, ErrTaken) })
}

// attempt is try, but gives back what the store refuses. The operation counts as one that does not succeed until it does, or until the caller
// gives up on it.
func (c *Collector) attempt(ctx context.Context, operation string, do func() error) error {
	return c.repeat(ctx, operation, do, func(err error) bool { return errors.Is(err, store.ErrRefused) })
}

func (c *Collector) repeat(ctx context.Context, operation string, do func() error, hopeless func(error) bool) error {
	var wait retry
	var said time.Time
	began, _ := c.trouble.LoadOrStore(operation, trouble{since: time.Now(), err: errNoAnswer})
	for {
		err := do()
		if err == nil {
			c.trouble.Delete(operation)
			if wait.n > 0 {
				c.log.Info("it works again", "operation", operation, "after", wait.n)
			}
			return nil
		}
		c.trouble.Store(operation, trouble{since: began.(trouble).since, err: err})
		c.metrics.retried.WithLabelValues(operation).Inc()
		if hopeless(err) {
			return err
		}
		if time.Since(said) > 30*time.Second {
			said = time.Now()
			c.log.Warn("cannot "+operation+", trying again", "error", err)
		}
		if !wait.sleep(ctx) {
			return fmt.Errorf("%s: %w: %w", operation, ctx.Err(), err)
		}
	}
}
