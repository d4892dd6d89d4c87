package collector

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/lease"
)

// SchemaLock is had by one of the collectors that share a bus, while it changes the tables of the database that they share. It is a lock of the
// store.
type SchemaLock struct {
	Bus *Bus
	Log *slog.Logger
}

// Lock waits until no other collector has the lock. The context that it gives ends when the lock is lost.
func (l SchemaLock) Lock(ctx context.Context) (held context.Context, unlock func(), err error) {
	return lockBus(ctx, l.Bus, "schema", l.Log)
}

// ScopeLock is had by one of the collectors that share a bus, while it applies or withdraws a scope: two that replaced the same version would both be told
// that theirs holds. It is a lock of the store.
type ScopeLock struct {
	Bus *Bus
	Log *slog.Logger
}

// Lock waits until no other collector has the lock. The context that it gives ends when the lock is lost.
func (l ScopeLock) Lock(ctx context.Context) (held context.Context, unlock func(), err error) {
	return lockBus(ctx, l.Bus, "scopes", l.Log)
}

// lockBus waits until no other collector of a bus has the lock of a name.
func lockBus(ctx context.Context, bus *Bus, name string, log *slog.Logger) (held context.Context, unlock func(), err error) {
	nc, err := bus.Connect("ambit " + name)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			nc.Close()
		}
	}()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, nil, fmt.Errorf("use JetStream: %w", err)
	}
	bucket, err := js.KeyValue(ctx, leasesBucket)
	if err != nil {
		return nil, nil, fmt.Errorf("open the bucket %s: %w", leasesBucket, err)
	}
	host, _ := os.Hostname() // only for people who look into the bucket
	lock := lease.Lock{JetStream: js, Bucket: bucket, Name: name, Member: fmt.Sprintf("%s-%d", host, os.Getpid()), TTL: 15 * time.Second, Log: log}
	held, release, err := lock.Lock(ctx)
	if err != nil {
		return nil, nil, err
	}
	return held, func() {
		release()
		nc.Close()
	}, nil
}
