package agent

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// Pauses after a failure; each is twice the one before.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// Run sends what is handed over until ctx ends, then what is left for at most cfg.Drain. What the stream did not take by then stays in the spool
// for the next start. Whatever fails is sent again, in order, with growing pauses. It returns an error only if the connection was closed for
// good. The order holds if the connection was made with nats.ReconnectBufSize(-1): a message in the client's own buffer overtakes those that were
// lost with the connection.
func (p *Publisher) Run(ctx context.Context) error {
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(p.cfg.Drain, stop) })()
	status := p.js.Conn().StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer p.js.Conn().RemoveStatusListener(status)

	spooling, sent := context.WithCancel(context.WithoutCancel(ctx))
	defer sent()
	var group errgroup.Group
	if p.outbox.spool != nil {
		group.Go(func() error { return (&spooler{outbox: p.outbox}).run(spooling) })
	}
	s := sender{Publisher: p, ctx: ctx, sending: sending, status: status, pause: firstPause}
	err := s.run()
	if errors.Is(err, errClosed) && ctx.Err() != nil {
		err = nil // at the end it only means that nothing more can be sent
	}
	sent()
	if unkept := group.Wait(); unkept != nil {
		slog.Warn("some observations are not kept for the next start", "error", unkept)
	}
	if messages, observations, _ := p.outbox.waiting(); messages > 0 {
		slog.Warn("the stream did not take everything before the end", "messages", messages, "observations", observations, "spooled", p.outbox.spool != nil)
	}
	return err
}

// sender is one Run.
type sender struct {
	*Publisher
	ctx     context.Context // until it ends, there may be more to send
	sending context.Context // when it ends, what is not acknowledged is given up
	status  chan nats.Status
	flight  []sent // oldest first
	bytes   int    // of those
	epoch   uint64 // reconnects of the connection that they were sent over
	pause   time.Duration
}

type sent struct {
	message *message
	ack     jetstream.PubAckFuture
	until   time.Time // then it is taken for lost
}

var (
	errClosed  = errors.New("publish observations: the connection to NATS was closed")
	errGivenUp = errors.New("given up at the end")
)

func (s *sender) run() error {
	for s.sending.Err() == nil {
		if err := s.connected(); err != nil {
			return err
		}
		failed := s.fill()
		if failed == nil && len(s.flight) == 0 {
			if !s.idle() {
				return nil
			}
			continue
		}
		if failed == nil {
			failed = s.head(s.outbox.added)
		}
		if failed != nil {
			s.recover(failed)
		}
	}
	return nil
}

// connected waits for the connection: without it, messages would only fill the client's own buffer.
func (s *sender) connected() error {
	for !s.js.Conn().IsConnected() {
		if s.js.Conn().IsClosed() {
			return errClosed
		}
		select {
		case <-s.status:
		case <-s.sending.Done():
			return nil
		}
	}
	return nil
}

// idle waits for something to send. It says false if nothing will come any more.
func (s *sender) idle() bool {
	select {
	case <-s.outbox.added:
		return true
	case <-s.ctx.Done():
		return s.outbox.pending()
	}
}

// windowBytes bounds what is in flight besides the number of messages: what comes back from the disk takes memory, here and in the server, which
// many agents meet at once after an outage. Acknowledgements set the pace.
const windowBytes = 4 << 20

func (s *sender) full() bool { return len(s.flight) >= s.cfg.Window || s.bytes >= windowBytes }

// fill sends until the window is full or nothing waits.
func (s *sender) fill() error {
	for !s.full() {
		// What was sent over an earlier connection may be lost, and nothing newer may overtake it.
		epoch := s.js.Conn().Stats().Reconnects
		if len(s.flight) > 0 && epoch != s.epoch {
			return nats.ErrDisconnected
		}
		s.epoch = epoch
		m, err := s.outbox.take()
		if m == nil {
			return err
		}
		// The library would send again by itself if nobody answers, but out of order.
		ack, err := s.js.PublishMsgAsync(&nats.Msg{Subject: m.subject, Data: s.stamped(m)}, jetstream.WithMsgID(m.id), jetstream.WithRetryAttempts(0))
		if err != nil {
			s.fail(m, err)
			return err
		}
		s.flight = append(s.flight, sent{m, ack, time.Now().Add(s.cfg.AckWait)})
		s.bytes += m.size()
	}
	return nil
}

// head waits until the oldest message in flight is settled, or there is more to send and room for it.
func (s *sender) head(added <-chan struct{}) error {
	if s.full() {
		added = nil
	}
	f := s.flight[0]
	late := time.NewTimer(time.Until(f.until))
	defer late.Stop()
	var err error
	select {
	case <-added:
		return nil
	case ack := <-f.ack.Ok():
		s.done(f.message)
		if f.message.told != nil {
			s.gaps.stored(f.message.told)
			notify(s.outbox.fresh) // it is in the note no more
		}
		s.acknowledged.Add(1)
		if ack.Duplicate {
			s.duplicates.Add(1)
		}
		s.pause = firstPause
	case err = <-f.ack.Err():
		s.fail(f.message, err)
	case <-late.C:
		err = jetstream.ErrAsyncPublishTimeout
		s.fail(f.message, err)
	case <-s.sending.Done():
		err = errGivenUp
		s.fail(f.message, err)
	}
	s.flight, s.bytes = s.flight[1:], s.bytes-f.message.size()
	return err
}

// done settles a message. If the disk does not take note of that, the message comes again after a restart, and the stream knows it.
func (s *sender) done(m *message) {
	if err := s.outbox.done(m); err != nil {
		slog.Warn("the spool does not take note of what was sent", "error", err)
	}
}

// fail puts a message back, or gives it up if it can never be taken.
func (s *sender) fail(m *message, err error) {
	var refusal *jetstream.APIError
	const exceedsMaximum = 10054 // the stream's own bound of a message's size
	if errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &refusal) && refusal.ErrorCode == exceedsMaximum {
		s.done(m)
		s.gaps.lose(causeRefused, m.from, m.until, m.observations)
		slog.Error("the stream refused a message", "bytes", len(m.data), "observations", m.observations, "error", err)
		return
	}
	s.outbox.back(m)
	s.retries.Add(1)
}

// recover settles what else is in flight, so that what failed is sent again before anything newer, and pauses.
func (s *sender) recover(cause error) {
	for len(s.flight) > 0 {
		_ = s.head(nil) // every failure puts its message back
	}
	if s.sending.Err() != nil {
		return
	}
	if s.pause > firstPause { // a single failure is nothing to tell
		slog.Warn("observations wait: the stream does not take them", "again_in", s.pause, "error", cause)
	}
	wait := time.NewTimer(s.pause)
	defer wait.Stop()
	s.pause = min(2*s.pause, lastPause)
	select {
	case <-wait.C:
	case <-s.status: // connected again
	case <-s.sending.Done():
	}
}
