package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/ambit-nhi/ambit/collector/lease"
	"github.com/ambit-nhi/ambit/event"
)

// Decide notes what somebody decided about a finding, or says [ErrUnknown].
type Decide func(ctx context.Context, id string, kind event.VerdictKind, reason, by string, until time.Time) (event.Finding, error)

// Options are what feeds stand on. Connect, Metrics and Log are required.
type Options struct {
	Feeds   []Config
	Connect func(name string) (*nats.Conn, error)                        // to the servers with the streams; the feeds close it
	Owner   func(ctx context.Context, id event.Identity) (string, error) // who owns an identity, "" for nobody; nil: nobody knows
	Decide  Decide                                                       // nil: silences are not honoured
	Metrics prometheus.Registerer                                        //
	Log     *slog.Logger                                                 //
	Version string                                                       // of Ambit
	Host    string                                                       // of this collector
	TTL     time.Duration                                                // how long a collector that is not heard of keeps a feed from others; default 6s
}

// Feeds delivers to all outputs. Its methods are safe for concurrent use.
type Feeds struct {
	o       Options
	metrics *metrics
	member  string
	lanes   []*lane
	js      atomic.Pointer[jetstream.JetStream] // while running
}

// New makes feeds. It starts nothing.
func New(o Options) (*Feeds, error) {
	if o.TTL == 0 {
		o.TTL = 6 * time.Second
	}
	f := &Feeds{o: o, metrics: newMetrics(o.Metrics), member: word(o.Host) + "-" + nuid.Next()}
	var who *owners
	if o.Owner != nil {
		who = newOwners(o.Owner)
	}
	for _, c := range o.Feeds {
		for _, kind := range c.Send {
			l := &lane{
				cfg: c, all: o.Feeds, kind: kind, name: c.Name, maker: formats[c.Format], making: f.makingOf(&c), veil: &veil{}, owners: who, decide: o.Decide,
				metrics: f.metrics, log: o.Log.With("feed", c.Name), aside: rate.Sometimes{Interval: time.Minute}, member: f.member, now: time.Now,
			}
			if kind != KindFinding {
				l.name += "-" + string(kind)
			}
			l.status.status = Status{Name: c.Name, Kind: kind, Transport: c.Transport, Format: c.Format, State: StateWaiting}
			f.lanes = append(f.lanes, l)
		}
	}
	for i, l := range f.lanes {
		if slices.ContainsFunc(f.lanes[:i], func(other *lane) bool { return other.name == l.name }) {
			return nil, fmt.Errorf("feeds: %s sends something twice, or has the name of another one's part", l.cfg.Name)
		}
	}
	return f, nil
}

func (f *Feeds) makingOf(c *Config) *making {
	return &making{Version: f.o.Version, Host: f.o.Host, Link: c.Link, Labels: c.Labels, Hold: int64(c.Hold / time.Second), Channel: c.Channel}
}

// Run delivers until ctx ends. What a receiver has not taken by then is sent after the next start, or by another collector. It calls ready when the
// streams are open.
func (f *Feeds) Run(ctx context.Context, ready func()) error {
	nc, err := f.o.Connect("ambit feeds")
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(maxBatch))
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	bucket, err := js.KeyValue(ctx, BucketName)
	if err != nil {
		return fmt.Errorf("open the bucket %s: %w", BucketName, err)
	}
	f.js.Store(&js)
	defer f.js.Store(nil)
	ready()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { <-ctx.Done(); return nil })
	for _, l := range f.lanes {
		if l.cfg.Off {
			l.status.note(func(s *Status) { s.State = StateOff })
			continue
		}
		l.js, l.bucket = js, bucket
		g.Go(func() error { return l.run(ctx, f.o.TTL) })
	}
	return g.Wait()
}

// run works the lane whenever no other collector does.
func (l *lane) run(ctx context.Context, ttl time.Duration) error {
	lock := lease.Lock{JetStream: l.js, Bucket: l.bucket, Name: "feed-" + l.name, Member: l.member, TTL: ttl, Log: slog.New(slog.DiscardHandler)}
	working := l.metrics.working.WithLabelValues(l.cfg.Name)
	var wait backoff
	for ctx.Err() == nil {
		held, unlock, err := lock.Lock(ctx)
		if err == nil {
			working.Set(1)
			began := time.Now()
			err = l.work(held)
			working.Set(0)
			l.status.note(func(s *Status) { s.State, s.Collector = StateWaiting, "" })
			unlock()
			if time.Since(began) > time.Minute {
				wait = backoff{}
			}
		}
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			l.log.Warn("a feed stopped; it goes on soon, here or elsewhere", "error", l.veil.told(err))
		}
		select {
		case <-time.After(wait.next(0)):
		case <-ctx.Done():
		}
	}
	return nil
}

func (l *lane) statusKey() string { return "status." + l.name }

// report shows how the lane is, to this collector's metrics and to the other collectors.
func (l *lane) report(ctx context.Context) error {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	var told time.Time
	for {
		if lag, err := l.lag(ctx); err == nil {
			l.metrics.lag.WithLabelValues(l.cfg.Name).Set(float64(lag))
			l.status.note(func(s *Status) { s.Lag = lag })
		}
		if s, changed := l.status.take(); changed || time.Since(told) > 10*time.Second {
			s.Updated, told = time.Now().UTC(), time.Now()
			if data, err := json.Marshal(s); err == nil {
				_, err = l.bucket.Put(ctx, l.statusKey(), data)
				if err != nil && ctx.Err() == nil {
					l.log.Debug("tell how a feed is", "error", err)
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// lag is how many messages wait for the lane.
func (l *lane) lag(ctx context.Context) (uint64, error) {
	consumer, err := l.js.Consumer(ctx, sources[l.kind].stream, consumerName(l.name))
	if err != nil {
		return 0, err
	}
	info := consumer.CachedInfo()
	return info.NumPending + uint64(max(info.NumAckPending, 0)), nil
}

// Status says how each feed is, whichever collector works it.
func (f *Feeds) Status(ctx context.Context) ([]Status, error) {
	js := f.js.Load()
	if js == nil {
		return nil, errors.New("the feeds are starting or stopping")
	}
	bucket, err := (*js).KeyValue(ctx, BucketName)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", BucketName, err)
	}
	out := []Status{}
	for _, l := range f.lanes {
		s, _ := l.status.take()
		l.status.note(func(*Status) {})
		if s.State == StateWaiting {
			e, err := bucket.Get(ctx, l.statusKey())
			var other Status
			if err == nil && json.Unmarshal(e.Value(), &other) == nil && time.Since(other.Updated) < 30*time.Second {
				s = other
			}
		}
		if lag, err := (&lane{js: *js, kind: l.kind, name: l.name}).lag(ctx); err == nil {
			s.Lag = lag
		}
		out = append(out, s)
	}
	return out, nil
}

// ErrUnknown is for a feed that the configuration does not have, and for a finding that is not there, of Decide.
var ErrUnknown = errors.New("it is not known")

// Answer is what came of a test.
type Answer struct {
	Feed      string `json:"feed"`
	Transport string `json:"transport"`
	Format    string `json:"format"`
	UID       string `json:"uid"`
	Taken     bool   `json:"taken"`
	Answer    string `json:"answer,omitempty"` // of the receiver
	Error     string `json:"error,omitempty"`  // where it was not taken
	Millis    int64  `json:"milliseconds"`
}

// Names gives the feeds' names, in their order.
func (f *Feeds) Names() []string {
	var out []string
	for _, c := range f.o.Feeds {
		out = append(out, c.Name)
	}
	return out
}

// Test sends a finding that is marked as a test to one feed, past its filters and its queue, over a connection of its own.
func (f *Feeds) Test(ctx context.Context, name string) (Answer, error) {
	i := slices.IndexFunc(f.o.Feeds, func(c Config) bool { return c.Name == name })
	if i < 0 {
		return Answer{}, ErrUnknown
	}
	js := f.js.Load()
	if js == nil {
		return Answer{}, errors.New("the feeds are starting or stopping")
	}
	c := f.o.Feeds[i]
	r := testRecord(&c, time.Now().UTC())
	answer := Answer{Feed: c.Name, Transport: c.Transport, Format: c.Format, UID: r.UID}
	m, v := f.makingOf(&c), &veil{}
	m.Hold = 300
	body, err := formats[c.Format].encode(m, r)
	if err != nil {
		return Answer{}, fmt.Errorf("write the test: %w", err)
	}
	began := time.Now()
	got, err := sendOnce(ctx, &opening{Config: &c, maker: formats[c.Format], making: m, veil: v, js: *js, test: true}, Document{r, body})
	answer.Millis = time.Since(began).Milliseconds()
	answer.Taken, answer.Answer, answer.Error = err == nil, clipTo(oneLine(v.text(got.answer)), maxTold), v.told(err)
	return answer, nil
}

func sendOnce(ctx context.Context, o *opening, d Document) (receipt, error) {
	s, err := transports[o.Transport].open(o)
	if err != nil {
		return receipt{}, err
	}
	defer s.close()
	return s.send(ctx, []Document{d})
}

// testRecord is a finding of nothing.
func testRecord(c *Config, now time.Time) *Record {
	id, _ := event.ParseIdentity("spiffe://test.ambit/feed/" + c.Name)
	f := &event.Finding{
		ID: "feed-test-" + c.Name + "-" + fmt.Sprint(now.UnixMilli()), Rule: "feed-test", Severity: event.Info, Status: event.StatusNew, Score: 0, Confidence: 1,
		Title: "Test of the feed " + c.Name + ": nothing has happened", Identity: id, Workload: event.Workload{Identity: id}, FirstTime: now, LastTime: now, Count: 1,
		Explanation: []string{"Somebody asked for this with `ambit feeds test " + c.Name + "`."},
	}
	return &Record{Finding: f, Life: Create, Time: now, UID: f.ID, Test: true}
}
