package report

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Entry is an identity in a few words, for lists of many. Times are UTC; a zero time is never.
type Entry struct {
	Identity    event.Identity  `json:"identity"`
	Kind        string          `json:"kind"`  // see [store.Kind]
	State       string          `json:"state"` // of learning; unknown where the detector holds none
	Inventory   inventory.State `json:"inventory,omitempty"`
	Class       string          `json:"class,omitempty"` // of unused ones, in the last 90 days
	Evidence    event.Evidence  `json:"evidence,omitempty"`
	Namespace   string          `json:"namespace,omitempty"`
	Domain      event.Domain    `json:"domain,omitempty"`
	Environment string          `json:"environment,omitempty"`
	Owner       string          `json:"owner,omitempty"`
	Purpose     string          `json:"purpose,omitempty"` // of a page's items
	Privilege   event.Privilege `json:"privilege,omitempty"`
	Nodes       uint64          `json:"nodes"` // how many it was seen on
	FirstSeen   time.Time       `json:"first_seen,omitzero"`
	LastSeen    time.Time       `json:"last_seen,omitzero"`
	LastUsed    time.Time       `json:"last_used,omitzero"`
	Findings    uint64          `json:"findings,omitempty"` // that are open
	Severity    event.Severity  `json:"severity,omitempty"` // the gravest of these
}

// Facets are what entries can be chosen by, in the order of pages.
var Facets = []string{"state", "domain", "environment", "owner", "evidence", "kind", "namespace", "inventory", "class", "privilege"}

// facet gives one of Facets of an entry; "" is not known.
func (e *Entry) facet(name string) string {
	switch name {
	case "state":
		return e.State
	case "domain":
		return string(e.Domain)
	case "environment":
		return e.Environment
	case "owner":
		return e.Owner
	case "evidence":
		return string(e.Evidence)
	case "kind":
		return e.Kind
	case "namespace":
		return e.Namespace
	case "inventory":
		return string(e.Inventory)
	case "class":
		return e.Class
	}
	return string(e.Privilege)
}

// FacetValue is how many entries have a value in a facet.
type FacetValue struct {
	Value string `json:"value"` // "" is not known
	Count uint64 `json:"count"`
}

// maxFacetValues bounds the values of a facet that are listed.
const maxFacetValues = 100

// Sorts are what entries can be sorted by; a minus before one turns it round.
var Sorts = []string{"identity", "last-seen", "last-used", "first-seen", "state", "owner"}

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

// directory holds all identities in a few words, so that pages and counts of many need not read them again each time.
type directory struct {
	reading chan struct{} // of one, who may look at the rest
	entries []Entry       // by URI; never changed
	read    time.Time
	took    time.Duration
	asOf    time.Time
}

// A directory that was read quickly is read again each time. One that takes longer may be so many times as old as it took, a minute at most: then
// reading takes no more than a twentieth of the time.
const (
	directoryQuick  = 100 * time.Millisecond
	directoryFactor = 20
	directoryOldest = time.Minute
)

func (d *directory) fresh() bool {
	return d.entries != nil && d.took > directoryQuick && time.Since(d.read) < min(directoryFactor*d.took, directoryOldest)
}

// entries gives all identities. Who asks while they are read waits, as long as ctx lets it, and gets the same.
func (r *Reporter) entries(ctx context.Context, now time.Time) ([]Entry, time.Time, error) {
	d := &r.directory
	select {
	case d.reading <- struct{}{}:
		defer func() { <-d.reading }()
	case <-ctx.Done():
		return nil, time.Time{}, ctx.Err()
	}
	if d.fresh() {
		return d.entries, d.asOf, nil
	}
	began := time.Now()
	members, e, err := r.population(ctx, now.Add(-90*day), now)
	if err != nil {
		return nil, time.Time{}, err
	}
	views := e.views(members)
	one := map[string]string{} // many have the same owner
	intern := func(s string) string {
		if known, ok := one[s]; ok {
			return known
		}
		one[s] = s
		return s
	}
	out := make([]Entry, len(members))
	for i := range members {
		m, v := &members[i], views[i]
		out[i] = Entry{
			Identity: m.Identity, Kind: store.Kind(m.Identity), State: cmp.Or(r.state(m.Identity), "unknown"), Inventory: v.State, Class: intern(m.Class), Evidence: event.Evidence(intern(string(m.Evidence))),
			Namespace: intern(e.namespace(m)), Domain: v.Domain, Environment: intern(v.Environment), Owner: intern(v.Owner), Privilege: v.Privilege, Nodes: m.NodeCount,
			FirstSeen: m.FirstSeen, LastSeen: m.LastSeen, LastUsed: m.LastUsed,
		}
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Identity.String(), b.Identity.String()) })
	d.entries, d.read, d.took, d.asOf = out, time.Now(), time.Since(began), e.now // which may be before now, see [Reporter.Reuse]
	return out, d.asOf, nil
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

// entryKey is where an entry stands in a sorted list.
type entryKey struct {
	number         int64
	text, identity string
	at             int // index of the entry
}

func sortKey(name string) (key func(*Entry) entryKey, descending bool, err error) {
	name, descending = strings.CutPrefix(name, "-")
	times := func(get func(*Entry) time.Time) func(*Entry) entryKey {
		return func(e *Entry) entryKey {
			t := get(e)
			if t.IsZero() {
				return entryKey{}
			}
			return entryKey{number: t.UnixMicro()}
		}
	}
	switch name {
	case "", "identity":
		key = func(e *Entry) entryKey { return entryKey{text: e.Identity.String()} }
	case "last-seen":
		key = times(func(e *Entry) time.Time { return e.LastSeen })
	case "last-used":
		key = times(func(e *Entry) time.Time { return e.LastUsed })
	case "first-seen":
		key = times(func(e *Entry) time.Time { return e.FirstSeen })
	case "state":
		key = func(e *Entry) entryKey { return entryKey{text: e.State} }
	case "owner":
		key = func(e *Entry) entryKey { return entryKey{text: e.Owner} }
	default:
		return nil, false, fmt.Errorf("sort %q is not one of %s", name, strings.Join(Sorts, ", "))
	}
	return key, descending, nil
}

func (k *entryKey) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join([]string{strconv.FormatInt(k.number, 10), k.text, k.identity}, "\x00")))
}

func parseEntryCursor(cursor string) (*entryKey, error) {
	if cursor == "" {
		return nil, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return nil, store.ErrCursor
	}
	parts := strings.Split(string(data), "\x00")
	if len(parts) != 3 {
		return nil, store.ErrCursor
	}
	number, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return nil, store.ErrCursor
	}
	return &entryKey{number: number, text: parts[1], identity: parts[2]}, nil
}
