package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/health"
	"github.com/ambit-nhi/ambit/event"
)

// Bounds of how far collectors may be behind the stream.
const (
	late     = time.Minute     // findings come late
	tooLate  = 5 * time.Minute // something is wrong
	roomLeft = 0.2             // how far from its beginning, by its length, what waits in a full stream may be
)

// Watch asks the stream how it is and how far collectors are. It is safe for concurrent use.
type Watch struct {
	bus *Bus
	now func() time.Time

	mu sync.Mutex // of nc
	nc *nats.Conn // made when it is needed
}

// NewWatch makes a Watch, which the caller closes.
func NewWatch(bus *Bus) *Watch { return &Watch{bus: bus, now: time.Now} }

// Close closes its connection, if it made one.
func (w *Watch) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.nc != nil {
		w.nc.Close()
		w.nc = nil
	}
}

// Checks are "stream", "detector" and "store-lag", in this order; the latter two only where the stream answers.
func (w *Watch) Checks(ctx context.Context) []health.Check {
	const name = "stream"
	if err := w.bus.Ready(); err != nil {
		return []health.Check{health.Of(name, err)}
	}
	info, workers, err := w.ask(ctx)
	if err != nil {
		return []health.Check{health.Of(name, err)}
	}
	detect, store := health.Of("detector", nil), health.Of("store-lag", nil)
	for _, b := range workers {
		c := &store
		if b.detects {
			c = &detect
		}
		if worse := b.check(c.Name); rank[worse.State] > rank[c.State] {
			*c = worse
		}
	}
	return []health.Check{fullness(name, info, workers), detect, store}
}

var rank = map[health.State]int{health.OK: 0, health.Warning: 1, health.Failed: 2}

// backlog is what a consumer of the stream has not done yet.
type backlog struct {
	consumer string
	detects  bool
	waiting  uint64        // messages
	oldest   uint64        // of them, by its place in the stream; 0 if it left
	age      time.Duration // of the oldest
}

func (b *backlog) check(name string) health.Check {
	switch detail := fmt.Sprintf("%s is %s behind, with %d messages", b.consumer, b.age.Round(time.Second), b.waiting); {
	case b.age > tooLate:
		return health.Fail(name, "%s", detail)
	case b.age > late:
		return health.Warn(name, "%s", detail)
	}
	return health.Check{Name: name, State: health.OK}
}

// fullness says whether the stream drops messages that were not taken, or is about to.
func fullness(name string, info *jetstream.StreamInfo, workers []backlog) health.Check {
	s, most := info.State, info.Config.MaxBytes
	if most <= 0 || float64(s.Bytes) < float64(most)*0.9 {
		return health.Check{Name: name, State: health.OK}
	}
	for _, b := range workers {
		if b.oldest > 0 && float64(b.oldest-s.FirstSeq) < float64(s.LastSeq-s.FirstSeq)*roomLeft {
			return health.Fail(name, "it is full, and %s has not taken %d messages: they are lost soon; does the store work, and has the stream enough room (nats.max_bytes)?",
				b.consumer, b.waiting)
		}
	}
	return health.Check{Name: name, State: health.OK}
}

func (w *Watch) connection() (*nats.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.nc == nil {
		nc, err := w.bus.Connect("ambit health")
		if err != nil {
			return nil, err
		}
		w.nc = nc
	}
	return w.nc, nil
}

func (w *Watch) ask(ctx context.Context) (*jetstream.StreamInfo, []backlog, error) {
	nc, err := w.connection()
	if err != nil {
		return nil, nil, err
	}
	if !nc.IsConnected() {
		return nil, nil, fmt.Errorf("%s does not answer", w.bus.Where())
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, nil, fmt.Errorf("use JetStream: %w", err)
	}
	stream, err := js.Stream(ctx, event.StreamObservations)
	if err != nil {
		return nil, nil, fmt.Errorf("ask for the stream %s: %w", event.StreamObservations, err)
	}
	var workers []backlog
	list := stream.ListConsumers(ctx)
	for c := range list.Info() {
		if !strings.HasPrefix(c.Name, "ambit-") { // somebody else's
			continue
		}
		b := backlog{consumer: c.Name, detects: strings.HasPrefix(c.Name, "ambit-detect"), waiting: c.NumPending + uint64(c.NumAckPending)}
		if b.waiting > 0 {
			if b.oldest, b.age, err = w.oldest(ctx, stream, c); err != nil {
				return nil, nil, err
			}
		}
		workers = append(workers, b)
	}
	if err := list.Err(); err != nil {
		return nil, nil, fmt.Errorf("ask for the consumers of %s: %w", event.StreamObservations, err)
	}
	return stream.CachedInfo(), workers, nil
}

// oldest finds the oldest message that a consumer has not done, and its age.
func (w *Watch) oldest(ctx context.Context, stream jetstream.Stream, c *jetstream.ConsumerInfo) (sequence uint64, age time.Duration, err error) {
	subjects := c.Config.FilterSubjects
	if len(subjects) == 0 {
		subjects = []string{cmp.Or(c.Config.FilterSubject, ">")}
	}
	subjects = subjects[:min(usualSubjects, len(subjects))] // on the others nothing waits for long
	from := max(c.AckFloor.Stream+1, stream.CachedInfo().State.FirstSeq)
	for _, subject := range subjects {
		m, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) { // there is none, or it left the stream in the meantime
			continue
		}
		if err != nil {
			return 0, 0, fmt.Errorf("ask for a message of %s: %w", event.StreamObservations, err)
		}
		if sequence == 0 || m.Sequence < sequence {
			sequence, age = m.Sequence, w.now().Sub(m.Time)
		}
	}
	return sequence, age, nil
}
