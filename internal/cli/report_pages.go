package cli

import (
	"context"
	"net/url"
	"strconv"

	"github.com/ambit-nhi/ambit/collector/report"
)

// paged is an answer that holds a page of a report.
type paged[T any] interface{ list() *report.List[T] }

// pageOfReport is how many items of a report are asked for at once.
const pageOfReport = 10_000

// pages reads all pages of a report into the first one, or as many items as limit, if it is not 0. On a terminal it tells how far it is.
func pages[T any, A paged[T]](ctx context.Context, c *client, path string, query url.Values, limit int, empty func() A, tell *bar) (A, error) {
	defer tell.done()
	all := empty()
	for first := true; ; first = false {
		want := pageOfReport
		if limit > 0 {
			want = min(want, limit-len(all.list().Items))
		}
		query.Set("limit", strconv.Itoa(want))
		page := empty()
		arrived := tell.wait("asking for " + path)
		err := c.get(ctx, path, query, page)
		arrived()
		if err != nil {
			return all, err
		}
		if items := append(all.list().Items, page.list().Items...); first {
			all = page
		} else {
			all.list().Items = items
		}
		have := all.list()
		tell.say("items", len(have.Items), int(have.Total))
		if have.Next = page.list().Next; have.Next == "" || limit > 0 && len(have.Items) >= limit {
			return all, nil
		}
		query.Set("cursor", have.Next)
		query.Del("since") // the first page says what changed
	}
}
