package report

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/collector/store"
)

// Whatever the size of pages, all of them together are the whole list in its order, each item once; also where an item goes between two pages.
func TestCutGivesAllInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		small := rapid.Int64Range(-2, 2)
		items := rapid.SliceOfDistinct(rapid.Custom(func(t *rapid.T) place {
			return place{small.Draw(t, "first"), small.Draw(t, "second"), rapid.SampledFrom([]string{"", "a", "a/b", "é", "\x00", "b"}).Draw(t, "text")}
		}), rapid.ID[place]).Draw(t, "items")
		want := slices.SortedFunc(slices.Values(items), place.compare)
		p := Paging{Limit: rapid.IntRange(1, 5).Draw(t, "limit")}
		var got []place
		for {
			page, next, err := cut(items, func(x *place) place { return *x }, p)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) > p.Limit || next != "" && len(page) != p.Limit {
				t.Fatalf("a page of %d items, of %d", len(page), p.Limit)
			}
			got = append(got, page...)
			if p.Cursor = next; next == "" {
				break
			}
			if gone := rapid.IntRange(0, 3).Draw(t, "gone"); gone == 0 { // the item that the cursor stands on
				last := page[len(page)-1]
				items = slices.DeleteFunc(items, func(x place) bool { return x == last })
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

func TestCutRefusesCursors(t *testing.T) {
	for _, cursor := range []string{"x", "é", "YQ", "MS8x", "YS9iL2M"} {
		if _, _, err := cut([]place{{}}, func(x *place) place { return *x }, Paging{Cursor: cursor}); !errors.Is(err, store.ErrCursor) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}
