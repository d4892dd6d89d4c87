package collector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/collector/journal"
	"github.com/ambit-nhi/ambit/collector/store"
)

// inserter puts groups into the store, each exactly once: the plan is written down, the rows are inserted under the plan's token, the outcome
// is written down, the messages are acknowledged.
type inserter struct{ *shift }

const (
	writeJournal = "write the journal"
	theStore     = "the store"
)

func (in *inserter) run(ctx context.Context) error {
	for {
		select {
		case g := <-in.groups:
			if err := in.settle(ctx, g); err != nil {
				return err
			}
			for _, settled := range g.settled {
				close(settled)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settle repeats until the store has the group, or ctx ends. What of it belongs to a partition that another collector has by now is left
// to that one.
func (in *inserter) settle(ctx context.Context, g *group) error {
	for w := range g.shares {
		if w.dead.Load() {
			g.without(w)
			continue
		}
		g.lose(w.partition, w.verdicts.takeLosses())
	}
	if err := in.flushFindings(ctx); err != nil {
		return err
	}
	start := time.Now()
	if err := in.insertAround(ctx, g); err != nil {
		return err
	}
	if err := in.insertRows(ctx, g); err != nil {
		return err
	}
	if err := in.writeDown(ctx, g); err != nil {
		return err
	}
	if g.rows > 0 {
		in.metrics.seconds.Observe(time.Since(start).Seconds())
	}
	in.acknowledge(g)
	in.saveCheckpoints(ctx, g)
	return nil
}

// writeDown writes down up to where partitions are settled now.
func (in *inserter) writeDown(ctx context.Context, g *group) error {
	last := map[*journal.Claim]uint64{}
	for w, s := range g.shares {
		if s.last > 0 {
			last[w.claim] = s.last
		}
	}
	if len(last) == 0 {
		return nil
	}
	var lost []*journal.Claim
	if err := in.try(ctx, theStore, writeJournal, func() (err error) { lost, err = in.journal.Done(ctx, last); return err }); err != nil {
		return err
	}
	in.leave(g, lost)
	return nil
}

// acknowledge tells that the messages of a group are settled.
func (in *inserter) acknowledge(g *group) {
	for w, s := range g.shares {
		if s.last > 0 {
			w.settled.Store(s.last)
			w.storing.done(s.messages, s.stored)
			in.metrics.acknowledged.Add(float64(s.messages))
			w.acknowledge(s.acknowledge)
		}
	}
}

// saveCheckpoints writes down the trackers whose messages are settled.
func (in *inserter) saveCheckpoints(ctx context.Context, g *group) {
	for w := range g.shares {
		if c := w.verdicts.due(w.settled.Load()); c != nil {
			if err := c.save(ctx, in.windows); err != nil { // the one before is as good, only more has to be read again
				in.log.Warn("the next start reads more of the stream", "partition", w.partition, "error", err)
			}
		}
	}
}

// leave drops the shares of claims that hold no longer.
func (in *inserter) leave(g *group, lost []*journal.Claim) {
	for w := range g.shares {
		if slices.Contains(lost, w.claim) {
			w.giveUp()
			g.without(w)
		}
	}
}

// insertAround inserts what may be inserted again without harm: coverage and sightings.
func (in *inserter) insertAround(ctx context.Context, g *group) error {
	if len(g.coverage) > 0 {
		rows := slices.Collect(maps.Values(g.coverage))
		refused, err := insertSome(ctx, in.Collector, theStore, "insert coverage", rows, func(rows []store.Coverage) error { return in.store.InsertCoverage(ctx, rows) })
		if err != nil {
			return err
		}
		in.metrics.inserted.WithLabelValues("coverage").Add(float64(len(rows) - len(refused)))
	}
	if len(g.sightings) > 0 {
		rows := slices.Collect(maps.Values(g.sightings))
		refused, err := insertSome(ctx, in.Collector, theStore, "insert sightings", rows, func(rows []store.Sighting) error { return in.store.InsertSightings(ctx, rows) })
		if err != nil {
			return err
		}
		in.metrics.inserted.WithLabelValues("sightings").Add(float64(len(rows) - len(refused)))
	}
	return nil
}

// insertRows inserts the observations of a group under a plan. Where partitions of the plan turn out to be lost, the rest gets another one.
func (in *inserter) insertRows(ctx context.Context, g *group) error {
	for g.rows > 0 {
		p, claims := g.plan()
		var open *journal.Open
		var lost []*journal.Claim
		if err := in.try(ctx, theStore, writeJournal, func() (err error) { open, lost, err = in.journal.Begin(ctx, p, claims); return err }); err != nil {
			return err
		}
		if len(lost) == 0 {
			in.metrics.batch.Observe(float64(g.rows))
			return in.observations(ctx, open, g)
		}
		in.leave(g, lost)
	}
	return nil
}

// repeat inserts what a plan holds that another collector began, or an earlier start of this one, and did not write down as done. Its messages
// are taken from the stream again, and give the same rows; the store knows by the token which of them it has.
func (s *shift) repeat(ctx context.Context, o *journal.Open) error {
	g := newGroup()
	for p, span := range o.Plan.Spans {
		n, err := readSpan(ctx, s.stream, subject(p), span.First, span.Last, func(m message) error {
			in, refused := decode(m.Subject(), m.Data(), m.stored, s.cfg.MaxBehind, s.cfg.Partitions)
			if refused != nil { // counted when it was taken
				return nil
			}
			g.addBatch(in.batch, m.sequence, p, nil)
			for i := range in.batch.Workloads {
				g.sight(&in.batch.Workloads[i], in.batch)
			}
			s.metrics.replayed.Inc()
			return nil
		})
		if err != nil {
			return err
		}
		if span.Messages > n {
			s.metrics.lost.WithLabelValues("expired").Add(float64(span.Messages - n))
		}
	}
	in := &inserter{s}
	err := in.insertAround(ctx, g)
	if err == nil {
		err = in.observations(ctx, o, g)
	}
	if err != nil {
		return fmt.Errorf("repeat an insert that was cut off: %w", err)
	}
	s.log.Info("an insert that was cut off was repeated", "partitions", len(o.Plan.Spans), "rows", g.rows)
	return nil
}

// try repeats an operation until it succeeds; an error is only that ctx ended. who says for what, in words.
func (c *Collector) try(ctx context.Context, who, operation string, do func() error) error {
	return c.repeated(ctx, who, operation, do, func(error) bool { return false })
}

// attempt is try, but gives back what the store refuses. The operation counts as one that does not succeed until it does, or until the caller
// gives up on it.
func (c *Collector) attempt(ctx context.Context, who, operation string, do func() error) error {
	return c.repeated(ctx, who, operation, do, func(err error) bool { return errors.Is(err, store.ErrRefused) })
}

func (c *Collector) repeated(ctx context.Context, who, operation string, do func() error, hopeless func(error) bool) error {
	var wait retry
	var said time.Time
	key := doing{who, operation}
	began, _ := c.trouble.LoadOrStore(key, trouble{since: time.Now(), err: errNoAnswer})
	for {
		err := do()
		if err == nil {
			c.trouble.Delete(key)
			if wait.n > 0 {
				c.log.Info("it works again", "for", who, "operation", operation, "after", wait.n)
			}
			return nil
		}
		c.trouble.Store(key, trouble{since: began.(trouble).since, err: err})
		c.metrics.retried.WithLabelValues(operation).Inc()
		if hopeless(err) {
			return err
		}
		if time.Since(said) > 30*time.Second {
			said = time.Now()
			c.log.Warn("cannot "+operation+", trying again", "for", who, "error", err)
		}
		if !wait.sleep(ctx) {
			c.trouble.Delete(key)
			return fmt.Errorf("%s: %w: %w", operation, ctx.Err(), err)
		}
	}
}
