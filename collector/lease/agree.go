package lease

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
)

// Agree makes sure that all collectors count the same partitions: the first one's number holds.
func Agree(ctx context.Context, bucket jetstream.KeyValue, partitions int) error {
	want := strconv.Itoa(partitions)
	_, err := bucket.Create(ctx, partitionsKey, []byte(want))
	if err == nil {
		return nil
	}
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return fmt.Errorf("write the number of partitions to the bucket %s: %w", bucket.Bucket(), err)
	}
	entry, err := bucket.Get(ctx, partitionsKey)
	if err != nil {
		return fmt.Errorf("read the number of partitions from the bucket %s: %w", bucket.Bucket(), err)
	}
	if have := string(entry.Value()); have != want {
		return fmt.Errorf("partitions is %s here and %s in the bucket %s, which the first collector wrote: set it to %s here and at all agents",
			want, have, bucket.Bucket(), have)
	}
	return nil
}
