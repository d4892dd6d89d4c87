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
			s.keeping.drop(w.partition)
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
	kept := s.keeping.of(workers)
	for p := range kept { // nobody else has worked it since
		owned, err := s.journal.Owned(ctx, p)
		if err != nil {
			return err
		}
		if !owned {
			delete(kept, p)
		}
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
	beats, err := s.journal.Settled(ctx, s.cfg.Partitions)
	if err != nil {
		return err
	}
	info, err := s.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("read the state of %s: %w", event.StreamObservations, err)
	}
	blank := map[int]*worker{} // those whose detector is made from the store
	for p, w := range judging {
		recalled, err := s.recall(ctx, w, kept[p], info.State)
		if err != nil {
			return err
		}
		if !recalled {
			blank[p] = w
		}
	}
	if len(blank) > 0 {
		if err := s.restore(ctx, blank); err != nil {
			return err
		}
	}
	for p, w := range blank {
		w.base, w.around = w.claim.Done, 0
		lowest, err := s.track(ctx, w, info.State.LastSeq)
		if err != nil {
			return err
		}
		verdict, err := s.after(ctx, event.VerdictSubject(p), w.claim.Done, info.State.LastSeq)
		if err != nil {
			return err
		}
		w.detect.taken.Store(min(lowest, beats, verdict-1)) // with the heartbeats and verdicts that are not in the store
		w.asOf, w.taken = w.claim.Done, w.claim.Done
		if err := s.hearAgain(ctx, w, w.detect.taken.Load()); err != nil {
			return err
		}
	}
	return s.rescope(ctx, judging)
}

// track makes the tracker of a partition as it was written down last. It gives the message behind which reading must begin for it.
func (s *shift) track(ctx context.Context, w *worker, last uint64) (behind uint64, err error) {
	var lowest uint64
	if w.tracker, w.known, lowest, err = s.loadTracker(ctx, s.windows, s.created, w.partition, w.claim.Done); err != nil {
		return 0, err
	}
	next, err := s.after(ctx, subject(w.partition), lowest, last)
	if err != nil {
		return 0, err
	}
	return next - 1, nil
}

// recall has a partition's judge know what it knew: from memory, where nobody else has worked the partition since, or as it was saved last. It says
// false where there is nothing of use.
func (s *shift) recall(ctx context.Context, w *worker, kept *mind, stream jetstream.StreamState) (bool, error) {
	var m mind
	var tracked *tracker
	if kept != nil && kept.asOf >= w.claim.Done && kept.asOf <= stream.LastSeq { // else it was worked since, or the stream went back
		m = *kept
		s.metrics.states.WithLabelValues(stateKept).Inc()
	} else {
		found, why, err := s.loadState(ctx, w.partition, stream.FirstSeq, stream.LastSeq)
		if err != nil {
			return false, err
		}
		s.metrics.states.WithLabelValues(why).Inc()
		if found == nil {
			return false, nil
		}
		m = found.mind
		if m.taken <= w.claim.Done { // else it is ahead of the store
			tracked = found.tracker
		}
	}
	behind := m.asOf
	if tracked != nil {
		w.tracker = tracked
		for i := range w.known {
			w.known[i] = m.asOf
		}
	} else {
		lowest, err := s.track(ctx, w, stream.LastSeq)
		if err != nil {
			return false, err
		}
		behind = min(behind, lowest)
	}
	w.base, w.around = m.asOf, m.asOf
	w.detect.taken.Store(behind)
	w.mu.Lock()
	w.mind, w.counted = m, m.detector.Counters()
	w.mu.Unlock()
	return true, nil
}

// rescope gives detectors the scopes of their identities, which are not in a saved state.
func (s *shift) rescope(ctx context.Context, judging map[int]*worker) error {
	of := func(id event.Identity) *worker { return judging[event.Partition(id, s.cfg.Partitions)] }
	err := s.store.EachScope(ctx, time.Time{}, func(id event.Identity) bool { return of(id) != nil }, func(scope *event.Scope) error {
		w := of(scope.Identity)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.scope(scope)
		return nil
	})
	if err != nil {
		return fmt.Errorf("restore scopes: %w", err)
	}
	return nil
}

// scope gives the detector a scope. The caller holds mu.
func (w *worker) scope(scope *event.Scope) {
	if scope.Version >= w.scoped[scope.Identity] {
		w.detector.Scope(scope.Identity, *scope)
		w.scoped[scope.Identity] = scope.Version
	}
}

// hearAgain has a detector that is made from the store hear what those of other partitions have told so far.
func (s *shift) hearAgain(ctx context.Context, w *worker, until uint64) error {
	if until == 0 {
		return nil
	}
	_, err := readSpan(ctx, s.stream, event.SubjectShared, 1, until, func(m message) error {
		_ = w.takeShared(m) // refused when it came
		return nil
	})
	return err
}

// after gives the first message on a subject behind one, or what follows the last one of the stream.
func (s *shift) after(ctx context.Context, subject string, sequence, last uint64) (uint64, error) {
	m, err := s.stream.GetMsg(ctx, sequence+1, jetstream.WithGetMsgSubject(subject))
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
	if err := s.store.EachDeclared(ctx, 0, func(id event.Identity, d store.Declared) error {
		if of := made[event.Partition(id, s.cfg.Partitions)]; of != nil {
			of.DeclareAs(id, detector.Declared(d))
		}
		return nil
	}); err != nil {
		return fmt.Errorf("restore what is declared: %w", err)
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
		w.mind = mind{detector: made[p], quota: newQuota(s.cfg.Partitions)}
		w.mu.Unlock()
	}
	return nil
}

// shareOf is what the detector of one partition may hold.
func (c *Collector) shareOf() detector.Config {
	d := c.cfg.Detector
	d.MaxIdentities = portion(d.MaxIdentities, c.cfg.Partitions)
	d.MaxEdges = portion(d.MaxEdges, c.cfg.Partitions)
	d.Share = c.cfg.Partitions > 1
	return d
}
