package store

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestBounded(t *testing.T) {
	s := open(t)
	ask := func(b Bounds, sql string) error {
		var n uint64
		return s.scan(Bounded(t.Context(), b), "count", sql, nil, []any{&n}, func() error { return nil })
	}
	wide := Bounds{Time: time.Minute, Memory: 1 << 30}
	if err := ask(wide, "SELECT count() FROM numbers(10)"); err != nil {
		t.Error(err)
	}
	began := time.Now()
	err := ask(Bounds{Time: 200 * time.Millisecond, Memory: wide.Memory}, "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1")
	if !errors.Is(err, ErrTooLong) || strings.Contains(err.Error(), "\n") || time.Since(began) > 20*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	err = ask(Bounds{Time: time.Minute, Memory: 8 << 20}, "SELECT length(groupArray(toString(number))) FROM numbers(3000000)")
	if !errors.Is(err, ErrTooLarge) || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
	insertRows(t, s, "a", rowsOf(full(t)))
	if found, err := s.Population(Bounded(t.Context(), wide), noon.Add(-day), noon, false); err != nil || len(found) == 0 {
		t.Errorf("%v, %v", found, err)
	}
}
