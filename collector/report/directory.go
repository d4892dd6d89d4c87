package report

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// DirectoryQuery chooses identities.
type DirectoryQuery struct {
	Text   string            // part of the URI or of the owner, in any case
	Facets map[string]string // one of Facets with its value, "" is not known
	Sort   string            // "" is identity
	Limit  int               // 0 is 100, at most 1,000
	Cursor string
}

// Directory is a page of identities, and how many there are of each kind.
type Directory struct {
	List[Entry]
	Facets map[string][]FacetValue `json:"facets"` // of those that the rest of the query chooses, the most frequent first
	AsOf   time.Time               `json:"as_of"`  // when identities were read
}

// Directory lists identities that were seen or are declared, and counts them by what they can be chosen by.
func (r *Reporter) Directory(ctx context.Context, now time.Time, q DirectoryQuery) (*Directory, error) {
	for name := range q.Facets {
		if !slices.Contains(Facets, name) {
			return nil, fmt.Errorf("facet %q is not one of %s", name, strings.Join(Facets, ", "))
		}
	}
	key, descending, err := sortKey(q.Sort)
	if err != nil {
		return nil, err
	}
	after, err := parseEntryCursor(q.Cursor)
	if err != nil {
		return nil, err
	}
	all, asOf, err := r.entries(ctx, now.UTC())
	if err != nil {
		return nil, err
	}
	out := &Directory{List: List[Entry]{Items: []Entry{}}, AsOf: asOf, Facets: map[string][]FacetValue{}}
	chosen := out.count(all, q)
	out.Total = uint64(len(chosen))
	compare := func(a, b *entryKey) int {
		c := cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.text, b.text))
		if descending {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.identity, b.identity))
	}
	keys := make([]entryKey, 0, len(chosen))
	for _, i := range chosen {
		k := key(&all[i])
		k.at, k.identity = i, all[i].Identity.String()
		if after == nil || compare(&k, after) > 0 {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b entryKey) int { return compare(&a, &b) })
	limit := q.Limit
	if limit <= 0 {
		limit = 100
	}
	if limit = min(limit, 1000); len(keys) > limit {
		keys = keys[:limit]
		out.Next = keys[limit-1].String()
	}
	for i := range keys {
		out.Items = append(out.Items, all[keys[i].at])
	}
	return out, r.complete(ctx, out.Items, now)
}

// count counts the facets, and gives the entries that all of a query chooses, by URI. A facet's own choice does not count for its values: they are
// what could be chosen instead.
func (d *Directory) count(all []Entry, q DirectoryQuery) []int {
	text := strings.ToLower(q.Text)
	counts := map[string]map[string]uint64{}
	for _, name := range Facets {
		counts[name] = map[string]uint64{}
	}
	var chosen []int
	for i := range all {
		e := &all[i]
		if text != "" && !strings.Contains(strings.ToLower(e.Identity.String()), text) && !strings.Contains(strings.ToLower(e.Owner), text) {
			continue
		}
		missed, which := 0, ""
		for name, value := range q.Facets {
			if e.facet(name) != value {
				missed, which = missed+1, name
			}
		}
		switch missed {
		case 0:
			chosen = append(chosen, i)
			for _, name := range Facets {
				counts[name][e.facet(name)]++
			}
		case 1:
			counts[which][e.facet(which)]++
		}
	}
	for name, values := range counts {
		list := make([]FacetValue, 0, len(values))
		for value, n := range values {
			list = append(list, FacetValue{value, n})
		}
		slices.SortFunc(list, func(a, b FacetValue) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value)) })
		d.Facets[name] = list[:min(len(list), maxFacetValues)]
	}
	return chosen
}

// complete says of a page's items what is not held for all: how they are now.
func (r *Reporter) complete(ctx context.Context, items []Entry, now time.Time) error {
	if len(items) == 0 {
		return nil
	}
	at := make(map[string]*Entry, len(items))
	names := make([]string, len(items))
	members := make([]store.Member, len(items))
	for i := range items {
		e := &items[i]
		names[i], members[i].Identity = e.Identity.String(), e.Identity
		at[names[i]] = e
		e.State = cmp.Or(r.state(e.Identity), "unknown")
	}
	known, err := r.estate(ctx, members, false, now)
	if err != nil {
		return err
	}
	for i := range members {
		items[i].Purpose = known.view(&members[i]).Purpose
	}
	findings, err := r.store.FindingsOf(ctx, names)
	if err != nil {
		return err
	}
	for _, f := range findings {
		e := at[f.Identity]
		e.Findings += f.Count
		e.Severity = graver(e.Severity, f.Severity)
	}
	return nil
}

var severities = []event.Severity{event.Info, event.Low, event.Medium, event.High, event.Critical}

func graver(a, b event.Severity) event.Severity {
	if slices.Index(severities, b) > slices.Index(severities, a) {
		return b
	}
	return a
}
