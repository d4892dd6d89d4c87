package journal

import (
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nuid"
)

// Span is a run of messages of one partition.
type Span struct {
	First    uint64 `json:"first"`              // sequence in the stream
	Last     uint64 `json:"last"`               // likewise
	Messages int    `json:"messages,omitempty"` // how many of the partition there are from First to Last; 0 where it is not known
}

// Plan is an insert that is about to happen: all messages of its spans, in the order of their sequence.
type Plan struct {
	Token string       `json:"token"` // the same token with the same rows counts once
	Spans map[int]Span `json:"spans"` // by partition
	// Messages that are left out: they came before, or the store refuses them.
	Skip []uint64 `json:"skip,omitempty"`
	// What is inserted instead of the whole, because the store refused that; nil is the whole.
	Parts []Part `json:"parts,omitempty"`
}

// NewPlan makes a plan with a token of its own.
func NewPlan(spans map[int]Span, skip []uint64) Plan {
	return Plan{Token: nuid.Next(), Spans: spans, Skip: skip}
}

// Part is an insert of some messages of a plan.
type Part struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	Day   string `json:"day,omitempty"` // only rows whose batch is of this day
	Token string `json:"token"`
}

// entry is what the journal holds of a partition.
type entry struct {
	Stream time.Time `json:"stream"` // when the stream was made: sequences of another one mean nothing
	Owner  string    `json:"owner"`  // of the ledger
	Done   uint64    `json:"done"`   // what holds if the ledger does not say
}

// ledger is what the journal holds of a collector.
type ledger struct {
	Stream time.Time      `json:"stream"`         // as of an entry
	Done   map[int]uint64 `json:"done,omitempty"` // all messages of a partition up to here are in the store or were refused
	Gone   []int          `json:"gone,omitempty"` // partitions that another one took over
	Plan   *Plan          `json:"plan,omitempty"`
}

func (l *ledger) clone() ledger {
	c := *l
	c.Done, c.Gone = maps.Clone(l.Done), slices.Clone(l.Gone)
	if c.Done == nil {
		c.Done = map[int]uint64{}
	}
	return c
}

func (l *ledger) gone(partition int) bool { return slices.Contains(l.Gone, partition) }

// settle notes that the plan is done.
func (l *ledger) settle() {
	if l.Plan == nil {
		return
	}
	for p, s := range l.Plan.Spans {
		l.Done[p] = max(l.Done[p], s.Last)
	}
	l.Plan = nil
}
