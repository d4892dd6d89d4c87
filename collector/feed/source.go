package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

// source is where the records of a kind come from.
type source struct {
	stream  string
	subject string
	ahead   int  // messages that are fetched at once
	dense   bool // nothing leaves the stream but by its limits: a sequence that is missing was lost
	// decode gives the records of a message. An error means that the message is set aside.
	decode func(m *message) ([]*Record, error)
}

var sources = map[Kind]source{
	KindFinding:     {event.StreamFindings, event.SubjectFindings, 256, true, decodeFinding},
	KindObservation: {event.StreamObservations, event.SubjectObservations, 8, false, decodeBatch},
	KindDecision:    {"KV_" + event.BucketDecisions, "$KV." + event.BucketDecisions + ".>", 64, false, decodeDecision},
}

// message is one message of a stream.
type message struct {
	jetstream.Msg
	sequence uint64
	stored   time.Time
	pending  uint64 // how many are behind it
}

func decodeFinding(m *message) ([]*Record, error) {
	var f event.Finding
	if err := json.Unmarshal(m.Data(), &f); err != nil {
		return nil, fmt.Errorf("decode a finding: %w", err)
	}
	if f.ID == "" {
		return nil, errors.New("decode a finding: it has no id")
	}
	return []*Record{{Finding: &f, Time: m.stored, UID: f.ID}}, nil
}

func decodeBatch(m *message) ([]*Record, error) {
	b, err := event.DecodeBatch(m.Data())
	if err != nil {
		return nil, fmt.Errorf("decode observations: %w", err)
	}
	var out []*Record
	for o := range b.Observations() {
		seen := *o
		if seen.Node == "" {
			seen.Node = b.Node
		}
		out = append(out, &Record{Observation: &seen, Time: m.stored, UID: "observation-" + strconv.FormatUint(m.sequence, 10) + "-" + strconv.Itoa(len(out))})
	}
	return out, nil
}

func decodeDecision(m *message) ([]*Record, error) {
	if m.Headers().Get("KV-Operation") != "" || m.Headers().Get("Nats-Marker-Reason") != "" || len(m.Data()) == 0 { // what is deleted is not lifted
		return nil, nil
	}
	d, err := event.DecodeDecision(m.Data())
	if err != nil {
		return nil, err
	}
	return []*Record{{Decision: d, Time: m.stored, UID: "decision-" + d.ID}}, nil
}

const (
	fetchWait = 20 * time.Second
	heartbeat = time.Second
	ackWait   = 30 * time.Minute // a receiver may be away for long
)

var errGap = errors.New("a delivery is missing")

// reader gives the messages of a lane in their order, each once, from the one after taken. The bucket knows where to begin, so the durable
// consumer is made anew at each start: what was not acknowledged comes again at once and in order. Its acknowledgements show how far the feed is.
type reader struct {
	js    jetstream.JetStream
	lane  *lane
	taken uint64
}

func consumerName(lane string) string { return "ambit-feed-" + lane }

// run sends messages to out until ctx ends. Whatever befalls the consumer, it goes on behind the last message that it gave out.
func (r *reader) run(ctx context.Context, out chan<- message) error {
	defer close(out)
	var wait backoff
	for ctx.Err() == nil {
		before := r.taken
		err := r.follow(ctx, out)
		if ctx.Err() != nil {
			break
		}
		if r.taken > before {
			wait = backoff{}
		}
		r.lane.log.Warn("reading the stream was interrupted, it goes on", "after", r.taken, "error", err)
		select {
		case <-time.After(wait.next(0)):
		case <-ctx.Done():
		}
	}
	return nil
}

func (r *reader) follow(ctx context.Context, out chan<- message) error {
	source := sources[r.lane.kind]
	name := consumerName(r.lane.name)
	err := r.js.DeleteConsumer(ctx, source.stream, name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("delete the old consumer: %w", err)
	}
	consumer, err := r.js.CreateConsumer(ctx, source.stream, jetstream.ConsumerConfig{
		Durable: name, Description: "feed " + r.lane.cfg.Name + " of Ambit", FilterSubject: source.subject,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.taken + 1,
		AckPolicy: jetstream.AckAllPolicy, AckWait: ackWait, MaxAckPending: -1, // the queue bounds it
		MemoryStorage: true,
	})
	if err != nil {
		return fmt.Errorf("create the consumer: %w", err)
	}
	delivered := uint64(0)
	for ctx.Err() == nil {
		if err := r.fetch(ctx, consumer, source, &delivered, out); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// fetch asks for messages once, and takes what comes. While nobody takes them, none are asked for.
func (r *reader) fetch(ctx context.Context, consumer jetstream.Consumer, source source, delivered *uint64, out chan<- message) error {
	wait, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	batch, err := consumer.Fetch(source.ahead, jetstream.FetchContext(wait), jetstream.FetchHeartbeat(heartbeat))
	if err != nil {
		return fmt.Errorf("read %s: %w", source.stream, err)
	}
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read %s: %w", source.stream, err)
		}
		if *delivered++; meta.Sequence.Consumer != *delivered {
			return errGap
		}
		if meta.Sequence.Stream <= r.taken { // delivered again after ackWait
			continue
		}
		select {
		case out <- message{m, meta.Sequence.Stream, meta.Timestamp, meta.NumPending}:
			r.taken = meta.Sequence.Stream
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("read %s: %w", source.stream, err)
	}
	return nil
}
