package report

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ambit-nhi/ambit/collector/store"
)

// Sizes of pages of reports.
const (
	defaultPage = 1000
	maxPage     = 10_000
)

// place is where an item stands in a list that is in the order of places.
type place struct {
	first, second int64
	text          string
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.first, q.first), cmp.Compare(p.second, q.second), strings.Compare(p.text, q.text))
}

// cursor is what clients are told of a place.
func (p place) cursor() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d/%d/%s", p.first, p.second, p.text))
}

// parsePlace reads a cursor; nil is the beginning.
func parsePlace(cursor string) (*place, error) {
	if cursor == "" {
		return nil, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return nil, store.ErrCursor
	}
	parts := strings.SplitN(string(data), "/", 3)
	if len(parts) != 3 {
		return nil, store.ErrCursor
	}
	first, err := strconv.ParseInt(parts[0], 10, 64)
	second, also := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || also != nil {
		return nil, store.ErrCursor
	}
	return &place{first, second, parts[2]}, nil
}

// Paging is which part of a list is asked for.
type Paging struct {
	Limit  int    // 0 is 1000, at most 10,000
	Cursor string // where the page before ended
}

// cut puts items in order and gives the page that is asked for, and the cursor of the next one or "". What came into the list behind the cursor since
// the page before is on this one.
func cut[T any](items []T, at func(*T) place, p Paging) (page []T, next string, err error) {
	after, err := parsePlace(p.Cursor)
	if err != nil {
		return nil, "", err
	}
	type placed struct {
		place
		item *T
	}
	order := make([]placed, 0, len(items))
	for i := range items {
		if x := (placed{at(&items[i]), &items[i]}); after == nil || x.compare(*after) > 0 {
			order = append(order, x)
		}
	}
	slices.SortStableFunc(order, func(a, b placed) int { return a.compare(b.place) })
	limit := p.Limit
	if limit <= 0 {
		limit = defaultPage
	}
	if limit = min(limit, maxPage); len(order) > limit {
		order = order[:limit]
		next = order[limit-1].cursor()
	}
	page = make([]T, len(order))
	for i := range order {
		page[i] = *order[i].item
	}
	return page, next, nil
}
