package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/collector/lease"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
)

// Config of a collector.
type Config struct {
	Detector        detector.Config
	Partitions      int           // as of the agents and of all other collectors
	Leases          time.Duration // how long a collector that is not heard of keeps its partitions from others; whole seconds
	FlushRows       int           // observations that are inserted together at least, unless
	FlushInterval   time.Duration // the first of them has waited so long
	MaxBehind       time.Duration // how old what an agent sends may be when it comes into the stream: agents keep it while they cannot send
	DeclareInterval time.Duration // how often to look for changes of inventories and scopes
	Grace           time.Duration // for what is under way when the collector is asked to stop
}

// Default is a configuration that is valid.
func Default() Config {
	return Config{
		Detector: detector.Default(), Partitions: event.DefaultPartitions, Leases: lease.DefaultTTL,
		FlushRows: 10_000, FlushInterval: time.Second, MaxBehind: 73 * time.Hour, Grace: 15 * time.Second, DeclareInterval: 10 * time.Second,
	}
}

// Validate says what is wrong.
func (c *Config) Validate() error {
	faults := []error{c.Detector.Validate()}
	if c.Partitions < 1 || c.Partitions > event.MaxPartitions {
		faults = append(faults, fmt.Errorf("partitions %d are not from 1 to %d", c.Partitions, event.MaxPartitions))
	}
	if c.FlushRows < 1 || c.FlushRows > 100_000 {
		faults = append(faults, fmt.Errorf("flush rows %d are not from 1 to 100000: an insert of more than one block is not whole after a crash", c.FlushRows))
	}
	if c.FlushInterval <= 0 || c.Grace <= 0 || c.DeclareInterval <= 0 {
		faults = append(faults, errors.New("flush interval, declare interval and grace must be positive"))
	}
	if c.MaxBehind < time.Minute {
		faults = append(faults, fmt.Errorf("max behind %s is below 1m: what agents send late would be refused", c.MaxBehind))
	}
	return errors.Join(faults...)
}

// sink takes rows. Repeating a call with the same arguments changes nothing.
type sink interface {
	InsertBatches(ctx context.Context, token string, messages []store.Message) error
	InsertSightings(ctx context.Context, sightings []store.Sighting) error
	InsertCoverage(ctx context.Context, rows []store.Coverage) error
	InsertFindings(ctx context.Context, findings []event.Finding) error
}

// memory gives back what a detector must know.
type memory interface {
	EachNode(ctx context.Context, visit func(node string, spans []store.Span) error) error
	EachIdentity(ctx context.Context, in func(event.Identity) bool, visit func(id event.Identity, node string, first time.Time) error) error
	EachReach(ctx context.Context, in func(event.Identity) bool,
		visit func(id event.Identity, r event.Resource, first, last time.Time, connections uint64) error) error
	EachFinding(ctx context.Context, in func(event.Identity) bool, visit func(f *event.Finding) error) error
	EachScope(ctx context.Context, since time.Time, in func(event.Identity) bool, visit func(*event.Scope) error) error
	// EachDeclared visits what inventories say of identities, where a version of it is above one.
	EachDeclared(ctx context.Context, above uint64, visit func(id event.Identity, d store.Declared) error) error
}

// Store is where observations go; [store.Store] is one.
type Store interface {
	sink
	memory
	// Forget drops identities that are long gone, and says how many.
	Forget(ctx context.Context, now time.Time) (int, error)
}

// Collector works its share of the stream of observations: some of its partitions, while other collectors work the others. Its methods but Run
// are safe for concurrent use.
type Collector struct {
	cfg      Config
	bus      *Bus
	store    Store
	metrics  *metrics
	registry prometheus.Registerer
	fleet    *Fleet
	log      *slog.Logger

	mu      sync.Mutex
	roster  map[int]*worker   // by partition
	counted map[string]uint64 // by detectors of partitions that are no longer this collector's

	js      atomic.Pointer[jetstream.JetStream] // set while running
	leases  atomic.Pointer[lease.Group]         // likewise
	trouble sync.Map                            // doing -> trouble, of what is under way
	aside   aside
	strays  strays
	proof   atomic.Pointer[proof] // nil until an insert succeeded
}

// doing is an operation, and for what.
type doing struct{ who, operation string }

// trouble is an operation that has not succeeded yet.
type trouble struct {
	since time.Time
	err   error
}

var errNoAnswer = errors.New("no answer yet")

// New makes a collector. Its counters are registered with metrics.
func New(cfg Config, bus *Bus, s Store, metrics prometheus.Registerer, log *slog.Logger) (*Collector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Collector{
		cfg: cfg, bus: bus, store: s, metrics: newMetrics(metrics), registry: metrics, fleet: NewFleet(), log: log,
		roster: map[int]*worker{}, counted: map[string]uint64{},
	}
	metrics.MustRegister(
		Counters("ambit_detector_refused_total", "What the detectors could not take in, by cause.", c.DetectorCounters),
		countersCollector{
			desc: prometheus.NewDesc("ambit_detector_entries", "Fill levels of the detectors' tables.", []string{"table"}, nil),
			kind: prometheus.GaugeValue, read: c.detectorGauges,
		}, lags{c}, c.fleet)
	return c, nil
}

// Run works until ctx ends or the stream cannot be worked any more. It calls ready when the detectors know what the store knows, and
// observations flow, or when all partitions are worked by others. When ctx ends, what is in the stream by then is still taken and inserted,
// for up to the grace time; what is left is left in the stream for the next start, or for another collector.
func (c *Collector) Run(ctx context.Context, ready func()) error {
	nc, err := c.bus.Connect("ambit collector")
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(answerWait))
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	bucket, err := js.KeyValue(ctx, leasesBucket)
	if err != nil {
		return fmt.Errorf("open the bucket %s: %w", leasesBucket, err)
	}
	if err := lease.Agree(ctx, bucket, c.cfg.Partitions); err != nil {
		return err
	}
	leases, err := lease.New(lease.Config{
		JetStream: js, Bucket: bucket, Member: nuid.Next(), Partitions: c.cfg.Partitions + 1, TTL: c.cfg.Leases, Log: c.log,
	})
	if err != nil {
		return err
	}
	s, err := c.openShift(ctx, js)
	if err != nil {
		return unlessDone(ctx, err)
	}

	// Work goes on for the grace time after ctx, so that what was taken is settled.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(c.cfg.Grace, cancel) })()
	s.ending, s.work = ctx, work

	c.js.Store(&js)
	c.leases.Store(leases)
	defer c.js.Store(nil)
	defer c.leases.Store(nil)
	err = s.run(nc, leases, ready)
	if err == nil && work.Err() != nil {
		c.log.Warn("stopped with observations in the stream; the next start takes them")
		return nil
	}
	if err == nil {
		err = nc.FlushTimeout(c.cfg.Grace) // acknowledgements
	}
	return err
}

// answerWait is how long the server may take to store what was published.
const answerWait = 5 * time.Second

// unlessDone drops the error of what was given up because ctx ended.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Progress says how far the learning of an identity is. It is false where the identity is not known, or worked by another collector.
func (c *Collector) Progress(id event.Identity) (detector.Progress, bool) {
	w := c.worker(event.Partition(id, c.cfg.Partitions))
	if w == nil {
		return detector.Progress{}, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.detector == nil {
		return detector.Progress{}, false
	}
	return w.detector.Progress(id)
}

// DetectorCounters says what the detectors could not take in, by cause.
func (c *Collector) DetectorCounters() map[string]uint64 {
	c.mu.Lock()
	sum := maps.Clone(c.counted)
	c.mu.Unlock()
	for _, w := range c.all() {
		for cause, n := range w.counters() {
			sum[cause] += n
		}
	}
	return sum
}

func (c *Collector) detectorGauges() map[string]uint64 {
	sum := map[string]uint64{}
	for _, w := range c.all() {
		for table, n := range w.gauges() {
			sum[table] += n
		}
	}
	return sum
}

// patience is how long an operation may take, with all its tries, before the collector calls itself not ready.
const patience = 10 * time.Second

// Ready says why observations do not flow, nil if they do.
func (c *Collector) Ready(context.Context) error {
	leases := c.leases.Load()
	if leases == nil {
		return errors.New("the collector is starting or stopping")
	}
	if err := leases.Status().Err; err != nil {
		return fmt.Errorf("the collector has no leases of partitions: %w", err)
	}
	return c.troubled(time.Now())
}

// troubled says what has not succeeded for longest.
func (c *Collector) troubled(now time.Time) (err error) {
	var oldest time.Time
	c.trouble.Range(func(key, value any) bool {
		t, d := value.(trouble), key.(doing)
		if now.Sub(t.since) > patience && (err == nil || t.since.Before(oldest)) {
			oldest = t.since
			err = fmt.Errorf("observations wait in the stream since %s: %s: %s: %w", t.since.UTC().Format(time.RFC3339), d.who, d.operation, t.err)
		}
		return true
	})
	return err
}
