package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/ambit-nhi/ambit/event"
)

// MaxBytes bounds the stream. What is older than it holds is in the database alone.
const MaxBytes = 128 << 20

// Stream is the configuration of the stream of records. Messages of it cannot be deleted.
func Stream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: event.StreamAudit, Subjects: []string{event.SubjectAudit},
		Description: "who did what", Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage,
		MaxBytes: MaxBytes, DenyDelete: true, DenyPurge: true, Duplicates: 2 * time.Minute,
	}
}

// Archive has the records that the stream does not have any more; the store does.
type Archive interface {
	// InsertAudit keeps records. Repeating it changes nothing.
	InsertAudit(ctx context.Context, records []Record) error
	// LastAudit gives the record with the highest number, or none.
	LastAudit(ctx context.Context) (Record, bool, error)
}

// Log is the end of the chain that grows. It is safe for concurrent use, also by several collectors. Before Run is ready it takes nothing.
type Log struct {
	archive Archive
	now     func() time.Time

	mu sync.Mutex // of this collector's appends: those of others are met by trying again
	js atomic.Pointer[jetstream.JetStream]
}

// New makes a log. It starts nothing.
func New(archive Archive) *Log { return &Log{archive: archive, now: time.Now} }

// Bounds of appending.
const (
	appendTime  = 10 * time.Second
	appendTries = 64 // others may be quicker so often
	idHeader    = "Ambit-Audit-Id"
)

var errStopped = errors.New("the collector is starting or stopping")

// Append writes down that an actor did something, as the next record of the chain. When it returns nil, the record is in the stream.
func (l *Log) Append(ctx context.Context, actor, what, subject string, detail map[string]string) (Record, error) {
	r, err := l.append(ctx, actor, what, subject, detail)
	if err != nil {
		return Record{}, fmt.Errorf("append to the audit trail: %w", err)
	}
	return r, nil
}

func (l *Log) append(ctx context.Context, actor, what, subject string, detail map[string]string) (Record, error) {
	js := l.js.Load()
	if js == nil {
		return Record{}, errStopped
	}
	ctx, cancel := context.WithTimeout(ctx, appendTime)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	id := nuid.Next()
	for range appendTries {
		last, sequence, err := l.head(ctx, *js)
		if err != nil {
			return Record{}, err
		}
		r, err := newRecord(last, l.now(), actor, what, subject, detail)
		if err != nil {
			return Record{}, err
		}
		data, err := json.Marshal(r)
		if err != nil {
			return Record{}, fmt.Errorf("encode a record: %w", err)
		}
		m := nats.NewMsg(event.AuditSubject(what))
		m.Data = data
		m.Header.Set(idHeader, id)
		_, err = (*js).PublishMsg(ctx, m, jetstream.WithExpectStream(event.StreamAudit), jetstream.WithExpectLastSequence(sequence), jetstream.WithRetryAttempts(0))
		if err == nil {
			return r, nil
		}
		var refused *jetstream.APIError
		if errors.As(err, &refused) && refused.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence && refused.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequenceConstant { // the latter is of a replicated stream
			return Record{}, fmt.Errorf("publish: %w", err)
		}
		if ctx.Err() != nil {
			return Record{}, fmt.Errorf("publish: %w", err)
		}
		// Another one was quicker, or there was no answer: then it may be there.
		switch there, found, err := l.written(ctx, *js, sequence+1, id); {
		case err != nil:
			return Record{}, err
		case found:
			return there, nil
		}
	}
	return Record{}, fmt.Errorf("others were quicker %d times", appendTries)
}

// head gives the last record and its sequence in the stream. A stream that was made anew goes on after what the archive has.
func (l *Log) head(ctx context.Context, js jetstream.JetStream) (*Record, uint64, error) {
	stream, err := js.Stream(ctx, event.StreamAudit)
	if err != nil {
		return nil, 0, fmt.Errorf("open the stream %s: %w", event.StreamAudit, err)
	}
	sequence := stream.CachedInfo().State.LastSeq
	if stream.CachedInfo().State.Msgs == 0 {
		r, ok, err := l.archive.LastAudit(ctx)
		if err != nil {
			return nil, 0, err
		}
		if !ok {
			return nil, sequence, nil
		}
		return &r, sequence, nil
	}
	m, err := stream.GetMsg(ctx, sequence)
	if err != nil {
		return nil, 0, fmt.Errorf("read the last record: %w", err)
	}
	var r Record
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return nil, 0, fmt.Errorf("read the last record: %w", err)
	}
	return &r, sequence, nil
}

// written looks for a record that was published with an id at a sequence or after.
func (l *Log) written(ctx context.Context, js jetstream.JetStream, from uint64, id string) (Record, bool, error) {
	stream, err := js.Stream(ctx, event.StreamAudit)
	if err != nil {
		return Record{}, false, fmt.Errorf("open the stream %s: %w", event.StreamAudit, err)
	}
	// It can only be the first one: others after it were expected to follow another.
	m, err := stream.GetMsg(ctx, from)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("read a record: %w", err)
	}
	var r Record
	if m.Header.Get(idHeader) != id {
		return r, false, nil
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return r, false, fmt.Errorf("read a record: %w", err)
	}
	return r, true, nil
}
