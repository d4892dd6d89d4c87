package collector

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/collector/deadletter"
	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/feed"
	"github.com/ambit-nhi/ambit/collector/lease"
	"github.com/ambit-nhi/ambit/collector/web"
	"github.com/ambit-nhi/ambit/event"
)

// Bounds of the small streams.
const (
	findingsBytes  = 256 << 20
	insertsBytes   = 16 << 20
	windowsBytes   = 64 << 20 // of 10,000 nodes and 16 partitions about half
	leasesBytes    = 16 << 20
	decisionsBytes = 64 << 20 // more than 10,000 that hold at a time
	requestsBytes  = 16 << 20
	acksBytes      = 256 << 20
	statesBytes    = 512 << 20 // compressed, twice while one is replaced
	smallBytes     = findingsBytes + insertsBytes + windowsBytes + leasesBytes + decisionsBytes + requestsBytes + acksBytes + statesBytes + deadletter.MaxBytes + audit.MaxBytes + feed.MaxBytes + web.MaxBytes + web.EndedBytes
)

// Key-value buckets.
const (
	insertsBucket = "ambit_inserts" // the insert journal
	windowsBucket = "ambit_windows" // what came of agents
	leasesBucket  = "ambit_leases"  // who works which partition
	statesBucket  = "ambit_states"  // what detectors know
)

// streams are what there must be.
func (c *BusConfig) streams() []jetstream.StreamConfig {
	streams := []jetstream.StreamConfig{
		{
			Name: event.StreamObservations, Subjects: []string{event.SubjectObservations, event.SubjectAgents, event.SubjectVerdicts, event.SubjectDeclared, event.SubjectShared},
			Description: "what agents saw", Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage,
			MaxBytes: c.MaxBytes, MaxAge: c.MaxAge, Duplicates: min(5*time.Minute, c.MaxAge),
		},
		{
			Name: event.StreamFindings, Subjects: []string{event.SubjectFindings},
			Description: "what humans should see", Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage,
			MaxBytes: findingsBytes, MaxAge: 30 * 24 * time.Hour, Duplicates: time.Hour,
		},
		{
			Name: event.StreamAcks, Subjects: []string{event.SubjectAcks},
			Description: "what nodes did about decisions", Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage,
			MaxBytes: acksBytes, MaxAge: 400 * 24 * time.Hour,
		},
		deadletter.Stream(),
		audit.Stream(),
		feed.Stream(),
	}
	for i := range streams {
		streams[i].Replicas = max(c.Replicas, 1)
	}
	return streams
}

func (c *BusConfig) buckets() []jetstream.KeyValueConfig {
	buckets := []jetstream.KeyValueConfig{
		{Bucket: insertsBucket, Description: "which messages are in the store", History: 1, MaxBytes: insertsBytes},
		{Bucket: statesBucket, Description: "what detectors know", History: 1, MaxBytes: statesBytes, TTL: statesAge},
		{Bucket: windowsBucket, Description: "which messages came of each agent", History: 1, MaxBytes: windowsBytes},
		{Bucket: leasesBucket, Description: "which collector works which partition", History: 1, MaxBytes: leasesBytes, LimitMarkerTTL: lease.MarkerTTL},
		{
			// Agents hear of decisions by the copies: these need no consumer, which an agent could use to have messages sent anywhere.
			Bucket: event.BucketDecisions, Description: "what is denied", History: 5, MaxBytes: decisionsBytes, LimitMarkerTTL: decision.MarkerTTL,
			RePublish: &jetstream.RePublish{Source: "$KV." + event.BucketDecisions + ".>", Destination: event.SubjectDecisions},
		},
	}
	buckets = append(buckets, jetstream.KeyValueConfig{
		Bucket: decision.RequestsBucket, Description: "decisions that wait for approval", History: 1, MaxBytes: requestsBytes, LimitMarkerTTL: decision.MarkerTTL,
	})
	buckets = append(buckets, feed.Bucket(), web.Bucket(), web.EndedBucket())
	for i := range buckets {
		buckets[i].Storage, buckets[i].Replicas = jetstream.FileStorage, max(c.Replicas, 1)
	}
	return buckets
}

// streamTries is how often making streams is tried: a cluster that has just begun, or is asked by two at once, may leave one without an answer.
const streamTries = 4

// makeStreams makes what is missing, through a connection of its own.
func (b *Bus) makeStreams(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	denied := make(chan error, 1)
	nc, err := b.connect("ambit set-up", func(err error) {
		b.cfg.Logger.Debug("NATS", "connection", "ambit set-up", "error", err)
		if errors.Is(err, nats.ErrPermissionViolation) {
			select {
			case denied <- err:
				stop() // no answer comes
			default:
			}
		}
	})
	if err != nil {
		return err
	}
	defer nc.Close()
	var wait retry
	for n := 1; ; n++ {
		err := ensureStreams(ctx, nc, b.cfg, b.server != nil)
		select {
		case not := <-denied: // the rest follows from it
			return fmt.Errorf("make streams and buckets at %s: %w; give this user the rights of a collector, see deploy/nats", b.Where(), not)
		default:
		}
		if err == nil || !temporary(err) || n == streamTries || !wait.sleep(ctx) {
			return err
		}
	}
}

// temporary says whether JetStream may answer otherwise soon. A stream that another collector has just made may not be everywhere yet.
func temporary(err error) bool {
	var refused *jetstream.APIError
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) ||
		errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrBucketNotFound) ||
		errors.As(err, &refused) && refused.Code == http.StatusServiceUnavailable
}

// ensureStreams makes what is missing. The limits of an outside server's streams belong to its operator, once they exist.
func ensureStreams(ctx context.Context, nc *nats.Conn, cfg BusConfig, own bool) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	for _, want := range cfg.streams() {
		s, err := js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			s, err = js.CreateStream(ctx, want)
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another collector was quicker
				s, err = js.Stream(ctx, want.Name)
			}
		} else if err == nil && own {
			s, err = js.UpdateStream(ctx, want)
		}
		if err != nil {
			return fmt.Errorf("make the stream %s: %w; %s", want.Name, err, streamRemedy(err, cfg.Replicas))
		}
		if err := cfg.compare(s.CachedInfo().Config, want.Subjects); err != nil {
			return err
		}
	}
	for _, want := range cfg.buckets() {
		kv, err := js.KeyValue(ctx, want.Bucket)
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			kv, err = js.CreateKeyValue(ctx, want)
			if errors.Is(err, jetstream.ErrBucketExists) {
				kv, err = js.KeyValue(ctx, want.Bucket)
			}
		} else if err == nil && own {
			kv, err = js.UpdateKeyValue(ctx, want)
		}
		if err != nil {
			return fmt.Errorf("make the bucket %s: %w; %s", want.Bucket, err, streamRemedy(err, cfg.Replicas))
		}
		status, err := kv.Status(ctx)
		if err != nil {
			return fmt.Errorf("open the bucket %s: %w", want.Bucket, err)
		}
		if bucket, ok := status.(*jetstream.KeyValueBucketStatus); ok {
			if err := cfg.compare(bucket.StreamInfo().Config, nil); err != nil {
				return err
			}
		}
		if want.LimitMarkerTTL > 0 && status.LimitMarkerTTL() == 0 {
			return fmt.Errorf("keys of the bucket %s cannot have a TTL of their own: give it a limit marker TTL of %s, or delete it, and it is made anew", want.Bucket, want.LimitMarkerTTL)
		}
	}
	if own { // who had leases is gone with the server
		s, err := js.Stream(ctx, "KV_"+leasesBucket)
		if err == nil {
			err = errors.Join(s.Purge(ctx, jetstream.WithPurgeSubject("$KV."+leasesBucket+".session.>")), s.Purge(ctx, jetstream.WithPurgeSubject("$KV."+leasesBucket+".partition.>")))
		}
		if err != nil {
			return fmt.Errorf("empty the bucket %s: %w", leasesBucket, err)
		}
	}
	return nil
}

// compare says what an operator should change at a stream that was there.
func (c *BusConfig) compare(have jetstream.StreamConfig, subjects []string) error {
	missing := slices.DeleteFunc(slices.Clone(subjects), func(subject string) bool { return slices.Contains(have.Subjects, subject) })
	if len(missing) > 0 {
		return fmt.Errorf("the stream %s does not take %s: give it these subjects, with `nats stream edit %s --subjects %s`",
			have.Name, strings.Join(missing, ","), have.Name, strings.Join(subjects, ","))
	}
	if have.Replicas < c.Replicas {
		c.Logger.Warn("a stream has fewer replicas than nats.replicas says: change that with `nats stream edit NAME --replicas`",
			"stream", have.Name, "replicas", have.Replicas, "wanted", c.Replicas)
	}
	return nil
}

func streamRemedy(err error, replicas int) string {
	var refused *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return "switch JetStream on for this account of the NATS servers"
	case errors.As(err, &refused) && replicas > 1:
		return fmt.Sprintf("does the NATS cluster have %d servers, as nats.replicas wants, with space for it?", replicas)
	case errors.As(err, &refused):
		return "does the account have space for it?"
	}
	return "do the NATS servers have a leader, and is this user allowed to, see deploy/nats?"
}
