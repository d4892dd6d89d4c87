package collector

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/ambit-nhi/ambit/collector/journal"
	"github.com/ambit-nhi/ambit/collector/store"
)

// causeStore counts what the store refuses to take.
const causeStore = "refused-by-store"

// loneTries is how often something is tried that the store refuses while nothing shows that the store itself is well: about three seconds.
const loneTries = 7

// insertSome inserts rows, each of which may be inserted again, and gives those that the store refuses for good: it halves what is refused until
// the rest is in.
func insertSome[T any](ctx context.Context, c *Collector, who, operation string, rows []T, insert func([]T) error) (refused []T, err error) {
	var wait retry
	var halve func(rows []T) error
	halve = func(rows []T) error {
		err := c.attempt(ctx, who, operation, func() error { return insert(rows) })
		switch {
		case !errors.Is(err, store.ErrRefused):
			return err
		case len(rows) == 1:
			refused = append(refused, rows[0])
			c.log.Debug("the store refuses a row", "operation", operation, "error", err)
			return nil
		}
		middle := len(rows) / 2
		return errors.Join(halve(rows[:middle]), halve(rows[middle:]))
	}
	for {
		refused = refused[:0]
		if err := halve(rows); err != nil {
			return nil, err
		}
		if len(refused) == 0 {
			return nil, nil
		}
		if len(refused) < len(rows) || wait.n >= loneTries-1 {
			break
		}
		if !wait.sleep(ctx) {
			return nil, fmt.Errorf("%s: %w", operation, ctx.Err())
		}
	}
	c.trouble.Delete(doing{who, operation})
	c.metrics.refusedRows.WithLabelValues(operation).Add(float64(len(refused)))
	c.log.Error("the store refuses rows, the rest goes on without them", "operation", operation, "rows", len(refused))
	return refused, nil
}

const insertObservations = "insert observations"

// observations inserts what the messages of a group hold. The whole is one insert. Where the store refuses it, the
// plan is divided, and each division written down before it is used, so that after a crash every part is repeated under the token that it had.
// A message that is refused by itself is set aside, if the store takes something else: otherwise the fault is the store's, and the stream
// keeps everything.
func (in *inserter) observations(ctx context.Context, o *journal.Open, g *group) error {
	var wait retry
	taken := false
	all := g.arrange(o.Plan.Skip)
	parts := partsOf(&o.Plan)
	for {
		var refused []journal.Part
		for len(parts) > 0 {
			t := parts[0]
			parts = parts[1:]
			messages := messagesOf(t, all)
			if len(messages) == 0 {
				continue
			}
			err := in.attempt(ctx, theStore, insertObservations, func() error { return in.store.InsertBatches(ctx, t.Token, messages) })
			if err == nil {
				taken = true
				in.proof.Store(&proof{t.Token, slices.Clone(messages[:1])})
				in.metrics.inserted.WithLabelValues("observations").Add(float64(rows(messages)))
				in.metrics.attribute(messages)
				continue
			}
			if !errors.Is(err, store.ErrRefused) {
				return err
			}
			smaller := divide(t, messages)
			if smaller == nil {
				refused = append(refused, t)
				continue
			}
			changed, settled, err := in.divide(ctx, o, t, smaller)
			switch {
			case err != nil || settled:
				return err
			case changed: // as another one wants it
				parts, refused = partsOf(&o.Plan), nil
				continue
			}
			parts = append(smaller, parts...)
		}
		if len(refused) == 0 {
			in.trouble.Delete(doing{theStore, insertObservations})
			return nil
		}
		// One more try tells what is the messages' fault from what passed meanwhile.
		if wait.n > 0 && (taken || in.well(ctx)) || in.proof.Load() == nil && len(refused) == 1 && wait.n >= loneTries-1 {
			changed, settled, err := in.setAside(ctx, o, g, refused, all)
			if err != nil || settled || !changed {
				return err
			}
			all = g.arrange(o.Plan.Skip)
			parts = partsOf(&o.Plan)
			continue
		}
		parts = refused
		if !wait.sleep(ctx) {
			return fmt.Errorf("%s: %w", insertObservations, ctx.Err())
		}
	}
}

// partsOf gives the inserts that a plan stands for.
func partsOf(p *journal.Plan) []journal.Part {
	if p.Parts != nil {
		return slices.Clone(p.Parts)
	}
	return []journal.Part{{Last: math.MaxUint64, Token: p.Token}}
}

// proof is a message that the store took, with its token: inserted again it counts nothing, and shows that the store takes rows.
type proof struct {
	token    string
	messages []store.Message
}

// well says whether the store takes what it took before.
func (c *Collector) well(ctx context.Context) bool {
	p := c.proof.Load()
	return p != nil && c.store.InsertBatches(ctx, p.token, p.messages) == nil
}

// divide writes down that parts are inserted instead of a larger one.
func (in *inserter) divide(ctx context.Context, o *journal.Open, whole journal.Part, parts []journal.Part) (changed, settled bool, err error) {
	next := parts
	if old := o.Plan.Parts; old != nil {
		i := slices.Index(old, whole)
		next = slices.Replace(slices.Clone(old), i, i+1, parts...)
	}
	err = in.try(ctx, theStore, writeJournal, func() (err error) {
		changed, settled, err = o.Divide(ctx, next, o.Plan.Skip)
		return err
	})
	return changed, settled, err
}

// setAside leaves out messages that the store refuses, each by itself.
func (in *inserter) setAside(ctx context.Context, o *journal.Open, g *group, refused []journal.Part, all []store.Message) (changed, settled bool, err error) {
	skip, lost := slices.Clone(o.Plan.Skip), 0
	for _, t := range refused {
		of := messagesOf(t, all)
		lost += rows(of)
		skip = append(skip, of[0].Sequence)
	}
	err = in.try(ctx, theStore, writeJournal, func() (err error) {
		changed, settled, err = o.Divide(ctx, o.Plan.Parts, skip)
		return err
	})
	if err != nil || changed || settled {
		return changed, settled, err
	}
	in.trouble.Delete(doing{theStore, insertObservations})
	for _, sequence := range skip[len(skip)-len(refused):] {
		in.metrics.refused.WithLabelValues(causeStore).Inc()
		in.aside.add(g.from(sequence))
	}
	in.log.Error("the store refuses messages, the rest goes on without them", "messages", len(refused), "rows", lost, "first", skip[len(skip)-len(refused)])
	return false, false, nil
}

// aside counts messages that were set aside, by who sent them and where, until their coverage is written. It is safe for concurrent use.
type aside struct {
	mu       sync.Mutex
	messages map[int]map[coverageKey]uint64 // by partition
}

func (a *aside) add(partition int, k coverageKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.messages == nil {
		a.messages = map[int]map[coverageKey]uint64{}
	}
	if a.messages[partition] == nil {
		a.messages[partition] = map[coverageKey]uint64{}
	}
	a.messages[partition][k]++
}

// take gives the counts of a partition, which then begin again.
func (a *aside) take(partition int) map[coverageKey]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() { delete(a.messages, partition) }()
	return a.messages[partition]
}
