package store

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// What has an end out of order is sorted as a whole.
func TestSortTail(t *testing.T) {
	type item struct{ key, at int }
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOf(rapid.IntRange(0, 20)).Draw(t, "keys")
		slices.Sort(keys[:rapid.IntRange(0, len(keys)).Draw(t, "in order")])
		list := make([]item, len(keys))
		for i, k := range keys {
			list[i] = item{k, i}
		}
		compare := func(a, b item) int { return cmp.Compare(a.key, b.key) }
		got := sortTail(slices.Clone(list), compare)
		if !slices.IsSortedFunc(got, compare) {
			t.Fatalf("%v is not in order", got)
		}
		slices.SortFunc(got, func(a, b item) int { return cmp.Compare(a.at, b.at) })
		if !slices.Equal(got, list) {
			t.Fatalf("%v became %v", list, got)
		}
	})
}
