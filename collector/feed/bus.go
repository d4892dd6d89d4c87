package feed

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/lease"
)

// Stream of what feeds publish on Ambit's own server, and of what receivers refuse.
const (
	StreamName    = "AMBIT_FEEDS"
	Subjects      = "ambit.v1.feed.>"
	letterSubject = "ambit.v1.feed.dead." // and the name of the feed
	BucketName    = "ambit_feeds"

	// MaxBytes bounds what feeds keep on the server: their stream, and their bucket.
	MaxBytes = streamBytes + bucketBytes

	streamBytes = 256 << 20
	bucketBytes = 128 << 20 // some 100 feeds with full ledgers
)

// Stream is the configuration of the stream.
func Stream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: StreamName, Subjects: []string{Subjects},
		Description: "what feeds publish, and what their receivers refuse", Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage,
		MaxBytes: streamBytes, MaxAge: 30 * 24 * time.Hour, Duplicates: time.Hour,
	}
}

// Bucket is the configuration of the bucket in which stands how far feeds are, and who works them.
func Bucket() jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{Bucket: BucketName, Description: "how far feeds are, and who works them", History: 1, MaxBytes: bucketBytes, LimitMarkerTTL: lease.MarkerTTL}
}
