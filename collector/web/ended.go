package web

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// EndedName is the bucket of sessions that were logged out, so that no collector takes a copy of their cookies.
const EndedName = "ambit_sessions"

// Bounds of it.
const (
	EndedBytes = 4 << 20
	maxEnded   = 1 << 16 // sessions; the bucket is full before
	followWait = time.Second
)

// EndedBucket is that bucket. A key is a session's id, its value when the session would have ended, in seconds since 1970.
func EndedBucket() jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{Bucket: EndedName, Description: "sessions of pages that were logged out", History: 1, MaxBytes: EndedBytes, TTL: sessionLife}
}

// Ended knows the sessions that were logged out, here or at another collector. It is safe for concurrent use.
type Ended struct {
	now  func() time.Time
	wait time.Duration // for NATS to take what is told

	mu    sync.Mutex
	until map[string]time.Time // by id
	swept time.Time
	kv    jetstream.KeyValue // nil before Run
}

// NewEnded knows of none yet.
func NewEnded() *Ended {
	return &Ended{now: time.Now, wait: 5 * time.Second, until: map[string]time.Time{}}
}

// Run hears of sessions that other collectors end, until ctx ends. It calls ready when it knows all that were ended before. While NATS is away, it knows what
// it knew.
func (e *Ended) Run(ctx context.Context, js jetstream.JetStream, ready func()) error {
	kv, err := js.KeyValue(ctx, EndedName)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", EndedName, err)
	}
	e.mu.Lock()
	e.kv = kv
	e.mu.Unlock()
	ready = sync.OnceFunc(ready)
	for {
		w, err := kv.WatchAll(ctx)
		if err == nil {
			e.follow(ctx, w, ready)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followWait):
		}
	}
}

// follow takes what a watch tells until it ends, or ctx.
func (e *Ended) follow(ctx context.Context, w jetstream.KeyWatcher, ready func()) {
	defer func() { _ = w.Stop() }() // it may have ended
	for {
		select {
		case entry, ok := <-w.Updates():
			switch {
			case !ok:
				return
			case entry == nil:
				ready()
			case entry.Operation() == jetstream.KeyValuePut:
				_ = e.add(entry.Key(), e.endOf(entry.Value())) // more than there may be are not in the bucket
			}
		case <-ctx.Done():
			return
		}
	}
}

// endOf reads a value. What is none holds for as long as any session may.
func (e *Ended) endOf(value []byte) time.Time {
	latest := e.now().Add(sessionLife)
	seconds, err := strconv.ParseInt(string(value), 10, 64)
	if err == nil && seconds < latest.Unix() {
		return time.Unix(seconds, 0)
	}
	return latest
}

var errManyEnded = errors.New("too many sessions were logged out lately")

// add remembers a session until it would have ended.
func (e *Ended) add(id string, until time.Time) error {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.until) >= maxEnded || now.Sub(e.swept) > time.Minute {
		for id, t := range e.until {
			if !now.Before(t) {
				delete(e.until, id)
			}
		}
		e.swept = now
	}
	if _, known := e.until[id]; !known && len(e.until) >= maxEnded {
		return errManyEnded
	}
	e.until[id] = until
	return nil
}

// has says whether a session was ended.
func (e *Ended) has(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ended := e.until[id]
	return ended
}

// end has all collectors refuse a session. An error says that others may still take it.
func (e *Ended) end(ctx context.Context, id string, until time.Time) error {
	if err := e.add(id, until); err != nil {
		return err
	}
	e.mu.Lock()
	kv := e.kv
	e.mu.Unlock()
	if kv == nil {
		return nil // there are no others
	}
	ctx, cancel := context.WithTimeout(ctx, e.wait)
	defer cancel()
	if _, err := kv.Put(ctx, id, []byte(strconv.FormatInt(until.Unix(), 10))); err != nil {
		return fmt.Errorf("tell other collectors that a session was ended: %w", err)
	}
	return nil
}
