package collector

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
)

// Not only observations come through the stream to the judge of a partition, but all that changes what it says: so a replay comes out the same.

const (
	verdictPrefix  = "ambit.v1.verdict."
	declaredPrefix = "ambit.v1.declare."
	sharedPrefix   = "ambit.v1.share."
)

// shareInterval is how long what other partitions must know may wait while there is more to judge.
const shareInterval = time.Second

// declarations are what is said of identities of one partition.
type declarations struct {
	Declared []declared    `json:"declared,omitempty"`
	Scopes   []event.Scope `json:"scopes,omitempty"`
}

type declared struct {
	Identity event.Identity `json:"identity"`
	Created  time.Time      `json:"created,omitzero"`
	Gone     time.Time      `json:"gone,omitzero"`
	Owner    string         `json:"owner,omitempty"`
	Version  uint64         `json:"version"`
}

// judgedSubjects are those that the judge of a partition reads.
func judgedSubjects(partition int) []string {
	return []string{
		subject(partition), "ambit.v1.agent.*", event.VerdictSubject(partition), event.DeclaredSubject(partition), sharedPrefix + "*",
	}
}

// takeNote takes a message that is neither of observations nor of an agent. It says false where it is one of these.
func (w *worker) takeNote(ctx context.Context, m message) (taken bool, err error) {
	var do func(*worker, message) *refusal
	switch subject := m.Subject(); {
	case strings.HasPrefix(subject, verdictPrefix):
		do = (*worker).takeVerdict
	case strings.HasPrefix(subject, declaredPrefix):
		do = (*worker).takeDeclarations
	case strings.HasPrefix(subject, sharedPrefix):
		do = (*worker).takeShared
	default:
		return false, nil
	}
	if m.sequence <= w.around {
		return true, nil
	}
	if r := do(w, m); r != nil {
		w.refuse(ctx, m, r)
		return true, nil
	}
	return true, w.tell(ctx, m.stored)
}

func (w *worker) takeVerdict(m message) *refusal {
	var v event.Verdict
	if err := json.Unmarshal(m.Data(), &v); err != nil {
		return &refusal{causeMalformed, fmt.Errorf("decode a verdict: %w", err)}
	}
	if err := v.Validate(); err != nil {
		return &refusal{causeMalformed, err}
	}
	if p := event.Partition(v.Identity, w.cfg.Partitions); p != w.partition {
		return &refusal{causePartition, fmt.Errorf("the verdict about %s is of partition %d", v.Identity, p)}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = w.detector.Judge(&v, w.told)
	w.metrics.received.WithLabelValues("verdict").Inc()
	return nil
}

func (w *worker) takeDeclarations(m message) *refusal {
	var all declarations
	if err := json.Unmarshal(m.Data(), &all); err != nil {
		return &refusal{causeMalformed, fmt.Errorf("decode declarations: %w", err)}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range all.Declared {
		if event.Partition(d.Identity, w.cfg.Partitions) == w.partition {
			w.detector.DeclareAs(d.Identity, detector.Declared{Created: d.Created, Gone: d.Gone, Owner: d.Owner, Version: d.Version})
		}
	}
	for i := range all.Scopes {
		if event.Partition(all.Scopes[i].Identity, w.cfg.Partitions) == w.partition {
			w.scope(&all.Scopes[i])
		}
	}
	w.metrics.received.WithLabelValues("declarations").Inc()
	return nil
}

func (w *worker) takeShared(m message) *refusal {
	from, err := strconv.Atoi(strings.TrimPrefix(m.Subject(), sharedPrefix))
	if err == nil && from == w.partition {
		return nil
	}
	if err == nil {
		w.mu.Lock()
		err = w.detector.Hear(from, m.Data())
		w.mu.Unlock()
	}
	if err == nil {
		w.metrics.received.WithLabelValues("shared").Inc()
		return nil
	}
	if w.partition != (from+1)%w.cfg.Partitions { // all read it, one says so
		return nil
	}
	return &refusal{causeMalformed, err}
}

// share tells the detectors of other partitions what they must know. It is the judge's.
func (w *worker) share(ctx context.Context, now bool) error {
	if !now && time.Since(w.sharedAt) < shareInterval {
		return nil
	}
	w.sharedAt = time.Now()
	for {
		if w.unshared == nil {
			w.mu.Lock()
			data, err := w.detector.Notes()
			w.mu.Unlock()
			if err != nil {
				return err
			}
			if data == nil {
				return nil
			}
			w.unshared = data
		}
		if err := w.try(ctx, w.name, "share with other partitions", func() error {
			return w.publishOnce(ctx, event.SharedSubject(w.partition), w.unshared)
		}); err != nil {
			return err
		}
		w.metrics.shared.Inc()
		w.unshared = nil
	}
}

// publishOnce publishes what may be published again: then it is known by its content.
func (s *shift) publishOnce(ctx context.Context, subject string, data []byte) error {
	sum := sha256.Sum256(data)
	_, err := s.js.Publish(ctx, subject, data, jetstream.WithMsgID(subject+"/"+hex.EncodeToString(sum[:16])))
	if err != nil {
		return fmt.Errorf("publish on %s: %w", subject, err)
	}
	return nil
}
