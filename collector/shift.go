package collector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/collector/deadletter"
	"github.com/ambit-nhi/ambit/collector/journal"
	"github.com/ambit-nhi/ambit/collector/lease"
	"github.com/ambit-nhi/ambit/event"
)

// shift is one run of a collector: the partitions that it has leases of, and what their workers share.
type shift struct {
	*Collector
	js       jetstream.JetStream
	stream   jetstream.Stream
	created  time.Time // the stream
	journal  *journal.Journal
	windows  jetstream.KeyValue
	states   stateBucket
	saving   chan struct{} // of one: a state on its way is large
	keeping  keeping
	letters  *deadletter.Letters
	findings *outbox
	beats    *beats
	items    chan item
	groups   chan *group
	ending   context.Context // Run's
	work     context.Context // goes on for the grace time after ending
	failed   context.CancelCauseFunc

	takeovers sync.Mutex     // one at a time
	workers   sync.WaitGroup // all that were started
	begun     chan struct{}  // closed when the first partitions are worked
	beginOnce sync.Once
}

// openShift finds what a shift needs on the bus.
func (c *Collector) openShift(ctx context.Context, js jetstream.JetStream) (*shift, error) {
	stream, err := js.Stream(ctx, event.StreamObservations)
	if err != nil {
		return nil, fmt.Errorf("open the stream %s: %w", event.StreamObservations, err)
	}
	inserts, err := js.KeyValue(ctx, insertsBucket)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", insertsBucket, err)
	}
	windows, err := js.KeyValue(ctx, windowsBucket)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", windowsBucket, err)
	}
	states, err := js.KeyValue(ctx, statesBucket)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", statesBucket, err)
	}
	s := &shift{
		states: stateBucket{states}, saving: make(chan struct{}, 1),
		Collector: c, js: js, stream: stream, created: stream.CachedInfo().Created, windows: windows,
		journal: journal.New(journal.KV{KeyValue: inserts}, event.StreamObservations, stream.CachedInfo().Created, nuid.Next()),
		letters: deadletter.New(js, c.registry), findings: newOutbox(), beats: newBeats(c.cfg.MaxBehind, c.cfg.Partitions),
		items: make(chan item), groups: make(chan *group), begun: make(chan struct{}),
	}
	if err := s.journal.Migrate(ctx, c.cfg.Partitions); err != nil {
		return nil, err
	}
	// What one collector for the whole stream had.
	err = js.DeleteConsumer(ctx, event.StreamObservations, "collector")
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, fmt.Errorf("delete the old consumer: %w", err)
	}
	return s, nil
}

// run works partitions until ending ends.
func (s *shift) run(nc *nats.Conn, leases *lease.Group, ready func()) error {
	g, work := errgroup.WithContext(s.work)
	work, cancel := context.WithCancelCause(work)
	defer cancel(nil)
	s.work, s.failed = work, cancel
	stop := errors.New("all partitions are given back")
	g.Go(func() error { return s.gather(work) })
	g.Go(func() error { return (&inserter{s}).run(work) })
	g.Go(func() error { return s.storeFindings(work) })
	g.Go(func() error { return s.watch(work, nc) })
	g.Go(func() error { return s.declareAll(work, leases) })
	g.Go(func() error { return s.announce(work, leases, ready) })
	g.Go(func() error {
		ending, end := context.WithCancel(s.ending)
		defer end()
		defer context.AfterFunc(work, end)()
		err := leases.Run(ending, s.gained, s.lost)
		if err == nil {
			err = stop
		}
		cancel(err)
		return err
	})
	_ = g.Wait()
	s.workers.Wait()
	if cause := context.Cause(work); !errors.Is(cause, stop) && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// announce calls ready when the first partitions are worked, or when others work all of them.
func (s *shift) announce(ctx context.Context, leases *lease.Group, ready func()) error {
	look := time.NewTicker(lease.DefaultTTL / 5)
	defer look.Stop()
	for idle := 0; idle < 10; {
		select {
		case <-s.begun:
			ready()
			return nil
		case <-look.C:
			if now := leases.Status(); now.Err == nil && now.Members > 1 && len(now.Held) == 0 {
				idle++
			} else {
				idle = 0
			}
		case <-ctx.Done():
			return nil
		}
	}
	ready()
	return nil
}

// watch has all readers ask again when the connection was lost: what was on its way may be, too.
func (s *shift) watch(ctx context.Context, nc *nats.Conn) error {
	changed := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(changed)
	for {
		select {
		case _, open := <-changed:
			if !open {
				return nil
			}
			for _, w := range s.all() {
				w.detect.reopen()
				w.store.reopen()
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// gained has the partitions of leases taken over, in the background.
func (s *shift) gained(leases []lease.Lease) error {
	workers := make([]*worker, len(leases))
	for i, l := range leases {
		if !l.Again {
			s.keeping.drop(l.Partition)
		}
		workers[i] = s.newWorker(l.Partition, l.Context())
		s.enrol(workers[i])
	}
	s.workers.Go(func() { s.takeOver(workers) })
	return nil
}

const (
	handOver   = 2 * time.Second // for what is under way when a partition goes to another collector, which repeats the rest
	retakeWait = time.Second
)

// lost ends the work of a partition whose lease is over. When the collector is asked to stop, it takes what is in the stream by then first.
func (s *shift) lost(partition int) {
	w := s.worker(partition)
	if w == nil {
		return
	}
	ctx := s.work
	if s.ending.Err() == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(s.work, handOver)
		defer cancel()
		w.cancel()
	} else {
		w.drain(ctx)
	}
	w.finish(ctx)
	s.part(ctx, w)
}

// retake begins again with a partition that another one worked at the same time, if the lease is still this collector's.
func (s *shift) retake(old *worker) {
	s.workers.Go(func() {
		old.finish(s.work)
		t := time.NewTimer(retakeWait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-old.lease.Done():
			return
		case <-s.work.Done():
			return
		}
		w := s.newWorker(old.partition, old.lease)
		if s.replace(old, w) {
			s.takeOver([]*worker{w})
		}
	})
}
