package collector

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"github.com/ambit-nhi/ambit/event"
)

// How often findings whose count moved are told again, without a new observation of theirs.
const pendingInterval = time.Minute

// sort reads messages, has the detector judge them and tells findings at once, and gathers rows into groups. A group is passed on when it
// is large or old enough, and when messages end, after which groups is closed. While the store does not take a group, no more messages are
// taken.
func (c *Collector) sort(ctx context.Context, js jetstream.JetStream, t *tracker, stream time.Time, messages <-chan message, groups chan<- *group) error {
	defer close(groups)
	s := &sorter{
		Collector: c, js: js, tracker: t, seen: map[sighted]time.Time{}, quota: newQuota(), refusals: rate.Sometimes{First: 5, Interval: 10 * time.Second},
	}
	due := time.NewTimer(c.cfg.FlushInterval)
	defer due.Stop()
	again := time.NewTicker(pendingInterval)
	defer again.Stop()
	g := newGroup()
	var taken uint64 // last message
	written := time.Now()
	pass := func() error {
		g.close()
		select {
		case groups <- g:
			g = newGroup()
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for {
		select {
		case m, more := <-messages:
			if !more {
				if err := s.pending(ctx); err != nil {
					return err
				}
				s.missing(g)
				if err := s.checkpoint(g, stream, taken); err != nil {
					return err
				}
				if g.empty() {
					return nil
				}
				return pass()
			}
			taken = m.sequence
			if g.empty() {
				due.Reset(c.cfg.FlushInterval)
			}
			if err := s.take(ctx, g, m); err != nil {
				return err
			}
			if time.Since(written) >= checkpointInterval {
				written = time.Now()
				if err := s.checkpoint(g, stream, taken); err != nil {
					return err
				}
			}
			if g.full(c.cfg.FlushRows) {
				if err := pass(); err != nil {
					return err
				}
			}
		case <-due.C:
			if !g.empty() {
				if err := pass(); err != nil {
					return err
				}
			}
		case <-again.C:
			if err := s.pending(ctx); err != nil {
				return err
			}
			if g.empty() {
				due.Reset(c.cfg.FlushInterval)
			}
			s.missing(g)
		}
	}
}

type sorter struct {
	*Collector
	js       jetstream.JetStream
	seen     map[sighted]time.Time // when a sighting was last written down
	quota    *quota
	tracker  *tracker
	stored   time.Time // of the latest message: behind this clock's, while there is more to read
	read     time.Time // when it was
	refusals rate.Sometimes
	findings []event.Finding
}

// take judges one message and adds it to the group. A message that is refused never comes back.
func (s *sorter) take(ctx context.Context, g *group, m message) error {
	in, refused := decode(m.Subject(), m.Data(), m.stored, s.cfg.MaxBehind)
	g.take(m.sequence)
	s.findings = s.findings[:0]
	if refused != nil {
		s.metrics.refused.WithLabelValues(refused.cause).Inc()
		s.refusals.Do(func() {
			s.log.Warn("a message was refused", "subject", m.Subject(), "sequence", m.sequence, "error", refused)
		})
		if err := m.TermWithReason(refused.cause); err != nil { // if it comes again, it is taken as known
			s.log.Debug("refuse a message for good", "sequence", m.sequence, "error", err)
		}
		return nil
	}
	s.stored, s.read = m.stored, time.Now()
	w, fresh := s.tracker.note(&in, m.stored)
	switch {
	case !fresh:
		s.metrics.duplicate.Inc()
		g.skipped = append(g.skipped, m.sequence)
	case in.batch != nil:
		s.metrics.received.WithLabelValues("batch").Inc()
		if n := s.judge(in.batch, m.stored); n > 0 {
			in.leave(causeQuota, n)
			w.lose(causeQuota, int64(n))
		}
		g.addBatch(in.batch, m.sequence)
		s.sight(g, in.batch)
		s.leave(in.batch, in.left)
		g.lose(coverageKey{in.batch.Node, in.batch.Boot}, w)
	default:
		h := in.heartbeat
		s.metrics.received.WithLabelValues("heartbeat").Inc()
		s.mu.Lock()
		s.detector.Cover(h.Node, h.Boot, h.Started, h.Time)
		s.mu.Unlock()
		g.addHeartbeat(h)
		g.lose(coverageKey{h.Node, h.Boot}, w)
	}
	g.messages = append(g.messages, m)
	g.bytes += len(m.Data())
	return s.tell(ctx)
}

// missing adds to a group what turned out to be lost without a message of its sender.
func (s *sorter) missing(g *group) {
	for k, n := range s.aside.take() {
		if w := s.tracker.find(k); w != nil {
			w.lose(causeStore, int64(n))
			g.lose(k, w)
		}
	}
	if s.stored.IsZero() {
		return
	}
	for k, w := range s.tracker.age(s.stored.Add(time.Since(s.read))) {
		g.lose(k, w)
	}
}

// checkpoint has the group write down the tracker as it is after the last message of the group.
func (s *sorter) checkpoint(g *group, stream time.Time, taken uint64) (err error) {
	if taken > 0 {
		g.checkpoint, err = s.tracker.write(stream, taken)
	}
	return err
}

// judge has the detector take a batch, and gives how many sightings and observations it did not get, for the quota of their node.
func (s *sorter) judge(b *event.Batch, stored time.Time) (unjudged int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detector.Cover(b.Node, b.Boot, b.Started, b.Time)
	strangers := s.quota.strangers(b, stored, s.detector.Knows)
	for i := range b.Workloads {
		if strangers[b.Workloads[i].Identity] {
			unjudged++
			continue
		}
		s.detector.Sight(&b.Workloads[i], b.Node, b.Time)
	}
	for o := range b.Observations() {
		if strangers != nil && strangers[o.Workload.Identity] {
			unjudged++
			continue
		}
		s.findings = s.detector.Observe(o, s.findings)
	}
	return unjudged
}

// leave counts what of a batch was left out.
func (s *sorter) leave(b *event.Batch, left map[string]uint64) {
	for cause, n := range left {
		s.metrics.left.WithLabelValues(cause).Add(float64(n))
		s.refusals.Do(func() {
			s.log.Warn("part of a message was left out", "node", b.Node, "cause", cause, "observations", n)
		})
	}
}

// pending tells findings whose count moved since they were told.
func (s *sorter) pending(ctx context.Context) error {
	s.mu.Lock()
	s.findings = s.detector.Pending(s.findings[:0])
	s.mu.Unlock()
	return s.tell(ctx)
}

// tell publishes and stores findings at once, in this order: what is in the store is not told again after a crash, so it must have been told.
// A repeated one has the same Msg-Id. The observations that caused them come into the store later, because a detector that is rebuilt from
// it would take them as known.
func (s *sorter) tell(ctx context.Context) error {
	if len(s.findings) == 0 {
		return nil
	}
	for i := range s.findings {
		f := &s.findings[i]
		data, err := json.Marshal(f)
		if err != nil {
			return fmt.Errorf("encode finding %s: %w", f.ID, err)
		}
		id := f.ID + "/" + strconv.FormatInt(f.LastTime.UnixMicro(), 10)
		if err := s.try(ctx, "publish findings", func() error {
			_, err := s.js.Publish(ctx, event.FindingSubject(f), data, jetstream.WithMsgID(id))
			return err
		}); err != nil {
			return err
		}
		s.metrics.findings.WithLabelValues(string(f.Severity)).Inc()
	}
	refused, err := insertSome(ctx, s.Collector, "insert findings", s.findings, func(f []event.Finding) error { return s.store.InsertFindings(ctx, f) })
	if err != nil {
		return err
	}
	s.metrics.inserted.WithLabelValues("findings").Add(float64(len(s.findings) - len(refused)))
	return nil
}

const (
	sightingInterval = time.Minute // a workload that goes on running is written down no more often
	maxSeen          = 200_000
)

// sight adds the workloads of a batch that were not written down within the last minute.
func (s *sorter) sight(g *group, b *event.Batch) {
	if len(s.seen) > maxSeen { // some are written down once too often
		clear(s.seen)
	}
	for i := range b.Workloads {
		w := &b.Workloads[i]
		key := sighted{w.Identity, b.Node}
		if last, ok := s.seen[key]; ok && b.Time.Sub(last).Abs() < sightingInterval {
			continue
		}
		s.seen[key] = b.Time
		g.sight(w, b)
	}
}
