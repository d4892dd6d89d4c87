package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Directory lists identities and tells of one; [report.Reporter] does.
type Directory interface {
	Directory(ctx context.Context, now time.Time, q report.DirectoryQuery) (*report.Directory, error)
	Identity(ctx context.Context, id event.Identity) (*report.Identity, error)
	Activity(ctx context.Context, id event.Identity, now time.Time, window time.Duration) (*report.Activity, error)
	Reach(ctx context.Context, id event.Identity, filter store.ReachFilter) (*report.List[report.Reach], error)
	BlastRadius(ctx context.Context, id event.Identity, now time.Time, q report.GraphQuery) (*report.Graph, error)
	Map(ctx context.Context, now time.Time, q report.MapQuery) (*report.Map, error)
}

// facetNames are the headings of what identities can be chosen by, in the order of the page.
var facetNames = []struct{ Name, Title string }{
	{"state", "State of learning"}, {"domain", "Domain"}, {"environment", "Environment"}, {"owner", "Owner"}, {"evidence", "Evidence"},
	{"kind", "Kind"}, {"namespace", "Namespace"}, {"inventory", "Inventory"}, {"class", "Unused in 90 days"}, {"privilege", "Privilege"},
}

// shownValues is how many values of a facet stand open.
const shownValues = 8

type facet struct {
	Name, Title string
	Open        bool // it is shown, not folded
	Clear       string
	Values      []facetValue // the first ones
	More        []facetValue
}

type facetValue struct {
	Text, Href string
	Count      uint64
	Chosen     bool
}

type identitiesView struct {
	*report.Directory
	Query  string
	Facets []facet
	Chosen []facetValue // that hold now; their links take them away
	Keep   []pair       // what a search keeps
	First  string       // page
	Next   string
	Clear  string
	Sorted map[string]sorted // by column
}

// pair is a hidden field of a form.
type pair struct{ Name, Value string }

// sorted is a column's link that sorts by it.
type sorted struct{ Href, Order string }

func (s *Site) identityPages() {
	s.page("identities", "/identities", Reader, s.showIdentities)
	s.page("identity", "/identities/{id}", Reader, s.showIdentity)
	s.page("blast", "/identities/{id}/blast", Reader, s.showBlast)
	s.page("scope", "/identities/{id}/scope", Reader, s.showScope)
	s.action("/identities/{id}/scope", Admin, s.applyScope)
	s.action("/identities/{id}/scope/withdraw", Admin, s.withdrawScope)
	s.action("/identities/{id}/exempt", Responder, s.exemptIdentity)
	s.action("/identities/{id}/review", Responder, s.reviewIdentity)
}

// maxSearch bounds what is searched for, in bytes.
const maxSearch = 500

func (s *Site) showIdentities(r *http.Request, _ Viewer) (any, error) {
	values := r.URL.Query()
	q := report.DirectoryQuery{Text: strings.TrimSpace(values.Get("q")), Sort: values.Get("sort"), Cursor: values.Get("cursor"), Facets: map[string]string{}, Limit: 50}
	for name := range values {
		switch {
		case slices.Contains(report.Facets, name):
			q.Facets[name] = values.Get(name)
		case !slices.Contains([]string{"q", "sort", "cursor"}, name):
			return nil, faultf(http.StatusBadRequest, "%q is not a filter of identities.", name)
		}
	}
	if len(q.Text) > maxSearch {
		return nil, faultf(http.StatusBadRequest, "The search is longer than %d bytes.", maxSearch)
	}
	if q.Sort != "" && !slices.Contains(report.Sorts, strings.TrimPrefix(q.Sort, "-")) {
		return nil, faultf(http.StatusBadRequest, "Identities cannot be sorted by %q.", q.Sort)
	}
	if strings.HasPrefix(q.Text, "spiffe://") || strings.HasPrefix(q.Text, "x509://") {
		if id, err := event.ParseIdentity(q.Text); err == nil && len(values) == 1 { // a whole one: who searches for it wants it first
			q.Text = id.String()
		}
	}
	found, err := s.Reports.Directory(r.Context(), s.now(), q)
	if err != nil {
		return nil, err
	}
	v := identitiesView{Directory: found, Query: q.Text, Sorted: map[string]sorted{}}
	link := func(change func(url.Values)) string {
		next := url.Values{}
		for name, list := range values {
			if name != "cursor" && (name != "q" || q.Text != "") {
				next[name] = list
			}
		}
		change(next)
		return "/identities?" + next.Encode()
	}
	for _, f := range facetNames {
		chosen, has := q.Facets[f.Name]
		g := facet{Name: f.Name, Title: f.Title, Open: has || len(v.Facets) < 5, Clear: link(func(n url.Values) { n.Del(f.Name) })}
		for _, x := range found.Facets[f.Name] {
			value := facetValue{Text: known(f.Name, x.Value), Count: x.Count, Chosen: has && chosen == x.Value, Href: link(func(n url.Values) { n.Set(f.Name, x.Value) })}
			if value.Chosen {
				value.Href = g.Clear
			}
			if len(g.Values) < shownValues || value.Chosen {
				g.Values = append(g.Values, value)
			} else {
				g.More = append(g.More, value)
			}
		}
		if len(g.Values) > 1 || has {
			v.Facets = append(v.Facets, g)
		}
		if has {
			v.Chosen = append(v.Chosen, facetValue{Text: f.Title + ": " + known(f.Name, chosen), Href: g.Clear})
			v.Keep = append(v.Keep, pair{f.Name, chosen})
		}
	}
	if q.Text != "" {
		v.Chosen = append(v.Chosen, facetValue{Text: "Search: " + q.Text, Href: link(func(n url.Values) { n.Del("q") })})
	}
	if q.Sort != "" {
		v.Keep = append(v.Keep, pair{"sort", q.Sort})
	}
	for _, name := range report.Sorts {
		next, order := name, ""
		switch q.Sort {
		case name:
			next, order = "-"+name, "ascending"
		case "-" + name:
			order = "descending"
		case "":
			if name == "identity" {
				next, order = "-identity", "ascending"
			} else if strings.HasPrefix(name, "last-") {
				next = "-" + name // the latest first is what is looked for
			}
		}
		v.Sorted[name] = sorted{link(func(n url.Values) { n.Set("sort", next) }), order}
	}
	if q.Cursor != "" {
		v.First = link(func(url.Values) {})
	}
	if found.Next != "" {
		v.Next = link(func(n url.Values) { n.Set("cursor", found.Next) })
	}
	return v, nil
}

// known is a value of a facet for people.
func known(facet, value string) string {
	if value == "" {
		switch facet {
		case "class":
			return "used, or too young"
		case "inventory":
			return "not judged"
		}
		return "not known"
	}
	return value
}

// pathIdentity reads the identity in a page's path.
func pathIdentity(r *http.Request) (event.Identity, error) {
	id, err := event.ParseIdentity(r.PathValue("id"))
	if err != nil {
		return event.Identity{}, faultf(http.StatusBadRequest, "This address names no identity: %v.", err)
	}
	return id, nil
}
