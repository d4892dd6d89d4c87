package collector

import (
	"context"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// item is what a worker hands on to be stored. What is not set there is not.
type item struct {
	worker    *worker
	message   message
	batch     *event.Batch // nil where it is refused
	heartbeat *event.Heartbeat
	duplicate bool            // it came before
	settled   chan<- struct{} // to close when all that came before of the worker is settled
}

// storeAll hands on messages that were judged, to be stored, until messages end.
func (w *worker) storeAll(ctx context.Context, messages <-chan message) error {
	for m := range messages {
		w.storing.begin(m)
		it := item{worker: w, message: m}
		if w.judges() {
			var err error
			if it.duplicate, err = w.verdicts.wait(ctx, m.sequence); err != nil {
				return err
			}
			in, _ := decode(m.Subject(), m.Data(), m.stored, w.cfg.MaxBehind, w.cfg.Partitions)
			it.batch = in.batch
		} else {
			w.readBeat(ctx, &it)
		}
		select {
		case w.items <- it:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// readBeat takes a message of an agent itself, or on a subject of nobody.
func (w *worker) readBeat(ctx context.Context, it *item) {
	m := it.message
	in, refused := decode(m.Subject(), m.Data(), m.stored, w.cfg.MaxBehind, w.cfg.Partitions)
	if refused != nil {
		if refused.cause == causeDivision {
			w.strays.note(m.Subject(), m.stored)
		}
		w.refuse(ctx, m, refused)
		return
	}
	w.metrics.received.WithLabelValues("heartbeat").Inc()
	it.heartbeat = in.heartbeat
	if n := len(in.heartbeat.Numbers); n > 0 && n != w.cfg.Partitions {
		w.strays.note(m.Subject(), m.stored)
	}
	w.fleet.Heartbeat(in.heartbeat, m.stored)
}

const (
	sightingInterval = time.Minute // a workload that goes on running is written down no more often
	maxSeen          = 200_000
)

// gatherer makes groups of what the workers of all partitions hand on.
type gatherer struct {
	*shift
	seen map[sighted]time.Time // when a sighting was last written down
}

// gather passes groups on that are large or old enough. While the store does not take them, the next one grows, and then no more is taken.
func (s *shift) gather(ctx context.Context) error {
	in := &gatherer{shift: s, seen: map[sighted]time.Time{}}
	g := newGroup()
	due := time.NewTimer(s.cfg.FlushInterval)
	defer due.Stop()
	var groups chan<- *group // nil while the group may wait
	for {
		items := s.items
		if g.full() {
			items = nil
		}
		select {
		case it := <-items:
			if g.empty() {
				due.Reset(s.cfg.FlushInterval)
			}
			in.add(g, &it)
			// While there is more to read, the group waits for it: one large insert costs the store half as much as three smaller ones.
			if g.rows >= s.cfg.FlushRows && it.message.pending == 0 || g.full() || it.settled != nil {
				groups = s.groups
			}
		case <-due.C:
			if !g.empty() {
				groups = s.groups
			}
		case groups <- g:
			g, groups = newGroup(), nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (in *gatherer) add(g *group, it *item) {
	w, m := it.worker, it.message
	s := g.share(w)
	if it.settled != nil {
		g.settled = append(g.settled, it.settled)
	}
	if w.dead.Load() || m.sequence == 0 {
		return
	}
	s.take(m)
	g.bytes += len(m.Data())
	switch {
	case it.duplicate && it.batch != nil:
		g.skipped = append(g.skipped, m.sequence) // so that a repetition leaves it out, too
	case it.batch != nil:
		s.rows += it.batch.Len()
		g.addBatch(it.batch, m.sequence, w.partition, w)
		in.sight(g, it.batch)
	case it.heartbeat != nil:
		g.addHeartbeat(it.heartbeat)
	}
}

// sight adds the workloads of a batch that were not written down within the last minute.
func (in *gatherer) sight(g *group, b *event.Batch) {
	if len(in.seen) > maxSeen { // some are written down once too often
		clear(in.seen)
	}
	for i := range b.Workloads {
		w := &b.Workloads[i]
		key := sighted{w.Identity, b.Node}
		if last, ok := in.seen[key]; ok && b.Time.Sub(last).Abs() < sightingInterval {
			continue
		}
		in.seen[key] = b.Time
		g.sight(w, b)
	}
}
