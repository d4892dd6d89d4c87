package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// lockPrefix begins the keys of locks.
const lockPrefix = "lock."

// Lock keeps something from being done by several at once, such as a change of the database's tables. As a lease it is for liveness: what it
// guards must bear to be done twice. It is safe for concurrent use.
type Lock struct {
	JetStream jetstream.JetStream
	Bucket    jetstream.KeyValue // as that of Config
	Name      string             // of what is locked: letters, digits, - and _
	Member    string             // who locks, for people
	TTL       time.Duration      // of a holder that is not heard of, in whole seconds
	Log       *slog.Logger
}

// Lock waits until nobody else has the lock. The context that it returns ends when the lock is lost, at the latest when another can have it,
// and with unlock, which the caller must call.
func (l *Lock) Lock(ctx context.Context) (held context.Context, unlock func(), err error) {
	key, told := lockPrefix+l.Name, false
	tick := time.NewTicker(min(l.TTL/4, 500*time.Millisecond))
	defer tick.Stop()
	for {
		sent := time.Now()
		revision, err := l.Bucket.Create(ctx, key, []byte(l.Member), jetstream.KeyTTL(l.TTL))
		if err == nil {
			return l.keep(ctx, key, life{ttl: l.TTL}, sent, revision)
		}
		if !errors.Is(err, jetstream.ErrKeyExists) {
			return nil, nil, fmt.Errorf("lock %s in the bucket %s: %w", l.Name, l.Bucket.Bucket(), err)
		}
		if !told {
			told = true
			l.Log.Info("waiting for another to unlock", "lock", l.Name)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("wait for the lock %s: %w", l.Name, ctx.Err())
		}
	}
}

// keep renews the lock until unlock, or until that fails for too long.
func (l *Lock) keep(ctx context.Context, key string, life life, sent time.Time, revision uint64) (context.Context, func(), error) {
	held, end := context.WithCancelCause(ctx)
	life.renewed(sent, revision)
	timer := time.AfterFunc(time.Until(life.until), func() { end(errOver) })
	unlocking, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(l.TTL / 4)
		defer tick.Stop()
		for {
			select {
			case <-unlocking:
				return
			case <-held.Done():
				return
			case <-tick.C:
			}
			sent := time.Now()
			revision, err := l.renew(held, key, life.revision)
			if err != nil {
				l.Log.Debug("renew a lock", "lock", l.Name, "error", err)
				continue
			}
			life.renewed(sent, revision)
			if timer.Stop() { // else it is over
				timer.Reset(time.Until(life.until))
			}
		}
	}()
	return held, func() {
		close(unlocking)
		<-done
		timer.Stop()
		if held.Err() == nil || ctx.Err() != nil { // else somebody else may have it
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.TTL/2)
			defer cancel()
			if err := l.Bucket.Delete(ctx, key, jetstream.LastRevision(life.revision)); err != nil {
				l.Log.Debug("unlock; others wait until it is over", "lock", l.Name, "error", err)
			}
		}
		end(nil)
	}, nil
}

func (l *Lock) renew(ctx context.Context, key string, last uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.TTL/4)
	defer cancel()
	m := nats.NewMsg("$KV." + l.Bucket.Bucket() + "." + key)
	m.Data = []byte(l.Member)
	ack, err := l.JetStream.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(last), jetstream.WithMsgTTL(l.TTL), jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}
