package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"

	"github.com/ambit-nhi/ambit/event"
)

// many gives chunks of n rows of as many edges as 100, and then an error, if any.
func many(t *testing.T, n int, then error) iter.Seq2[[]ObservationRow, error] {
	var edges []ObservationRow
	for i := range 100 {
		o := toward(t, checkout, fmt.Sprintf("r%d.example", i), noon, event.Counts{Connections: 1})
		edges = append(edges, RowOf(o, noon, uint64(i)))
	}
	return func(yield func([]ObservationRow, error) bool) {
		var chunk []ObservationRow
		for i := range n {
			chunk = append(chunk, edges[i%len(edges)])
			if len(chunk) == chunkRows || i == n-1 {
				if !yield(chunk, nil) {
					return
				}
				chunk = chunk[:0]
			}
		}
		if then != nil {
			yield(nil, then)
		}
	}
}

// TestStreamOneBlock: rows that go out in several blocks are one in the engine, so that they are there as a whole or not at all, and count once.
func TestStreamOneBlock(t *testing.T) {
	s := open(t)
	if s.stream == nil {
		t.Fatal("the embedded engine gets no stream")
	}
	const n = 5*nativeRows + 7
	for range 2 {
		if err := insertChunks(t.Context(), s, observations, once("a", "1"), many(t, n, nil)); err != nil {
			t.Fatal(err)
		}
	}
	if parts := number(t, s, "(SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'observations' AND level = 0)"); parts != 1 {
		t.Errorf("%d parts, want one", parts)
	}
	if rows, reached := number(t, s, "(SELECT count() FROM observations)"), number(t, s, "(SELECT sum(connections) FROM reach)"); rows != n || reached != n {
		t.Errorf("%d rows, %d connections in reach, want %d", rows, reached, n)
	}
}

// TestStreamCutOff: of an insert that ends early, nothing is there, and its token is as good as before.
func TestStreamCutOff(t *testing.T) {
	s := open(t)
	const n = 3 * nativeRows
	broken := errors.New("broken")
	if err := insertChunks(t.Context(), s, observations, once("a", "1"), many(t, n, broken)); !errors.Is(err, broken) {
		t.Errorf("rows that cannot be made: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cut := func(yield func([]ObservationRow, error) bool) {
		for rows, err := range many(t, n, nil) {
			if !yield(rows, err) {
				return
			}
		}
		cancel()
		yield(nil, ctx.Err())
	}
	if err := insertChunks(ctx, s, observations, once("a", "1"), cut); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if rows := number(t, s, "(SELECT count() FROM observations)"); rows != 0 {
		t.Errorf("%d rows of inserts that were cut off", rows)
	}
	if err := insertChunks(t.Context(), s, observations, once("a", "1"), many(t, n, nil)); err != nil {
		t.Fatal(err)
	}
	if rows := number(t, s, "(SELECT count() FROM observations)"); rows != n {
		t.Errorf("%d rows, want %d", rows, n)
	}
	if err := insertChunks(t.Context(), s, observations, once("b", "1"), many(t, 0, nil)); err != nil {
		t.Errorf("no rows: %v", err)
	}
}

// TestInsertBatches: a message with an observation that no agent makes is refused, and nothing of its insert is there.
func TestInsertBatches(t *testing.T) {
	s := open(t)
	if err := s.InsertBatches(t.Context(), "", nil); err == nil {
		t.Error("no token is taken")
	}
	b := event.NewBatchBuilder("n1", "boot", noon)
	b.Add(toward(t, checkout, "a.example", noon, event.Counts{Connections: 3}))
	data, err := b.Encode(1, 1, noon)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := event.DecodeBatch(data)
	if err != nil {
		t.Fatal(err)
	}
	later := *batch
	later.Time = noon.Add(day)
	far := *batch
	far.Time = noon.AddDate(1000, 0, 0)
	if err := s.InsertBatches(t.Context(), "a", []Message{{batch, 1}, {&far, 2}}); !errors.Is(err, ErrRefused) {
		t.Errorf("year 3000: %v", err)
	}
	for range 2 {
		if err := s.InsertBatches(t.Context(), "b", []Message{{batch, 1}, {&later, 2}, {batch, 3}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := number(t, s, "(SELECT sum(connections) FROM reach)"); got != 3*3+3 { // what was of a day of its own before the refused one is in
		t.Errorf("%d connections in reach", got)
	}
}
