package collector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
)

// takeOver begins with partitions where others stopped: what they were inserting is settled, their detectors are made again as of what is in
// the store, and what is behind that in the stream is judged again. Findings come out again with the same ids.
func (s *shift) takeOver(workers []*worker) {
	s.takeovers.Lock()
	defer s.takeovers.Unlock()
	workers = slices.DeleteFunc(workers, func(w *worker) bool {
		if w.context.Err() != nil {
			close(w.idle)
			return true
		}
		return false
	})
	if len(workers) == 0 {
		return
	}
	began := time.Now()
	ctx, cancel := context.WithCancel(s.work)
	defer cancel()
	defer context.AfterFunc(s.ending, cancel)()
	prepare := func() error { return s.prepare(ctx, workers) }
	var err error
	select {
	case <-s.begun:
		err = s.try(ctx, listed(workers), "take partitions over", prepare)
	default: // the first time, what stays wrong is told, and ends the collector
		if err = s.prepareFirst(ctx, prepare); err != nil && ctx.Err() == nil {
			s.failed(err)
		}
	}
	n := 0
	for _, w := range workers {
		switch {
		case err != nil || w.context.Err() != nil:
			close(w.idle)
		case w.claim == nil:
			close(w.idle)
			w.giveUp()
		default:
			w.begin()
			n++
		}
	}
	if err == nil {
		s.metrics.takeovers.Add(float64(n))
		s.log.Info("partitions were taken over", "partitions", n, "took", time.Since(began).Round(time.Millisecond))
		s.beginOnce.Do(func() { close(s.begun) })
	}
}

// firstTries is how often the first takeover is tried.
const firstTries = 6

// prepareFirst tries again what may pass, as on a machine that is slow while everything starts. Rights or tables that are missing do not.
func (s *shift) prepareFirst(ctx context.Context, prepare func() error) error {
	var wait retry
	for {
		err := prepare()
		if err == nil || !passing(err) || wait.n == firstTries-1 {
			return err
		}
		s.log.Warn("cannot take partitions over, trying again", "error", err)
		if !wait.sleep(ctx) {
			return err
		}
	}
}

// passing says of an error that the same thing may go well a moment later.
func passing(err error) bool {
	for _, one := range []error{
		errGap, jetstream.ErrNoHeartbeat, jetstream.ErrNoStreamResponse, jetstream.ErrMsgIteratorClosed, context.DeadlineExceeded,
		nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrConnectionReconnecting,
	} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

func listed(workers []*worker) string {
	if len(workers) == 1 {
		return workers[0].name
	}
	return fmt.Sprintf("%d partitions", len(workers))
}

// prepare makes workers ready to begin. It may be repeated. A worker without a claim after it has lost its partition to another one.
func (s *shift) prepare(ctx context.Context, workers []*worker) error {
	byPartition := map[int]*worker{}
	for _, w := range workers {
		byPartition[w.partition] = w
		w.claim = nil
	}
	claims, err := s.journal.Take(ctx, slices.Sorted(maps.Keys(byPartition)), s.repeat)
	if err != nil {
		return err
	}
	judging := map[int]*worker{}
	for _, c := range claims {
		w := byPartition[c.Partition]
		w.claim = c
		w.settled.Store(c.Done)
		w.store.taken.Store(c.Done)
		if w.judges() {
			judging[c.Partition] = w
		}
	}
	if len(judging) == 0 {
		return nil
	}
	if err := s.restore(ctx, judging); err != nil {
		return err
	}
	beats, err := s.journal.Settled(ctx, s.cfg.Partitions)
	if err != nil {
		return err
	}
	info, err := s.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("read the state of %s: %w", event.StreamObservations, err)
	}
	for _, w := range judging {
		var lowest uint64
		if w.tracker, w.known, lowest, err = s.loadTracker(ctx, s.windows, s.created, w.partition, w.claim.Done); err != nil {
			return err
		}
		// Reading begins with the first message that the tracker does not know, and with the heartbeats that are not in the store.
		next, err := s.after(ctx, w.partition, lowest, info.State.LastSeq)
		if err != nil {
			return err
		}
		w.detect.taken.Store(min(next-1, beats))
	}
	return nil
}

// after gives the first message of a partition behind one, or what follows the last one of the stream.
func (s *shift) after(ctx context.Context, partition int, sequence, last uint64) (uint64, error) {
	m, err := s.stream.GetMsg(ctx, sequence+1, jetstream.WithGetMsgSubject(subject(partition)))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return last + 1, nil
	case err != nil:
		return 0, fmt.Errorf("read %s: %w", event.StreamObservations, err)
	}
	return min(m.Sequence, last+1), nil
}

// restore has the detectors of partitions learn what the store knows.
func (s *shift) restore(ctx context.Context, workers map[int]*worker) error {
	made := map[int]*detector.Detector{}
	quotas := map[int]*quota{}
	for p := range workers {
		made[p], quotas[p] = detector.New(s.shareOf()), newQuota(s.cfg.Partitions)
	}
	err := s.store.EachNode(ctx, func(node string, spans []store.Span) error {
		list := make([]detector.Span, len(spans))
		for i, span := range spans {
			list[i] = detector.Span{Boot: span.Boot, From: span.From, Until: span.Until}
		}
		for _, d := range made {
			d.RestoreNode(node, list)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("restore when nodes were watched: %w", err)
	}
	of := func(id event.Identity) int { return event.Partition(id, s.cfg.Partitions) }
	in := func(id event.Identity) bool { return made[of(id)] != nil }
	if err := s.store.EachIdentity(ctx, in, func(id event.Identity, node string, first time.Time) error {
		if d := made[of(id)]; d.Knows(id) || quotas[of(id)].again(node, first) {
			d.RestoreIdentity(id, node, first)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("restore identities: %w", err)
	}
	if err := s.store.EachReach(ctx, in, func(id event.Identity, r event.Resource, first, last time.Time, connections uint64) error {
		if d := made[of(id)]; d.Knows(id) {
			d.RestoreReach(id, r, first, last, connections)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("restore reach: %w", err)
	}
	if err := s.store.EachFinding(ctx, in, func(f *event.Finding) error {
		made[of(f.Identity)].RestoreFinding(f)
		return nil
	}); err != nil {
		return fmt.Errorf("restore findings: %w", err)
	}
	for p, w := range workers {
		w.mu.Lock()
		w.detector = made[p]
		w.mu.Unlock()
	}
	return nil
}

// shareOf is what the detector of one partition may hold.
func (c *Collector) shareOf() detector.Config {
	d := c.cfg.Detector
	d.MaxIdentities = portion(d.MaxIdentities, c.cfg.Partitions)
	d.MaxEdges = portion(d.MaxEdges, c.cfg.Partitions)
	return d
}
