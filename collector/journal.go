package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// plan is an insert that is about to happen: all messages from First to Last of the stream, in their order.
type plan struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	Token string `json:"token"` // the same token with the same rows counts once
	// Messages that are left out: they came before, or the store refuses them.
	Skip []uint64 `json:"skip,omitempty"`
	// What is inserted instead of the whole, because the store refused that; nil is the whole.
	Parts []part `json:"parts,omitempty"`
}

// entry is what the journal holds.
type entry struct {
	Stream time.Time `json:"stream"` // when the stream was made: sequences of another one mean nothing
	Done   uint64    `json:"done"`   // all messages up to here are in the store or were refused
	Plan   *plan     `json:"plan,omitempty"`
}

// ErrTaken means that another collector works the same stream.
var ErrTaken = errors.New("another collector works this stream")

// journal remembers in JetStream which messages are in the store, so that an insert that was cut off is repeated with the same rows and the
// same token. It is for one goroutine.
type journal struct {
	kv       jetstream.KeyValue
	key      string
	entry    entry
	revision uint64
}

// openJournal reads the journal of a stream.
func openJournal(ctx context.Context, js jetstream.JetStream, stream *jetstream.StreamInfo) (*journal, error) {
	kv, err := js.KeyValue(ctx, insertsBucket)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", insertsBucket, err)
	}
	j := &journal{kv: kv, key: stream.Config.Name, entry: entry{Stream: stream.Created.UTC()}}
	stored, err := kv.Get(ctx, j.key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return j, nil
	case err != nil:
		return nil, fmt.Errorf("read the insert journal: %w", err)
	}
	j.revision = stored.Revision()
	var e entry
	if err := json.Unmarshal(stored.Value(), &e); err != nil {
		return nil, fmt.Errorf("read the insert journal: %w", err)
	}
	if e.Stream.Equal(j.entry.Stream) {
		j.entry = e
	}
	return j, nil
}

// newPlan makes a plan with a token of its own.
func newPlan(first, last uint64) plan { return plan{First: first, Last: last, Token: nuid.Next()} }

// begin writes down what will be inserted. It may be repeated with the same plan.
func (j *journal) begin(ctx context.Context, p plan) error {
	next := j.entry
	next.Plan = &p
	return j.write(ctx, next)
}

// done writes down that all messages up to last are settled. It may be repeated.
func (j *journal) done(ctx context.Context, last uint64) error {
	next := j.entry
	next.Done, next.Plan = last, nil
	return j.write(ctx, next)
}

// write replaces the entry only if nobody else did since. If the answer to a write was lost, its repetition finds its own text.
func (j *journal) write(ctx context.Context, next entry) error {
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode the insert journal: %w", err)
	}
	revision, err := j.kv.Update(ctx, j.key, data, j.revision)
	if errors.Is(err, jetstream.ErrKeyExists) {
		stored, readErr := j.kv.Get(ctx, j.key)
		switch {
		case readErr != nil:
			return fmt.Errorf("read the insert journal: %w", readErr)
		case string(stored.Value()) != string(data):
			return ErrTaken
		}
		revision, err = stored.Revision(), nil
	}
	if err != nil {
		return fmt.Errorf("write the insert journal: %w", err)
	}
	j.entry, j.revision = next, revision
	return nil
}
