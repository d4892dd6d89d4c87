package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// formerOwner is whose ledger the journal of one collector for the whole stream becomes.
const formerOwner = "former"

// former is the journal as it was then: one entry, by the stream's name.
type former struct {
	Stream time.Time `json:"stream"`
	Done   uint64    `json:"done"`
	Plan   *struct {
		First uint64   `json:"first"`
		Last  uint64   `json:"last"`
		Token string   `json:"token"`
		Skip  []uint64 `json:"skip"`
		Parts []Part   `json:"parts"`
	} `json:"plan"`
}

// Migrate makes entries of partitions of the one of the whole stream, if there is that. Several may do so at once. Partition number partitions
// is that of what has no rows.
func (j *Journal) Migrate(ctx context.Context, partitions int) error {
	stored, err := j.bucket.Get(ctx, j.stream)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("read the insert journal: %w", err)
	}
	var f former
	if err := json.Unmarshal(stored.Value(), &f); err != nil {
		return fmt.Errorf("read the insert journal: %w", err)
	}
	if f.Stream.Equal(j.created) {
		if err := j.migrate(ctx, &f, partitions); err != nil {
			return err
		}
	}
	err = j.bucket.Remove(ctx, j.stream, stored.Revision())
	if err != nil {
		if _, readErr := j.bucket.Get(ctx, j.stream); errors.Is(readErr, jetstream.ErrKeyNotFound) {
			return nil // another one was faster
		}
		return fmt.Errorf("replace the insert journal: %w; if a collector of an earlier version works the stream, stop it first", err)
	}
	return nil
}

func (j *Journal) migrate(ctx context.Context, f *former, partitions int) error {
	l := j.page(formerOwner)
	next := ledger{Stream: j.created, Done: map[int]uint64{}}
	for p := range partitions + 1 {
		next.Done[p] = f.Done
	}
	if f.Plan != nil {
		next.Plan = &Plan{Token: f.Plan.Token, Skip: f.Plan.Skip, Parts: f.Plan.Parts, Spans: map[int]Span{}}
		for p := range partitions {
			next.Plan.Spans[p] = Span{First: f.Plan.First, Last: f.Plan.Last}
		}
	}
	// What is there already was made by another one, which may have gone on with it.
	if err := l.write(ctx, next); err != nil && !errors.Is(err, errOther) {
		return err
	}
	for p := range partitions + 1 {
		err := j.entry(p).write(ctx, entry{Stream: j.created, Owner: formerOwner, Done: f.Done})
		if err != nil && !errors.Is(err, errOther) {
			return err
		}
	}
	return nil
}
