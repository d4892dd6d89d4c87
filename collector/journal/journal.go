package journal

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Bucket is what the journal needs of a key-value bucket; [KV] is one.
type Bucket interface {
	Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error)
	Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	// Remove deletes a key if this is its revision still.
	Remove(ctx context.Context, key string, revision uint64) error
}

// KV is a bucket of JetStream.
type KV struct{ jetstream.KeyValue }

// Remove implements [Bucket].
func (b KV) Remove(ctx context.Context, key string, revision uint64) error {
	return b.Delete(ctx, key, jetstream.LastRevision(revision))
}

// Journal is the journal of one stream, as one collector sees it. It is safe for concurrent use.
type Journal struct {
	bucket  Bucket
	stream  string
	created time.Time
	owner   string

	mu      sync.Mutex
	own     page
	current map[int]*Claim // the latest one of each partition
}

// Claim is a partition that was taken. A later one of the same partition makes it void.
type Claim struct {
	Partition int
	Done      uint64 // all messages up to here were settled when it was taken
}

// New makes a journal. created is when the stream was made; owner is a name that no other start of a collector has.
func New(bucket Bucket, stream string, created time.Time, owner string) *Journal {
	j := &Journal{bucket: bucket, stream: stream, created: created.UTC(), owner: owner, current: map[int]*Claim{}}
	j.own = j.page(owner)
	return j
}

func (j *Journal) page(owner string) page {
	return page{book[ledger]{bucket: j.bucket, key: "ledger." + owner, value: ledger{Stream: j.created}}, j.created}
}

func (j *Journal) entry(partition int) *book[entry] {
	return &book[entry]{bucket: j.bucket, key: j.stream + "." + strconv.Itoa(partition)}
}

func (j *Journal) readEntry(ctx context.Context, partition int) (*book[entry], error) {
	b := j.entry(partition)
	return b, b.read(ctx, entry{Stream: j.created}, func(e *entry) bool { return e.Stream.Equal(j.created) })
}

// Owned says whether a partition is this collector's still.
func (j *Journal) Owned(ctx context.Context, partition int) (bool, error) {
	e, err := j.readEntry(ctx, partition)
	return err == nil && e.value.Owner == j.owner, err
}

// Settled is the message up to which all of a partition are settled, whoever works it.
func (j *Journal) Settled(ctx context.Context, partition int) (uint64, error) {
	e, err := j.readEntry(ctx, partition)
	if err != nil || e.value.Owner == "" {
		return e.value.Done, err
	}
	l := j.page(e.value.Owner)
	if err := l.read(ctx); err != nil {
		return 0, err
	}
	return max(e.value.Done, l.value.Done[partition]), nil
}

var errLost = errors.New("a partition is another one's now")

// mine says whether a claim still holds.
func (j *Journal) mine(l *ledger, c *Claim) bool {
	_, entered := l.Done[c.Partition]
	return entered && !l.gone(c.Partition) && j.current[c.Partition] == c
}

// Begin writes down what will be inserted; claims are those of the plan's partitions. It gives the ones that hold no longer, if any: then
// nothing is written down, and nothing may be inserted under this plan. It may be repeated with the same plan.
func (j *Journal) Begin(ctx context.Context, p Plan, claims []*Claim) (o *Open, lost []*Claim, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	err = j.own.change(ctx, func(l *ledger) error {
		lost = nil
		for _, c := range claims {
			if !j.mine(l, c) {
				lost = append(lost, c)
			}
		}
		if len(lost) > 0 {
			return errLost
		}
		l.Plan = &p
		return nil
	})
	switch {
	case errors.Is(err, errLost):
		return nil, lost, nil
	case err != nil:
		return nil, nil, err
	}
	return &Open{Plan: p, page: &j.own, mu: &j.mu}, nil, nil
}

// Done writes down that the plan, if there is one, is settled, and all messages up to some of the claims. It gives the claims that hold no
// longer. It may be repeated.
func (j *Journal) Done(ctx context.Context, last map[*Claim]uint64) (lost []*Claim, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	err = j.own.change(ctx, func(l *ledger) error {
		lost = nil
		l.settle()
		for c, sequence := range last {
			if !j.mine(l, c) {
				lost = append(lost, c)
				continue
			}
			l.Done[c.Partition] = max(l.Done[c.Partition], sequence)
		}
		return nil
	})
	return lost, err
}

// errSettled means that the plan is no longer under way.
var errSettled = errors.New("the insert is settled")

// Open is a plan that is under way. It is for one goroutine.
type Open struct {
	Plan Plan // as it was seen last

	page *page
	mu   *sync.Mutex // of the page
}

// Divide writes down how the plan is divided, and what is left out of it, before that is used. changed says that somebody else did so first:
// then Plan is as that one wants it, and what was to be written is not. settled says that the plan is settled meanwhile.
func (o *Open) Divide(ctx context.Context, parts []Part, skip []uint64) (changed, settled bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var now Plan
	err = o.page.change(ctx, func(l *ledger) error {
		if l.Plan == nil || l.Plan.Token != o.Plan.Token {
			return errSettled
		}
		if !slices.Equal(l.Plan.Parts, o.Plan.Parts) || !slices.Equal(l.Plan.Skip, o.Plan.Skip) {
			now = *l.Plan
			return errOther
		}
		now = o.Plan
		now.Parts, now.Skip = parts, skip
		l.Plan = &now
		return nil
	})
	switch {
	case errors.Is(err, errSettled):
		return false, true, nil
	case errors.Is(err, errOther):
		o.Plan = now
		return true, false, nil
	case err != nil:
		return false, false, err
	}
	o.Plan = now
	return false, false, nil
}
