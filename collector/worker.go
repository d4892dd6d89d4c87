package collector

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/ambit-nhi/ambit/collector/journal"
	"github.com/ambit-nhi/ambit/event"
)

// worker works one partition for as long as this collector has its lease: it has a detector judge all messages, and hands them on to be
// stored, in this order but at a pace of its own. The partition behind the last one is that of the agents themselves: their heartbeats are
// stored, and nothing is judged.
type worker struct {
	*shift
	partition int
	name      string
	lease     context.Context
	claim     *journal.Claim

	mu   sync.Mutex
	mind // its detector

	// Of the judge alone, as the rest of the mind.
	base       uint64 // the detector knew the observations up to here at the start
	around     uint64 // and all else up to here
	reached    uint64 // the last message that was taken
	sharedAt   time.Time
	savedAsOf  uint64
	scoped     map[event.Identity]uint64 // version of the scope that the detector has; under mu
	counted    map[string]uint64         // by the detector before this worker had it
	savedAt    time.Time
	saveTook   time.Duration
	complaints rate.Sometimes
	saves      chan *written
	tracker    *tracker
	known      [shards]uint64 // what of the stream the tracker knows at the start
	told       []event.Finding
	stored     time.Time // of the latest message: behind this clock's, while there is more to read
	read       time.Time // when it was
	refusals   rate.Sometimes

	verdicts      verdicts
	detect, store *reader
	judging       stage
	storing       stage
	settled       atomic.Uint64 // messages up to here are in the store or refused
	dead          atomic.Bool   // what is still gathered is not inserted

	stop    context.CancelFunc
	context context.Context // of its work
	idle    chan struct{}   // closed when the loops have ended
	started atomic.Bool
	over    sync.Once
}

func (s *shift) newWorker(partition int, lease context.Context) *worker {
	w := &worker{
		shift: s, partition: partition, name: "partition " + strconv.Itoa(partition), lease: lease, idle: make(chan struct{}),
		refusals: rate.Sometimes{First: 5, Interval: 10 * time.Second}, complaints: rate.Sometimes{Interval: time.Minute},
		saves: make(chan *written, 1), savedAt: time.Now(), scoped: map[event.Identity]uint64{},
	}
	if !w.judges() {
		w.name = "agents"
	}
	w.context, w.stop = context.WithCancel(s.work)
	read := func(kind string, ack jetstream.AckPolicy, subjects ...string) *reader {
		return &reader{
			js: s.js, name: "ambit-" + kind + "-" + strconv.Itoa(partition), subjects: subjects, ack: ack, maxBytes: s.fetchBytes(),
			owned: func(ctx context.Context) (bool, error) { return s.journal.Owned(ctx, partition) }, resumed: s.metrics.resumed.Inc, log: s.log,
			interrupt: make(chan struct{}, 1),
		}
	}
	w.detect = read("detect", jetstream.AckAllPolicy, judgedSubjects(partition)...)
	w.store = read("store", jetstream.AckAllPolicy, subject(partition))
	if !w.judges() {
		// What is on a subject of the stream that is neither a partition's nor an agent's, too: nobody else would count it.
		w.store.subjects = []string{event.SubjectAgents, "ambit.v1.obs.*", "ambit.v1.obs.*.*.>"}
		for p := s.cfg.Partitions; p < event.MaxPartitions; p++ { // of agents that divide identities otherwise
			w.store.subjects = append(w.store.subjects, subject(p))
		}
	}
	w.verdicts.news = make(chan struct{}, 1)
	return w
}

// usualSubjects are those of a consumer where messages are expected, the first ones.
const usualSubjects = 4

// judges says whether the partition is one of observations.
func (w *worker) judges() bool { return w.partition < w.cfg.Partitions }

// subject is where the batches of a partition are published, by all nodes.
func subject(partition int) string { return "ambit.v1.obs." + strconv.Itoa(partition) + ".*" }

// fetchBytes is room for the largest message there can be, else it would never come.
func (s *shift) fetchBytes() int {
	return max(fetchBytes, int(s.js.Conn().MaxPayload())+64<<10)
}

// begin starts the loops.
func (w *worker) begin() {
	w.started.Store(true)
	w.workers.Go(func() {
		defer close(w.idle)
		g, ctx := errgroup.WithContext(w.context)
		aside, enough := context.WithCancel(ctx)
		if w.judges() {
			judged := make(chan message)
			g.Go(func() error { return w.detect.run(ctx, judged) })
			g.Go(func() error { return w.judgeAll(ctx, judged) })
			g.Go(func() error { return w.saveAll(w.context) })
		} else {
			g.Go(func() error { return w.forgetAll(aside) })
		}
		messages := make(chan message)
		g.Go(func() error { return w.store.run(ctx, messages) })
		g.Go(func() error { defer enough(); return w.storeAll(ctx, messages) })
		err := g.Wait()
		switch {
		case err == nil || w.context.Err() != nil:
		case errors.Is(err, errNotOwned):
			w.giveUp()
		default:
			w.failed(fmt.Errorf("work %s: %w", w.name, err))
		}
	})
}

// giveUp ends the work of a partition that another collector works.
func (w *worker) giveUp() {
	w.over.Do(func() {
		w.dead.Store(true)
		w.stop()
		if w.lease.Err() == nil && w.ending.Err() == nil {
			w.log.Warn("another collector has worked a partition of this one", "partition", w.partition)
			w.retake(w)
		}
	})
}

// cancel has the loops end where they are.
func (w *worker) cancel() { w.stop() }

// drain has the loops end behind what is in the stream now.
func (w *worker) drain(ctx context.Context) {
	if !w.started.Load() {
		w.stop()
		return
	}
	until := uint64(0)
	for _, subject := range w.store.subjects[:min(usualSubjects, len(w.store.subjects))] {
		m, err := w.stream.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			w.log.Warn("cannot ask for the end of the stream; the next start takes the rest", "partition", w.partition, "error", err)
			w.stop()
			return
		}
		until = max(until, m.Sequence)
	}
	w.detect.drain(until)
	w.store.drain(until)
}

// finish waits until the loops have ended and what they took is settled, or ctx ends. Nothing of the partition is inserted under a plan of
// this worker afterwards, but under one that was begun.
func (w *worker) finish(ctx context.Context) {
	select {
	case <-w.idle:
		settled := make(chan struct{})
		select {
		case w.items <- item{worker: w, settled: settled}:
			select {
			case <-settled:
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	w.dead.Store(true)
	w.stop()
	w.dismiss(w)
}

// verdicts are what the judge tells of messages to those who store them.
type verdicts struct {
	mu         sync.Mutex
	judged     uint64 // up to here
	duplicates map[uint64]bool
	losses     map[coverageKey]loss
	checkpoint *checkpoint // to write when what it knows of is settled

	news chan struct{}
}

// pass notes that a message was judged.
func (v *verdicts) pass(sequence uint64, duplicate bool) {
	v.mu.Lock()
	v.judged = sequence
	if duplicate {
		if v.duplicates == nil {
			v.duplicates = map[uint64]bool{}
		}
		v.duplicates[sequence] = true
	}
	v.mu.Unlock()
	select {
	case v.news <- struct{}{}:
	default:
	}
}

// wait waits until a message was judged.
func (v *verdicts) wait(ctx context.Context, sequence uint64) (duplicate bool, err error) {
	for {
		v.mu.Lock()
		if v.judged >= sequence {
			duplicate = v.duplicates[sequence]
			delete(v.duplicates, sequence)
			v.mu.Unlock()
			return duplicate, nil
		}
		v.mu.Unlock()
		select {
		case <-v.news:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// takeLosses gives what is lost and was not written down.
func (v *verdicts) takeLosses() map[coverageKey]loss {
	v.mu.Lock()
	defer v.mu.Unlock()
	defer func() { v.losses = nil }()
	return v.losses
}

// due gives the checkpoint to write, if what it knows of is settled.
func (v *verdicts) due(settled uint64) *checkpoint {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.checkpoint == nil || v.checkpoint.asOf > settled {
		return nil
	}
	defer func() { v.checkpoint = nil }()
	return v.checkpoint
}
