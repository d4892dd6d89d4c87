package collector

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/deadletter"
	"github.com/ambit-nhi/ambit/event"
)

const (
	pendingInterval = time.Minute // findings whose count moved are told again so often, without a new observation of theirs
	ackInterval     = time.Second
)

// judgeAll has the detector judge messages, and tells findings at once, until messages end.
func (w *worker) judgeAll(ctx context.Context, messages <-chan message) error {
	again := time.NewTicker(pendingInterval)
	defer again.Stop()
	var acked, written time.Time
	var taken uint64 // last message of the partition
	written = time.Now()
	defer close(w.saves)
	if err := w.resume(ctx); err != nil {
		return err
	}
	for {
		select {
		case m, more := <-messages:
			if !more {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err := w.pending(ctx); err != nil {
					return err
				}
				if err := w.share(ctx, true); err != nil {
					return err
				}
				w.missing()
				w.saveDue(ctx, true)
				return w.checkpoint(taken)
			}
			w.judging.begin(m)
			if err := w.take(ctx, m); err != nil {
				return err
			}
			w.judging.finish(m)
			if isBatch(m.Subject()) && m.sequence > w.claim.Done {
				taken = m.sequence
			}
			if err := w.share(ctx, m.pending == 0); err != nil {
				return err
			}
			w.saveDue(ctx, false)
			if now := time.Now(); m.pending == 0 || now.Sub(acked) >= ackInterval {
				acked = now
				w.acknowledge(m)
			}
			if taken > 0 && time.Since(written) >= checkpointInterval {
				written = time.Now()
				if err := w.checkpoint(taken); err != nil {
					return err
				}
			}
		case <-again.C:
			if err := w.pending(ctx); err != nil {
				return err
			}
			w.missing()
			if err := w.nudge(ctx); err != nil {
				return err
			}
			if err := w.share(ctx, true); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *worker) acknowledge(m message) {
	if err := m.Ack(); err != nil { // it is settled all the same
		w.log.Debug("acknowledge a message", "sequence", m.sequence, "error", err)
	}
}

// resume tells what was found and not told when the work ended the last time.
func (w *worker) resume(ctx context.Context) error {
	w.told = append(w.told[:0], w.untold...)
	if err := w.tell(ctx, time.Time{}); err != nil {
		return err
	}
	w.untold = nil
	return nil
}

// take judges one message, and notes that the mind is as of it. When the work ends meanwhile, what is left to do is to tell findings.
func (w *worker) take(ctx context.Context, m message) error {
	w.told = w.told[:0]
	taken, err := w.takeNote(ctx, m)
	if !taken {
		err = w.takeMessage(ctx, m)
	} else {
		w.verdicts.pass(m.sequence, false)
	}
	w.reached = m.sequence
	if m.sequence > w.asOf {
		w.asOf = m.sequence
		if isBatch(m.Subject()) {
			w.taken = m.sequence
		}
		if err != nil {
			w.untold = slices.Clone(w.told)
		}
	}
	return err
}

// takeMessage judges what came from an agent. Of what was settled before this worker began, or was judged, only those learn who do not know.
func (w *worker) takeMessage(ctx context.Context, m message) error {
	if isHeartbeat(m.Subject()) {
		w.takeHeartbeat(m)
		w.verdicts.pass(m.sequence, false)
		return nil
	}
	before := m.sequence <= w.claim.Done
	in, refused := decode(m.Subject(), m.Data(), m.stored, w.cfg.MaxBehind, w.cfg.Partitions)
	if refused != nil && !before {
		w.refuse(ctx, m, refused)
	}
	if in.batch == nil {
		w.verdicts.pass(m.sequence, false)
		return nil
	}
	w.stored, w.read = m.stored, time.Now()
	if m.sequence <= w.known[shardOf(in.batch.Node)] {
		return nil
	}
	window, fresh := w.tracker.note(&in, m.stored)
	if fresh && refused == nil && m.sequence > w.base {
		if n := w.judge(in.batch, m.stored); n > 0 {
			in.leave(causeQuota, n)
			window.lose(causeQuota, int64(n))
		}
		w.metrics.judged.Add(float64(in.batch.Len()))
	}
	if !before {
		if fresh && refused == nil {
			w.metrics.received.WithLabelValues("batch").Inc()
			w.leave(in.batch, in.left)
		}
		if fresh {
			w.lose(coverageKey{in.batch.Node, in.batch.Boot}, window)
		} else {
			w.metrics.duplicate.Inc()
		}
	}
	if err := w.tell(ctx, m.stored); err != nil {
		return err
	}
	if !before {
		w.verdicts.pass(m.sequence, !fresh)
	}
	return nil
}

func (w *worker) takeHeartbeat(m message) {
	h := w.beats.get(m)
	if h == nil { // whoever works the partition of agents says so
		return
	}
	if m.sequence > w.around {
		w.mu.Lock()
		w.detector.Cover(h.Node, h.Boot, h.Started, h.Time)
		w.mu.Unlock()
	}
	if m.sequence > w.known[shardOf(h.Node)] {
		w.stored, w.read = m.stored, time.Now()
		window, _ := w.tracker.note(&content{heartbeat: h}, m.stored)
		w.lose(coverageKey{h.Node, h.Boot}, window)
	}
}

// refuse counts a message that is not taken, and keeps it as a dead letter.
func (w *worker) refuse(ctx context.Context, m message, r *refusal) {
	w.metrics.refused.WithLabelValues(r.cause).Inc()
	w.refusals.Do(func() {
		w.log.Warn("a message was refused", "subject", m.Subject(), "sequence", m.sequence, "error", r)
	})
	w.letters.Put(ctx, deadletter.Refused{Cause: r.cause, Subject: m.Subject(), Sequence: m.sequence, Time: m.stored, Err: r.err, Data: m.Data()})
}

// judge has the detector take a batch, and gives how many sightings and observations it did not get, for the quota of their node.
func (w *worker) judge(b *event.Batch, stored time.Time) (unjudged int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.detector.Cover(b.Node, b.Boot, b.Started, b.Time)
	strangers := w.quota.strangers(b, stored, w.detector.Knows)
	for i := range b.Workloads {
		if strangers[b.Workloads[i].Identity] {
			unjudged++
			continue
		}
		w.detector.Sight(&b.Workloads[i], b.Node, b.Time)
	}
	for o := range b.Observations() {
		if strangers != nil && strangers[o.Workload.Identity] {
			unjudged++
			continue
		}
		w.told = w.detector.Observe(o, w.told)
	}
	return unjudged
}

// leave counts what of a batch was left out.
func (w *worker) leave(b *event.Batch, left map[string]uint64) {
	for cause, n := range left {
		w.metrics.left.WithLabelValues(cause).Add(float64(n))
		w.refusals.Do(func() {
			w.log.Warn("part of a message was left out", "node", b.Node, "cause", cause, "observations", n)
		})
	}
}

// loss is what one start of an agent has lost in a partition, by cause.
type loss struct {
	from, until time.Time
	lost        map[string]uint64
}

// lose notes what the window of an agent's start has lost, if anything, to be written down with its coverage.
func (w *worker) lose(k coverageKey, window *window) {
	if window == nil || len(window.lost) == 0 {
		return
	}
	if n := window.lost[causeGap]; n > window.counted { // what comes late after all stays counted
		w.metrics.lost.WithLabelValues(causeGap).Add(float64(n - window.counted))
		window.counted = n
	}
	w.verdicts.mu.Lock()
	defer w.verdicts.mu.Unlock()
	if w.verdicts.losses == nil {
		w.verdicts.losses = map[coverageKey]loss{}
	}
	w.verdicts.losses[k] = loss{window.started, window.until, maps.Clone(window.lost)}
}

// missing notes what turned out to be lost without a message of its sender.
func (w *worker) missing() {
	for k, n := range w.aside.take(w.partition) {
		if window := w.tracker.find(k); window != nil {
			window.lose(causeStore, int64(n))
			w.lose(k, window)
		}
	}
	if w.stored.IsZero() {
		return
	}
	for k, window := range w.tracker.age(w.stored.Add(time.Since(w.read))) {
		w.lose(k, window)
	}
}

// nudge has losses written down though no message comes.
func (w *worker) nudge(ctx context.Context) error {
	w.verdicts.mu.Lock()
	n := len(w.verdicts.losses)
	w.verdicts.mu.Unlock()
	if n == 0 {
		return nil
	}
	select {
	case w.items <- item{worker: w}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// checkpoint has the tracker written down as it is after a message of the partition, once that is settled.
func (w *worker) checkpoint(asOf uint64) error {
	if asOf == 0 {
		return nil
	}
	c, err := w.tracker.write(w.created, asOf)
	if err != nil {
		return err
	}
	w.verdicts.mu.Lock()
	defer w.verdicts.mu.Unlock()
	if old := w.verdicts.checkpoint; old == nil || w.detect.until.Load() > 0 { // one that waits for the store will do, but at the end
		w.verdicts.checkpoint = c
	}
	return nil
}

// pending tells findings whose count moved since they were told.
func (w *worker) pending(ctx context.Context) error {
	w.mu.Lock()
	w.told = w.detector.Pending(w.told[:0])
	w.mu.Unlock()
	err := w.tell(ctx, time.Time{})
	if err != nil {
		w.untold = append(w.untold, w.told...)
	}
	return err
}

// tell publishes findings at once, and has them stored after that: what is in the store is not told again after a crash, so it must have been
// told. A repeated one has the same Msg-Id. The observations that caused them come into the store later, because a detector that is rebuilt
// from it would take them as known.
func (w *worker) tell(ctx context.Context, stored time.Time) error {
	if len(w.told) == 0 {
		return nil
	}
	if err := w.try(ctx, w.name, "publish findings", func() error { return w.publish(ctx) }); err != nil {
		return err
	}
	for i := range w.told {
		w.metrics.findings.WithLabelValues(string(w.told[i].Severity)).Inc()
		if !stored.IsZero() {
			w.metrics.delay.Observe(time.Since(stored).Seconds())
		}
	}
	return w.findings.add(ctx, w.told)
}

func (w *worker) publish(ctx context.Context) error {
	if w.js.Conn().IsClosed() { // the client library would never end what it starts then
		return nats.ErrConnectionClosed
	}
	acks := make([]jetstream.PubAckFuture, 0, len(w.told))
	for i := range w.told {
		f := &w.told[i]
		data, err := json.Marshal(f)
		if err != nil {
			return fmt.Errorf("encode finding %s: %w", f.ID, err)
		}
		ack, err := w.js.PublishAsync(event.FindingSubject(f), data, jetstream.WithMsgID(f.MessageID()))
		if err != nil {
			return err
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
