package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"
)

// The world of the model: a stream of messages that belong to partitions, a store that counts each token once and refuses some messages, and a
// bucket. Every step of a collector that others can see waits until it is chosen, and may be its last.

const (
	partitions = 4
	messages   = 60
)

func partitionOf(sequence uint64) int { return int(sequence*sequence/3) % partitions }

// of gives the messages of a partition from one to another, both included.
func of(partition int, first, last uint64) (all []uint64) {
	for s := max(first, 1); s <= min(last, messages); s++ {
		if partitionOf(s) == partition {
			all = append(all, s)
		}
	}
	return all
}

type world struct {
	values   map[string][]byte
	revision map[string]uint64
	n        uint64

	tokens map[string]bool
	counts map[uint64]int
	poison map[uint64]bool
	free   bool // steps are taken at once
	tokenN int

	mu    sync.Mutex
	steps []*waiting
}

type waiting struct {
	actor *actor
	what  string
	go_   chan outcome
}

type outcome int

const (
	done   outcome = iota
	before         // it dies before the step
	after          // it dies when the step is done
)

var errDead = errors.New("dead")

// owns says whether an entry of a partition names a ledger.
func (w *world) owns(name string) bool {
	for p := range partitions {
		if strings.Contains(string(w.values[fmt.Sprint("s.", p)]), fmt.Sprintf("%q", name)) {
			return true
		}
	}
	return false
}

// take gives one of the steps that wait.
func (w *world) take(choose func(int) int) *waiting {
	slices.SortFunc(w.steps, func(a, b *waiting) int {
		return cmp.Or(cmp.Compare(a.actor.name, b.actor.name), cmp.Compare(a.what, b.what))
	})
	i := choose(len(w.steps))
	next := w.steps[i]
	w.steps = slices.Delete(w.steps, i, i+1)
	return next
}

// actor is a collector.
type actor struct {
	*world
	name string
	dead bool
}

// step does what others can see, when its time has come.
func (a *actor) step(what string, do func()) error {
	if a.free {
		a.mu.Lock()
		defer a.mu.Unlock()
		do()
		return nil
	}
	w := &waiting{a, what, make(chan outcome)}
	a.mu.Lock()
	a.steps = append(a.steps, w)
	a.mu.Unlock()
	switch <-w.go_ {
	case before:
		a.dead = true
		return errDead
	case after:
		do()
		a.dead = true
		return errDead
	}
	do()
	return nil
}

type stored struct {
	jetstream.KeyValueEntry
	value    []byte
	revision uint64
}

func (e stored) Value() []byte    { return e.value }
func (e stored) Revision() uint64 { return e.revision }

func (a *actor) Get(_ context.Context, key string) (e jetstream.KeyValueEntry, err error) {
	if dead := a.step("get "+key, func() {
		if a.values[key] == nil {
			err = jetstream.ErrKeyNotFound
			return
		}
		e = stored{value: a.values[key], revision: a.revision[key]}
	}); dead != nil {
		return nil, dead
	}
	return e, err
}

func (a *actor) put(key string, value []byte, last uint64) (n uint64, err error) {
	if dead := a.step("put "+key, func() {
		if a.revision[key] != last {
			err = jetstream.ErrKeyExists
			return
		}
		a.n++
		a.values[key], a.revision[key], n = value, a.n, a.n
	}); dead != nil {
		return 0, dead
	}
	return n, err
}

func (a *actor) Create(_ context.Context, key string, value []byte, _ ...jetstream.KVCreateOpt) (uint64, error) {
	return a.put(key, value, 0)
}

func (a *actor) Update(_ context.Context, key string, value []byte, last uint64) (uint64, error) {
	return a.put(key, value, last)
}

func (a *actor) Remove(_ context.Context, key string, last uint64) (err error) {
	if dead := a.step("remove "+key, func() {
		if a.revision[key] != last {
			err = jetstream.ErrKeyExists
			return
		}
		delete(a.values, key)
		delete(a.revision, key)
	}); dead != nil {
		return dead
	}
	return err
}

var errRefused = errors.New("refused")

func (a *actor) insert(token string, sequences []uint64) (err error) {
	if dead := a.step("insert "+token, func() {
		if slices.ContainsFunc(sequences, func(s uint64) bool { return a.poison[s] }) {
			err = errRefused
			return
		}
		if !a.tokens[token] {
			a.tokens[token] = true
			for _, s := range sequences {
				a.counts[s]++
			}
		}
	}); dead != nil {
		return dead
	}
	return err
}

func (w *world) token() string { w.tokenN++; return fmt.Sprint("part", w.tokenN) }

// settle inserts an open plan, divided where the store refuses it.
func (a *actor) settle(ctx context.Context, o *Open) error {
	for {
		var all []uint64
		for p, s := range o.Plan.Spans {
			all = append(all, of(p, s.First, s.Last)...)
		}
		slices.Sort(all)
		all = slices.DeleteFunc(all, func(s uint64) bool { return slices.Contains(o.Plan.Skip, s) })
		parts := o.Plan.Parts
		if parts == nil {
			parts = []Part{{First: 1, Last: messages, Token: o.Plan.Token}}
		}
		again, err := a.insertParts(ctx, o, parts, all)
		if err != nil || !again {
			return err
		}
	}
}

func (a *actor) insertParts(ctx context.Context, o *Open, parts []Part, all []uint64) (again bool, err error) {
	for i, part := range parts {
		mine := slices.DeleteFunc(slices.Clone(all), func(s uint64) bool { return s < part.First || s > part.Last })
		if len(mine) == 0 {
			continue
		}
		err := a.insert(part.Token, mine)
		if err == nil {
			continue
		}
		if !errors.Is(err, errRefused) {
			return false, err
		}
		next, skip := parts, o.Plan.Skip
		if len(mine) == 1 {
			next, skip = o.Plan.Parts, append(slices.Clone(skip), mine[0])
		} else {
			middle := mine[len(mine)/2]
			next = slices.Replace(slices.Clone(parts), i, i+1, Part{First: part.First, Last: middle - 1, Token: a.token()}, Part{First: middle, Last: part.Last, Token: a.token()})
		}
		_, settled, err := o.Divide(ctx, next, skip)
		return !settled, err
	}
	return false, nil
}

// work takes partitions over and works them, some inserts long, or until nothing is left.
func (a *actor) work(ctx context.Context, take []int, inserts, size int) error {
	j := New(a, "s", time.Unix(1, 0), a.name)
	claims, err := j.Take(ctx, take, a.settle)
	if err != nil {
		return err
	}
	at := map[*Claim]uint64{}
	for _, c := range claims {
		at[c] = c.Done
	}
	for n := 0; n < inserts && len(at) > 0; n++ {
		spans, last := map[int]Span{}, map[*Claim]uint64{}
		var with []*Claim
		for c, sequence := range at {
			next := of(c.Partition, sequence+1, messages)
			next = next[:min(len(next), size)]
			if len(next) > 0 {
				spans[c.Partition] = Span{First: next[0], Last: next[len(next)-1], Messages: len(next)}
				last[c] = next[len(next)-1]
				with = append(with, c)
			}
		}
		if len(with) == 0 {
			return nil
		}
		o, lost, err := j.Begin(ctx, Plan{Token: a.token(), Spans: spans}, with)
		if err != nil {
			return err
		}
		if len(lost) == 0 {
			if err := a.settle(ctx, o); err != nil {
				return err
			}
			if lost, err = j.Done(ctx, last); err != nil {
				return err
			}
			for c, sequence := range last {
				at[c] = sequence
			}
		}
		for _, c := range lost {
			delete(at, c)
		}
	}
	return nil
}

// TestJournalAgainstModel has several collectors take partitions from each other, without any leases, in any order of their steps, and die at
// any of them. In the end each message counts once, but for those that the store refuses.
func TestJournalAgainstModel(t *testing.T) {
	game := func(rt *rapid.T) {
		choices := rapid.SliceOfN(rapid.IntRange(0, 1<<16), 50, 600).Draw(rt, "choices")
		poison := rapid.SliceOfN(rapid.Uint64Range(1, messages), 0, 3).Draw(rt, "poison")
		var fault error
		synctest.Test(t, func(*testing.T) { fault = play(choices, poison) })
		if fault != nil {
			rt.Fatal(fault)
		}
	}
	for range 10 { // some faults are rare
		rapid.Check(t, game)
	}
}

func play(choices []int, poison []uint64) error {
	w := &world{values: map[string][]byte{}, revision: map[string]uint64{}, tokens: map[string]bool{}, counts: map[uint64]int{}, poison: map[uint64]bool{}}
	for _, s := range poison {
		w.poison[s] = true
	}
	choose := func(n int) int {
		if len(choices) == 0 {
			return 0
		}
		c := choices[0]
		choices = choices[1:]
		return c % n
	}
	var faults []error
	var actors []*actor
	begin := func() {
		var take []int
		for p := range partitions {
			if choose(3) > 0 {
				take = append(take, p)
			}
		}
		a := &actor{world: w, name: fmt.Sprint("c", len(actors))}
		actors = append(actors, a)
		inserts, size := 1+choose(4), 1+choose(6)
		go func() {
			if err := a.work(context.Background(), take, inserts, size); err != nil && !errors.Is(err, errDead) {
				faults = append(faults, err)
			}
		}()
	}
	for range 2 {
		begin()
	}
	for {
		synctest.Wait()
		if len(choices) == 0 {
			break
		}
		if choose(12) == 0 && len(actors) < 12 {
			begin()
			continue
		}
		if len(w.steps) == 0 {
			if len(actors) >= 12 {
				break
			}
			begin()
			continue
		}
		next := w.take(choose)
		what := done
		if next.actor.dead {
			what = before
		} else if c := choose(25); c < 2 {
			what = before + outcome(c)
		}
		next.go_ <- what
	}
	for len(w.steps) > 0 { // who is left dies
		w.take(choose).go_ <- before
		synctest.Wait()
	}
	w.free = true
	last := &actor{world: w, name: "last"}
	if err := last.work(context.Background(), []int{0, 1, 2, 3}, messages, messages); err != nil {
		return err
	}
	for key := range w.values {
		if name, is := strings.CutPrefix(key, "ledger."); is && name != "last" && w.owns(name) {
			faults = append(faults, fmt.Errorf("%s has something still", name))
		}
	}
	for s := uint64(1); s <= messages; s++ {
		want := 1
		if w.poison[s] {
			want = 0
		}
		if w.counts[s] != want {
			faults = append(faults, fmt.Errorf("message %d of partition %d counts %d times, want %d", s, partitionOf(s), w.counts[s], want))
		}
	}
	return errors.Join(faults...)
}
