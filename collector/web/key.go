package web

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// BucketName holds what collectors share for pages: the key of sessions, so that a browser may talk to any of them.
const BucketName = "ambit_web"

// MaxBytes bounds the bucket.
const MaxBytes = 1 << 20

const keyName = "session-key"

// Bucket is the key-value bucket of pages.
func Bucket() jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{Bucket: BucketName, Description: "what collectors share for pages", History: 1, MaxBytes: MaxBytes}
}

// SharedKey gives the key of sessions, and makes it where there is none yet. Deleting it from the bucket ends all sessions when collectors start again.
func SharedKey(ctx context.Context, js jetstream.JetStream) ([]byte, error) {
	kv, err := js.KeyValue(ctx, BucketName)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", BucketName, err)
	}
	key := make([]byte, 32)
	rand.Read(key) // never fails
	_, err = kv.Create(ctx, keyName, key)
	switch {
	case err == nil:
		return key, nil
	case !errors.Is(err, jetstream.ErrKeyExists):
		return nil, fmt.Errorf("keep the key of sessions: %w", err)
	}
	held, err := kv.Get(ctx, keyName)
	if err != nil {
		return nil, fmt.Errorf("read the key of sessions: %w", err)
	}
	if len(held.Value()) != len(key) {
		return nil, fmt.Errorf("read the key of sessions: %s in bucket %s holds %d bytes: remove it", keyName, BucketName, len(held.Value()))
	}
	return held.Value(), nil
}
