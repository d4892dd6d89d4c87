package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
)

// Config of a collector.
type Config struct {
	Detector      detector.Config
	FlushRows     int           // observations that are inserted together at least, unless
	FlushInterval time.Duration // the first of them has waited so long
	MaxBehind     time.Duration // how old what an agent sends may be when it comes into the stream: agents keep it while they cannot send
	Grace         time.Duration // for what is under way when the collector is asked to stop
}

// Default is a configuration that is valid.
func Default() Config {
	return Config{Detector: detector.Default(), FlushRows: 10_000, FlushInterval: time.Second, MaxBehind: 73 * time.Hour, Grace: 15 * time.Second}
}

// Validate says what is wrong.
func (c *Config) Validate() error {
	faults := []error{c.Detector.Validate()}
	if c.FlushRows < 1 || c.FlushRows > 100_000 {
		faults = append(faults, fmt.Errorf("flush rows %d are not from 1 to 100000: an insert of more than one block is not whole after a crash", c.FlushRows))
	}
	if c.FlushInterval <= 0 || c.Grace <= 0 {
		faults = append(faults, errors.New("flush interval and grace must be positive"))
	}
	if c.MaxBehind < time.Minute {
		faults = append(faults, fmt.Errorf("max behind %s is below 1m: what agents send late would be refused", c.MaxBehind))
	}
	return errors.Join(faults...)
}

// sink takes rows. Repeating a call with the same arguments changes nothing.
type sink interface {
	InsertObservations(ctx context.Context, token string, rows []store.ObservationRow) error
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
}

// Store is where observations go; [store.Store] is one.
type Store interface {
	sink
	memory
}

// Collector works the stream of observations. Its methods but Run are safe for concurrent use.
type Collector struct {
	cfg     Config
	bus     *Bus
	store   Store
	metrics *metrics
	log     *slog.Logger

	mu       sync.Mutex // of the detector
	detector *detector.Detector

	js      atomic.Pointer[jetstream.JetStream] // set while running
	trouble sync.Map                            // operation -> trouble, of those that are under way
	aside   aside
	settled atomic.Uint64 // messages up to here are in the store or refused
}

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
	c := &Collector{cfg: cfg, bus: bus, store: s, metrics: newMetrics(metrics), log: log, detector: detector.New(cfg.Detector)}
	metrics.MustRegister(
		Counters("ambit_detector_refused_total", "What the detector could not take in, by cause.", c.DetectorCounters),
		countersCollector{
			desc: prometheus.NewDesc("ambit_detector_entries", "Fill levels of the detector's tables.", []string{"table"}, nil),
			kind: prometheus.GaugeValue, read: c.detectorGauges,
		})
	return c, nil
}

// Run works until ctx ends or the stream cannot be worked any more. It calls ready when the detector knows what the store knows, and
// observations flow. When ctx ends, what is in the stream by then is still taken and inserted, for up to the grace time; what is left is
// left in the stream for the next start.
func (c *Collector) Run(ctx context.Context, ready func()) error {
	nc, err := c.bus.Connect("ambit collector")
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	stream, err := js.Stream(ctx, event.StreamObservations)
	if err != nil {
		return fmt.Errorf("open the stream %s: %w", event.StreamObservations, err)
	}
	journal, err := openJournal(ctx, js, stream.CachedInfo())
	if err != nil {
		return err
	}

	// Work goes on for the grace time after ctx, so that what was taken is settled.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(c.cfg.Grace, cancel) })()

	windows, err := openWindows(ctx, js)
	if err != nil {
		return err
	}
	in := &inserter{c: c, journal: journal, stream: stream, windows: windows}
	if err := in.recover(ctx); err != nil {
		return unlessDone(ctx, err)
	}
	if err := c.restore(ctx); err != nil {
		return unlessDone(ctx, err)
	}
	tracker, err := c.loadTracker(ctx, windows, stream, journal.entry.Done)
	if err != nil {
		return unlessDone(ctx, err)
	}
	c.settled.Store(journal.entry.Done)
	c.js.Store(&js)
	defer c.js.Store(nil)
	ready()

	messages, groups := make(chan message), make(chan *group)
	g, work := errgroup.WithContext(work)
	r := &reader{js: js, stream: stream, metrics: c.metrics, log: c.log, settled: &c.settled}
	r.taken.Store(journal.entry.Done)
	g.Go(func() error { return r.run(ctx, work, messages) })
	g.Go(func() error { return c.sort(work, js, tracker, stream.CachedInfo().Created, messages, groups) })
	g.Go(func() error { return in.run(work, groups) })
	err = g.Wait()
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		c.log.Warn("stopped with observations in the stream; the next start takes them", "error", err)
		return nil
	}
	if err == nil {
		err = nc.FlushTimeout(c.cfg.Grace) // acknowledgements
	}
	return err
}

// unlessDone drops the error of what was given up because ctx ended.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// restore has the detector learn what the store knows.
func (c *Collector) restore(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := detector.New(c.cfg.Detector)
	err := c.store.EachNode(ctx, func(node string, spans []store.Span) error {
		list := make([]detector.Span, len(spans))
		for i, s := range spans {
			list[i] = detector.Span{Boot: s.Boot, From: s.From, Until: s.Until}
		}
		d.RestoreNode(node, list)
		return nil
	})
	if err != nil {
		return fmt.Errorf("restore when nodes were watched: %w", err)
	}
	q := newQuota()
	if err := c.store.EachIdentity(ctx, nil, func(id event.Identity, node string, first time.Time) error {
		if d.Knows(id) || q.again(node, first) {
			d.RestoreIdentity(id, node, first)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("restore identities: %w", err)
	}
	if err := c.store.EachReach(ctx, nil, func(id event.Identity, r event.Resource, first, last time.Time, connections uint64) error {
		if d.Knows(id) {
			d.RestoreReach(id, r, first, last, connections)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("restore reach: %w", err)
	}
	if err := c.store.EachFinding(ctx, nil, func(f *event.Finding) error {
		d.RestoreFinding(f)
		return nil
	}); err != nil {
		return fmt.Errorf("restore findings: %w", err)
	}
	c.detector = d
	return nil
}

// Progress says how far the learning of an identity is.
func (c *Collector) Progress(id event.Identity) (detector.Progress, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.detector.Progress(id)
}

// DetectorCounters says what the detector could not take in, by cause.
func (c *Collector) DetectorCounters() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.detector.Counters()
}

func (c *Collector) detectorGauges() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.detector.Gauges()
}

// patience is how long an operation may take, with all its tries, before the collector calls itself not ready.
const patience = 10 * time.Second

// Ready says why observations do not flow, nil if they do.
func (c *Collector) Ready(context.Context) error {
	if c.js.Load() == nil {
		return errors.New("the collector is starting or stopping")
	}
	return c.troubled(time.Now())
}

func (c *Collector) troubled(now time.Time) (err error) {
	c.trouble.Range(func(operation, value any) bool {
		if t := value.(trouble); now.Sub(t.since) > patience {
			err = fmt.Errorf("observations wait in the stream since %s: %s: %w", t.since.UTC().Format(time.RFC3339), operation, t.err)
		}
		return err == nil
	})
	return err
}
