package journal

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// together is how many questions to the server are on their way at once.
const together = 32

// Take makes this collector the owner of partitions: whoever had them before finds that out at the next write. Inserts of theirs that were cut
// off are given to settle, which repeats them. A partition that another one took at the same time is missing in what it gives. It may be
// repeated.
func (j *Journal) Take(ctx context.Context, partitions []int, settle func(context.Context, *Open) error) ([]*Claim, error) {
	entries, err := j.entries(ctx, partitions)
	if err != nil {
		return nil, err
	}
	done := map[int]uint64{}
	byOwner := map[string][]int{}
	for p, e := range entries {
		done[p] = e.value.Done
		byOwner[e.value.Owner] = append(byOwner[e.value.Owner], p)
	}
	for _, owner := range slices.Sorted(maps.Keys(byOwner)) {
		list := byOwner[owner]
		switch owner {
		case "":
			continue
		case j.owner:
			err = j.again(ctx, list, done)
		default:
			err = j.seize(ctx, owner, list, done, settle)
		}
		if err != nil {
			return nil, err
		}
	}
	claims, err := j.enter(ctx, entries, done)
	if err != nil {
		return nil, err
	}
	for owner := range byOwner {
		if owner != "" && owner != j.owner {
			j.forget(ctx, owner)
		}
	}
	return claims, nil
}

// forget drops the ledger of one who has nothing any more. Where that fails, a ledger is left, which does no harm.
func (j *Journal) forget(ctx context.Context, owner string) {
	l := j.page(owner)
	if l.read(ctx) != nil || l.revision == 0 {
		return
	}
	var had []int
	for p := range l.value.Done {
		if !l.value.gone(p) {
			return
		}
		had = append(had, p)
	}
	entries, err := j.entries(ctx, had)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.value.Owner == owner { // who crossed it out is not done yet
			return
		}
	}
	_ = j.bucket.Remove(ctx, l.key, l.revision)
}

func (j *Journal) entries(ctx context.Context, partitions []int) (map[int]*book[entry], error) {
	var mu sync.Mutex
	out := map[int]*book[entry]{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(together)
	for _, p := range partitions {
		g.Go(func() error {
			e, err := j.readEntry(ctx, p)
			mu.Lock()
			defer mu.Unlock()
			out[p] = e
			return err
		})
	}
	return out, g.Wait()
}

// seize crosses partitions out in the ledger of another one, and settles the insert of theirs that it began.
func (j *Journal) seize(ctx context.Context, owner string, partitions []int, done map[int]uint64, settle func(context.Context, *Open) error) error {
	l := j.page(owner)
	if err := l.read(ctx); err != nil {
		return err
	}
	var open *Plan
	err := l.change(ctx, func(l *ledger) error {
		open = nil
		for _, p := range partitions {
			if !l.gone(p) {
				l.Gone = append(l.Gone, p)
			}
			if l.Plan != nil && l.Plan.Spans[p].Last > l.Done[p] {
				open = l.Plan
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if open != nil {
		if err := settle(ctx, &Open{Plan: *open, page: &l, mu: new(sync.Mutex)}); err != nil {
			return err
		}
		err := l.change(ctx, func(l *ledger) error {
			if l.Plan == nil || l.Plan.Token != open.Token {
				return errSettled
			}
			l.settle()
			return nil
		})
		if err != nil && !errors.Is(err, errSettled) {
			return err
		}
	}
	for _, p := range partitions {
		done[p] = max(done[p], l.value.Done[p])
	}
	return nil
}

// again is for partitions that were lost, and that nobody else has taken since. An insert of theirs may still be under way here.
func (j *Journal) again(ctx context.Context, partitions []int, done map[int]uint64) error {
	busy := func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		l := &j.own.value
		for _, p := range partitions {
			delete(j.current, p) // no other insert begins
			if l.Plan != nil && l.Plan.Spans[p].Last > l.Done[p] {
				return true
			}
			done[p] = max(done[p], l.Done[p])
		}
		return false
	}
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for busy() {
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// enter writes partitions into the own ledger first, where nobody can cross them out yet, then the ledger's name into their entries.
func (j *Journal) enter(ctx context.Context, entries map[int]*book[entry], done map[int]uint64) ([]*Claim, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.own.change(ctx, func(l *ledger) error {
		for p, e := range entries {
			if e.value.Owner == j.owner && l.gone(p) {
				continue // taken from here just now
			}
			l.Gone = slices.DeleteFunc(l.Gone, func(q int) bool { return q == p })
			l.Done[p] = done[p]
		}
		return nil
	}); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var claims []*Claim
	var g errgroup.Group
	g.SetLimit(together)
	for p, e := range entries {
		g.Go(func() error {
			if e.value.Owner != j.owner {
				err := e.write(ctx, entry{Stream: j.created, Owner: j.owner, Done: done[p]})
				if errors.Is(err, errOther) {
					return nil
				}
				if err != nil {
					return err
				}
			} else if j.own.value.gone(p) {
				return nil
			}
			c := &Claim{Partition: p, Done: done[p]}
			mu.Lock()
			defer mu.Unlock()
			j.current[p] = c
			claims = append(claims, c)
			return nil
		})
	}
	return claims, g.Wait()
}
