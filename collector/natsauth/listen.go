package natsauth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
)

var (
	errStarting = errors.New("it does not listen to NATS servers yet")
	errDenied   = errors.New("the NATS server does not let this collector subscribe to " + Subject + ", so that no agent gets in by its token: give it the rights of deploy/nats/collector.conf")
	errAway     = errors.New("there is no connection to NATS")
)

// Run answers what servers ask through nc until ctx ends. It calls ready when the server has taken the subscription, and returns an error where it does not.
// What the server takes away later, Run asks for again until it has it; [Service.Ready] tells of it. nc needs [nats.PermissionErrOnSubscribe], or refusals
// would not be heard.
func (s *Service) Run(ctx context.Context, nc *nats.Conn, ready func()) error {
	if !nc.Opts.PermissionErrOnSubscribe {
		return errors.New("answer NATS servers: the connection does not tell of refused subscriptions")
	}
	asked := make(chan request, waiting)
	sub, err := s.subscribe(nc, asked)
	if err != nil {
		return fmt.Errorf("answer NATS servers: %w", err)
	}
	s.heard.set(nc, nil)
	defer s.heard.set(nil, errStarting)
	ready()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.listen(ctx, nc, sub, asked) })
	for range workers {
		group.Go(func() error {
			s.work(ctx, asked)
			return nil
		})
	}
	return group.Wait()
}

// subscribe gives a subscription that the server has taken. A server refuses one before it answers the flush that follows, and the client keeps that for who
// asks for a message next.
func (s *Service) subscribe(nc *nats.Conn, asked chan<- request) (*nats.Subscription, error) {
	sub, err := nc.QueueSubscribeSync(Subject, queue)
	if err != nil {
		return nil, err
	}
	if err = nc.FlushTimeout(reviewFor); err == nil {
		err = s.next(sub, time.Nanosecond, asked)
	}
	if err != nil {
		_ = sub.Unsubscribe() // the connection may be closed
		return nil, err
	}
	return sub, nil
}

// next waits for what a server asks, and for so long at most. An error says that the subscription is none any more.
func (s *Service) next(sub *nats.Subscription, wait time.Duration, asked chan<- request) error {
	m, err := sub.NextMsg(wait)
	switch {
	case err == nil:
		select {
		case asked <- request{m, time.Now()}:
		default:
			s.counts.add("too-many") // the server waits in vain, and refuses; the agent comes again
		}
	case errors.Is(err, nats.ErrSlowConsumer): // what did not fit is dropped
		s.counts.add("too-many")
	case errors.Is(err, nats.ErrPermissionViolation):
		return errDenied
	case !errors.Is(err, nats.ErrTimeout):
		return err
	}
	return nil
}

// listen takes what servers ask until ctx ends, or the connection.
func (s *Service) listen(ctx context.Context, nc *nats.Conn, sub *nats.Subscription, asked chan<- request) error {
	for {
		err := s.take(ctx, sub, asked)
		for ctx.Err() == nil && err != nil {
			if nc.IsClosed() {
				return fmt.Errorf("answer NATS servers: %w", err)
			}
			s.heard.set(nc, err)
			s.cfg.Logger.Error("NATS servers cannot ask who an agent is", "error", err)
			select {
			case <-time.After(s.again):
			case <-ctx.Done():
				return nil
			}
			sub, err = s.subscribe(nc, asked)
		}
		if ctx.Err() != nil {
			if sub != nil {
				_ = sub.Unsubscribe() // the connection may be closed
			}
			return nil
		}
		s.heard.set(nc, nil)
	}
}

// take takes what servers ask until ctx ends or there is nothing more to take.
func (s *Service) take(ctx context.Context, sub *nats.Subscription, asked chan<- request) error {
	stop := context.AfterFunc(ctx, func() { _ = sub.Unsubscribe() }) // which ends the wait
	defer stop()
	for {
		if err := s.next(sub, time.Minute, asked); err != nil {
			_ = sub.Unsubscribe()
			return err
		}
	}
}

// Ready says why servers ask in vain; nil if they are heard.
func (s *Service) Ready() error { return s.heard.get() }

// heard is whether servers are. It is safe for concurrent use.
type heard struct {
	mu  sync.Mutex
	nc  *nats.Conn // nil while there is none
	err error
}

func (h *heard) set(nc *nats.Conn, err error) {
	h.mu.Lock()
	h.nc, h.err = nc, err
	h.mu.Unlock()
}

func (h *heard) get() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.nc == nil:
		return errStarting
	case h.err == nil && !h.nc.IsConnected():
		return errAway
	}
	return h.err
}
