package decision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// archive keeps decisions and what became of them. Repeating a call changes nothing.
type archive interface {
	InsertDecisions(ctx context.Context, decisions []event.Decision) error
	InsertAcks(ctx context.Context, acks []event.Ack) error
	InsertFindings(ctx context.Context, findings []event.Finding) error
}

// history answers what was before.
type history interface {
	PreviewDecision(ctx context.Context, d *event.Decision, since time.Time, limit int) ([]store.Preview, error)
	KnownIdentities(ctx context.Context, identity string, glob bool, limit int) ([]event.Identity, error)
	Decisions(ctx context.Context, f store.DecisionFilter) ([]event.Decision, string, error)
}

// proof answers what nodes did.
type proof interface {
	Acks(ctx context.Context, decision, after string, limit int) ([]store.NodeAck, error)
	SummarizeAcks(ctx context.Context, decisions []string) (map[string]store.AckSummary, error)
	TimeToRevoke(ctx context.Context, since time.Time) (store.RevokeTimes, error)
}

// Store is what a [Service] stands on; [store.Store] is one.
type Store interface {
	archive
	history
	proof
}

// Trail keeps who did what; [audit.Log] does.
type Trail interface {
	Append(ctx context.Context, actor, action, subject string, detail map[string]string) (audit.Record, error)
}

// Service issues decisions. Its methods but Run are safe for concurrent use; before Run is ready, those that change something give [ErrStopped].
type Service struct {
	cfg     Config
	store   Store
	trail   Trail
	metrics *metrics
	log     *slog.Logger
	clock   atomic.Pointer[func() time.Time] // nil: the machine's

	public  string // of the key; "" without one
	secret  []byte // of previews
	floor   []event.Target
	book    *book
	breaker *breaker
	keeping chan struct{} // of one: held while decisions are on their way to the database
	quota   quota
	cover   cover
	serial  atomic.Uint64 // last one that was given
	run     atomic.Pointer[running]
}

// running is what there is while Run runs.
type running struct {
	nc        *nats.Conn
	js        jetstream.JetStream
	decisions jetstream.KeyValue
	requests  jetstream.KeyValue
}

// New makes a service. Its counters are registered with metrics.
func New(cfg Config, s Store, trail Trail, registry prometheus.Registerer) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	floor, err := targets(cfg.Floor)
	if err != nil {
		return nil, err
	}
	out := &Service{cfg: cfg, store: s, trail: trail, log: cfg.Log, floor: floor, breaker: &breaker{perMinute: cfg.PerMinute, most: cfg.Most}, keeping: make(chan struct{}, 1)}
	keys := cfg.Trusted
	if cfg.Key != nil {
		if out.public, err = cfg.Key.PublicKey(); err != nil {
			return nil, fmt.Errorf("read the decision key: %w", err)
		}
		if out.secret, err = derive(cfg.Key, "preview"); err != nil {
			return nil, err
		}
		keys = append([]string{out.public}, keys...)
	}
	out.book = newBook(event.Verifier{Keys: keys, MaxLife: cfg.MaxLife})
	out.metrics = newMetrics(registry, out)
	return out, nil
}

// Key is the public part of the signing key, "" without one.
func (s *Service) Key() string { return s.public }

// Run follows decisions, and what nodes do about them, until ctx ends. It calls ready when it knows the decisions that there are.
func (s *Service) Run(ctx context.Context, nc *nats.Conn, ready func()) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	r := &running{nc: nc, js: js}
	if r.decisions, err = js.KeyValue(ctx, event.BucketDecisions); err == nil {
		r.requests, err = js.KeyValue(ctx, RequestsBucket)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("open the buckets of decisions: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	known := make(chan struct{}, 2)
	g.Go(func() error { return s.follow(ctx, r.decisions, s.takeDecision, known) })
	g.Go(func() error { return s.follow(ctx, r.requests, s.takeRequest, known) })
	g.Go(func() error {
		for range 2 {
			select {
			case <-known:
			case <-ctx.Done():
				return nil
			}
		}
		s.run.Store(r)
		ready()
		return nil
	})
	g.Go(func() error { return s.keepArchive(ctx) })
	g.Go(func() error { return s.endExpired(ctx, r) })
	g.Go(func() error { return s.takeAcks(ctx, r) })
	g.Go(func() error { return s.hearAcks(ctx, r) })
	g.Go(func() error { return s.measure(ctx) })
	if len(s.cfg.Automatic) > 0 && s.cfg.Key != nil {
		g.Go(func() error { return s.answerFindings(ctx, r) })
	}
	for _, p := range s.cfg.Points {
		g.Go(func() error { return s.tell(ctx, r, p) })
	}
	err = g.Wait()
	s.run.Store(nil)
	return err
}

// follow calls take with each value of a bucket, and known when all that there were have come.
func (s *Service) follow(ctx context.Context, bucket jetstream.KeyValue, take func(ctx context.Context, e jetstream.KeyValueEntry), known chan<- struct{}) error {
	var first = true
	for {
		w, err := bucket.WatchAll(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			s.log.Warn("follow the bucket", "bucket", bucket.Bucket(), "error", err)
			if !pause(ctx) {
				return nil
			}
			continue
		}
		for open := true; open; {
			select {
			case e, ok := <-w.Updates():
				switch {
				case !ok:
					open = false
				case e != nil:
					take(ctx, e)
				case first:
					first = false
					known <- struct{}{}
				}
			case <-ctx.Done():
				_ = w.Stop()
				return nil
			}
		}
		if !pause(ctx) {
			return nil
		}
	}
}

// pauseTime is between tries of what failed.
const pauseTime = time.Second

// pause is false when ctx ends.
func pause(ctx context.Context) bool {
	select {
	case <-time.After(pauseTime):
		return true
	case <-ctx.Done():
		return false
	}
}

// working gives what there is while Run runs.
func (s *Service) working() (*running, error) {
	r := s.run.Load()
	if r == nil {
		return nil, fmt.Errorf("%w: decisions cannot be reached yet", ErrStopped)
	}
	return r, nil
}

// nextSerial grows over all signatures of this collector, and with the clock over those of others.
func (s *Service) nextSerial(after uint64) uint64 {
	for {
		last := s.serial.Load()
		next := max(last+1, after+1, uint64(max(s.now().UnixMicro(), 1)))
		if s.serial.CompareAndSwap(last, next) {
			return next
		}
	}
}

func (s *Service) now() time.Time {
	if clock := s.clock.Load(); clock != nil {
		return (*clock)()
	}
	return time.Now()
}

// moment is now as decisions have it: the database keeps microseconds.
func (s *Service) moment() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// isConflict says whether another one was quicker at a key.
func isConflict(err error) bool {
	return errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) // replicated buckets say only the latter of an update
}
