package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// book is a value of the bucket as it was seen last.
type book[T any] struct {
	bucket   Bucket
	key      string
	value    T
	revision uint64 // 0: there is none
}

// read looks again. Where there is nothing, or of another stream, the value is none.
func (b *book[T]) read(ctx context.Context, none T, of func(*T) bool) error {
	stored, err := b.bucket.Get(ctx, b.key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		b.value, b.revision = none, 0
		return nil
	case err != nil:
		return fmt.Errorf("read %s of the insert journal: %w", b.key, err)
	}
	var v T
	if err := json.Unmarshal(stored.Value(), &v); err != nil {
		return fmt.Errorf("read %s of the insert journal: %w", b.key, err)
	}
	if !of(&v) {
		v = none
	}
	b.value, b.revision = v, stored.Revision()
	return nil
}

// errOther means that somebody else wrote the value since it was read.
var errOther = errors.New("was written by another one")

// write replaces the value, if nobody else did since it was read. If the answer to a write was lost, its repetition finds its own text.
func (b *book[T]) write(ctx context.Context, v T) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s of the insert journal: %w", b.key, err)
	}
	var revision uint64
	if b.revision == 0 {
		revision, err = b.bucket.Create(ctx, b.key, data)
	} else {
		revision, err = b.bucket.Update(ctx, b.key, data, b.revision)
	}
	if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) { // replicated buckets say only the latter of an update
		stored, readErr := b.bucket.Get(ctx, b.key)
		switch {
		case readErr != nil && !errors.Is(readErr, jetstream.ErrKeyNotFound):
			return fmt.Errorf("read %s of the insert journal: %w", b.key, readErr)
		case readErr != nil || string(stored.Value()) != string(data):
			return errOther
		}
		revision, err = stored.Revision(), nil
	}
	if err != nil {
		return fmt.Errorf("write %s of the insert journal: %w", b.key, err)
	}
	b.value, b.revision = v, revision
	return nil
}

// page is a ledger as it was seen last.
type page struct {
	book[ledger]
	created time.Time // of the stream
}

func (g *page) read(ctx context.Context) error {
	return g.book.read(ctx, ledger{Stream: g.created}, func(l *ledger) bool { return l.Stream.Equal(g.created) })
}

// change has f change the ledger until nobody else does at the same time. An error of f ends it without a change.
func (g *page) change(ctx context.Context, f func(*ledger) error) error {
	for {
		next := g.value.clone()
		if err := f(&next); err != nil {
			return err
		}
		err := g.write(ctx, next)
		if !errors.Is(err, errOther) {
			return err
		}
		if err := g.read(ctx); err != nil {
			return err
		}
	}
}
