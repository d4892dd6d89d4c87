package collector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/ambit-nhi/ambit/collector/store"
)

// causeStore counts what the store refuses to take.
const causeStore = "refused-by-store"

// loneTries is how often something is tried that the store refuses while nothing shows that the store itself is well: about three seconds.
const loneTries = 7

// insertSome inserts rows, each of which may be inserted again, and gives those that the store refuses for good: it halves what is refused until
// the rest is in.
func insertSome[T any](ctx context.Context, c *Collector, operation string, rows []T, insert func([]T) error) (refused []T, err error) {
	var wait retry
	var halve func(rows []T) error
	halve = func(rows []T) error {
		err := c.attempt(ctx, operation, func() error { return insert(rows) })
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
	c.trouble.Delete(operation)
	c.metrics.refusedRows.WithLabelValues(operation).Add(float64(len(refused)))
	c.log.Error("the store refuses rows, the rest goes on without them", "operation", operation, "rows", len(refused))
	return refused, nil
}

const insertObservations = "insert observations"

// observations inserts what the messages of a group hold. The whole is one insert. Where the store refuses it, the plan is divided, and each
// division written down before it is used, so that after a crash every part is repeated under the token that it had. A message that is
// refused by itself is set aside, if the store takes something else: otherwise the fault is the store's, and the stream keeps everything.
func (in *inserter) observations(ctx context.Context, p *plan, g *group) error {
	var wait retry
	parts := p.Parts
	if parts == nil {
		parts = []part{{First: p.First, Last: p.Last, Token: p.Token}}
	}
	taken := false
	for {
		var refused []part
		for len(parts) > 0 {
			t := parts[0]
			parts = parts[1:]
			rows := t.rows(g.rows)
			if len(rows) == 0 {
				continue
			}
			err := in.c.attempt(ctx, insertObservations, func() error { return in.c.store.InsertObservations(ctx, t.Token, rows) })
			if err == nil {
				taken = true
				in.proof = &proof{t.Token, rows[:1]}
				in.c.metrics.inserted.WithLabelValues("observations").Add(float64(len(rows)))
				in.c.metrics.attribute(rows)
				continue
			}
			if !errors.Is(err, store.ErrRefused) {
				return err
			}
			smaller := t.divide(rows)
			if smaller == nil {
				refused = append(refused, t)
				continue
			}
			if err := in.divide(ctx, p, t, smaller); err != nil {
				return err
			}
			parts = append(smaller, parts...)
		}
		if len(refused) == 0 {
			return nil
		}
		// One more try tells what is the messages' fault from what passed meanwhile.
		if wait.n > 0 && (taken || in.well(ctx)) || in.proof == nil && len(refused) == 1 && wait.n >= loneTries-1 {
			return in.setAside(ctx, p, g, refused)
		}
		parts = refused
		if !wait.sleep(ctx) {
			return fmt.Errorf("%s: %w", insertObservations, ctx.Err())
		}
	}
}

// proof is a row that the store took, with its token: inserted again it counts nothing, and shows that the store takes rows.
type proof struct {
	token string
	rows  []store.ObservationRow
}

// well says whether the store takes what it took before.
func (in *inserter) well(ctx context.Context) bool {
	return in.proof != nil && in.c.store.InsertObservations(ctx, in.proof.token, in.proof.rows) == nil
}

// divide writes down that parts are inserted instead of a larger one.
func (in *inserter) divide(ctx context.Context, p *plan, whole part, parts []part) error {
	next := *p
	if next.Parts == nil {
		next.Parts = parts
	} else {
		i := slices.Index(next.Parts, whole)
		next.Parts = slices.Replace(slices.Clone(next.Parts), i, i+1, parts...)
	}
	if err := in.c.try(ctx, writeJournal, func() error { return in.journal.begin(ctx, next) }); err != nil {
		return err
	}
	*p = next
	return nil
}

// setAside leaves out messages that the store refuses, each by itself.
func (in *inserter) setAside(ctx context.Context, p *plan, g *group, refused []part) error {
	rows := 0
	for _, t := range refused {
		rows += len(t.rows(g.rows))
		sequence := t.rows(g.rows)[0].Sequence
		p.Skip = append(p.Skip, sequence)
		in.c.metrics.refused.WithLabelValues(causeStore).Inc()
		in.c.aside.add(g.origins[sequence])
	}
	in.c.trouble.Delete(insertObservations)
	in.c.log.Error("the store refuses messages, the rest goes on without them", "messages", len(refused), "rows", rows, "first", p.Skip[0])
	g.skip(p.Skip)
	return in.c.try(ctx, writeJournal, func() error { return in.journal.begin(ctx, *p) })
}

// aside counts messages that were set aside, by who sent them, until their coverage is written. It is safe for concurrent use.
type aside struct {
	mu       sync.Mutex
	messages map[coverageKey]uint64
}

func (a *aside) add(k coverageKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.messages == nil {
		a.messages = map[coverageKey]uint64{}
	}
	a.messages[k]++
}

// take gives the counts, which then begin again.
func (a *aside) take() map[coverageKey]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() { a.messages = nil }()
	return a.messages
}
