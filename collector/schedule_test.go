package collector

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/event"
)

// notedReport notes when it was made.
type notedReport struct {
	mu    sync.Mutex
	made  []time.Time
	fails int
	now   func() time.Time
	done  chan struct{}
}

func (r *notedReport) Last(context.Context) (time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.made) == 0 {
		return time.Time{}, nil
	}
	return r.made[len(r.made)-1], nil
}

func (r *notedReport) Make(ctx context.Context, tell func(context.Context, []event.Finding) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails > 0 {
		r.fails--
		return errors.New("not now")
	}
	id, err := event.ParseIdentity("spiffe://shop.example/ns/shop/sa/old")
	if err != nil {
		return err
	}
	f := event.Finding{ID: event.FindingID(id, "unused-identity", event.Resource{}), Rule: "unused-identity", Severity: event.Low, Identity: id, FirstTime: r.now(), LastTime: r.now()}
	if err := tell(ctx, []event.Finding{f}); err != nil {
		return err
	}
	r.made = append(r.made, r.now())
	close(r.done)
	return nil
}

// TestSchedule: of several collectors, one makes the report when it is due, and tells its findings once.
func TestSchedule(t *testing.T) {
	bus := openBus(t, t.TempDir())
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	r := &notedReport{now: clock, done: make(chan struct{})}
	ctx, stop := context.WithCancel(t.Context())
	var all errgroup.Group
	for range 3 {
		all.Go(func() error {
			return (&Schedule{Bus: bus, Report: r, Every: 24 * time.Hour, Log: log, now: clock}).Run(ctx)
		})
	}
	receive(t, "the report", r.done)
	nc, err := bus.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	// All have to wait now; until the last has seen that, it may hold the lock.
	for _, s := range []*Schedule{{Bus: bus, Report: r, Every: 24 * time.Hour, Log: log, now: clock}} {
		if err := s.make(t.Context()); err != nil {
			t.Fatal(err)
		}
		if wait, err := s.wait(t.Context()); err != nil || wait != 24*time.Hour {
			t.Errorf("wait %s, %v", wait, err)
		}
	}
	stop()
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
	if len(r.made) != 1 {
		t.Errorf("made %v, want once", r.made)
	}
	stream, err := js.Stream(t.Context(), event.StreamFindings)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context())
	if err != nil || info.State.Msgs != 1 {
		t.Errorf("%d findings told, %v; want 1", info.State.Msgs, err)
	}

	failing := &notedReport{now: clock, fails: 1, done: make(chan struct{})}
	s := &Schedule{Bus: bus, Report: failing, Every: time.Hour, Log: log, now: clock}
	if err := s.make(t.Context()); err == nil || len(failing.made) != 0 {
		t.Errorf("%v", err)
	}
	if err := s.make(t.Context()); err != nil || len(failing.made) != 1 {
		t.Errorf("after a failure: %v", err)
	}

	// A report whose findings could not be told was not made.
	untold := &notedReport{now: func() time.Time { return now.Add(time.Hour) }, done: make(chan struct{})}
	late := &Schedule{Bus: bus, Report: untold, Every: time.Hour, Log: log, now: clock}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := late.Report.Make(over, func(ctx context.Context, f []event.Finding) error { return tellFindings(ctx, bus, f) }); err == nil || len(untold.made) != 0 {
		t.Errorf("made %v, %v", untold.made, err)
	}
	if err := late.make(t.Context()); err != nil || len(untold.made) != 1 {
		t.Errorf("made %v, %v", untold.made, err)
	}
	if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs < 2 {
		t.Errorf("%d findings told, %v", info.State.Msgs, err)
	}
}
