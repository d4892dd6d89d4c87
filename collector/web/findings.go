package web

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// findingsPage is how many findings a page lists.
const findingsPage = 50

// maxChoices bounds the rules and namespaces that the filters offer.
const maxChoices = 200

var (
	severities = []string{"critical", "high", "medium", "low", "info"}
	statuses   = []string{"new", "acknowledged", "suppressed", "resolved"}
)

// choice is one value of a filter.
type choice struct {
	Value  string
	Text   string
	Count  uint64
	Href   string
	Chosen bool
}

type findingsView struct {
	Items      []event.Finding
	Total      uint64
	Statuses   []choice
	Severities []choice
	Rules      []choice
	Namespaces []choice
	Windows    []choice
	Filter     findingsFilter
	Filtered   bool // by more than the status
	Here       string
	First      string
	Next       string
	Done       int // findings that were decided about just now
	Verdict    string
}

// findingsFilter is what the address of the page says.
type findingsFilter struct {
	Status, Severity, Rule, Namespace, Identity, Text, Window, Cursor string
}

// read reads an address. Without a status, new findings are meant; all are by the word all.
func (f *findingsFilter) read(q url.Values) {
	*f = findingsFilter{
		Status: cmp.Or(q.Get("status"), string(event.StatusNew)), Severity: q.Get("severity"), Rule: q.Get("rule"), Namespace: q.Get("namespace"),
		Identity: strings.TrimSpace(q.Get("identity")), Text: strings.TrimSpace(q.Get("text")), Window: q.Get("window"), Cursor: q.Get("cursor"),
	}
}

// href is the address of a list; a change to it begins at the first page.
func (f findingsFilter) href() string {
	v := url.Values{}
	for _, x := range [][2]string{
		{"status", f.Status}, {"severity", f.Severity}, {"rule", f.Rule}, {"namespace", f.Namespace}, {"identity", f.Identity}, {"text", f.Text}, {"window", f.Window},
		{"cursor", f.Cursor},
	} {
		if x[1] != "" {
			v.Set(x[0], x[1])
		}
	}
	return "/findings?" + v.Encode()
}

// filter is what the store is asked for.
func (f *findingsFilter) filter(now time.Time) (store.FindingFilter, error) {
	out := store.FindingFilter{
		Severity: event.Severity(f.Severity), Rule: f.Rule, Namespace: f.Namespace, Text: f.Text, Limit: findingsPage, Cursor: f.Cursor,
	}
	if f.Status != "all" {
		out.Status = event.Status(f.Status)
		if !out.Status.Valid() {
			return out, faultf(http.StatusBadRequest, "The status %.40q is not new, acknowledged, suppressed, resolved or all.", f.Status)
		}
	}
	if f.Severity != "" && !slices.Contains(severities, f.Severity) {
		return out, faultf(http.StatusBadRequest, "The severity %.40q is not one of %s.", f.Severity, strings.Join(severities, ", "))
	}
	if f.Identity != "" {
		id, err := event.ParseIdentity(f.Identity)
		if err != nil {
			return out, faultf(http.StatusBadRequest, "The filter of identities wants a whole one, like spiffe://shop.example/ns/shop/sa/cart: %v. The text filter takes parts.", err)
		}
		out.Identity = id
	}
	if f.Window != "" {
		d, err := report.ParseWindow(f.Window)
		if err != nil {
			return out, faultf(http.StatusBadRequest, "%v", err)
		}
		out.Since = now.Add(-d)
	}
	return out, nil
}

func (s *Site) findingPages() {
	s.page("findings", "/findings", Reader, s.showFindings)
	s.page("finding", "/findings/{id}", Reader, s.showFinding)
	s.page("decide", "/findings/decide", Responder, s.showDecide)
	s.actionOrPage("decided", "/findings/decide", Responder, s.decide)
}

func (s *Site) showFindings(r *http.Request, _ Viewer) (any, error) {
	var f findingsFilter
	f.read(r.URL.Query())
	filter, err := f.filter(s.now())
	if err != nil {
		return nil, err
	}
	list, err := s.Reports.Findings(r.Context(), filter)
	if err != nil {
		return nil, err
	}
	counts, err := s.Reports.CountFindings(r.Context(), filter)
	if err != nil {
		return nil, err
	}
	v := &findingsView{Items: list.Items, Total: counts.Total, Filter: f, Here: f.href(), Filtered: f.Severity+f.Rule+f.Namespace+f.Identity+f.Text+f.Window != ""}
	first := f
	first.Cursor = ""
	if f.Cursor != "" {
		v.First = first.href()
	}
	if list.Next != "" {
		next := f
		next.Cursor = list.Next
		v.Next = next.href()
	}
	with := func(set func(*findingsFilter)) string {
		g := first
		set(&g)
		return g.href()
	}
	all := uint64(0)
	for _, x := range statuses {
		n := counts.Statuses[x]
		all += n
		v.Statuses = append(v.Statuses, choice{x, title(x), n, with(func(g *findingsFilter) { g.Status = x }), f.Status == x})
	}
	v.Statuses = append(v.Statuses, choice{"all", "All", all, with(func(g *findingsFilter) { g.Status = "all" }), f.Status == "all"})
	for _, x := range severities {
		v.Severities = append(v.Severities, choice{x, x, counts.Severities[x], with(func(g *findingsFilter) { g.Severity = x }), f.Severity == x})
	}
	v.Rules = choices(counts.Rules, f.Rule)
	v.Namespaces = choices(counts.Namespaces, f.Namespace)
	for _, x := range windows {
		v.Windows = append(v.Windows, choice{Value: x, Text: "the last " + x, Chosen: f.Window == x})
	}
	q := r.URL.Query()
	v.Done, _ = strconv.Atoi(q.Get("done")) // what is no number says nothing
	if k := event.VerdictKind(q.Get("verdict")); k.Valid() {
		v.Verdict = verdicts[k].Done
	}
	return v, nil
}

// choices are values with how many there are of each, the most first; what is chosen is among them. Findings without the value cannot be chosen by it.
func choices(counts map[string]uint64, chosen string) []choice {
	var out []choice
	for _, value := range slices.Sorted(maps.Keys(counts)) {
		if value != "" && plain(value) == value { // what cannot be shown cannot be chosen by its name
			out = append(out, choice{Value: value, Text: value, Count: counts[value], Chosen: value == chosen})
		}
	}
	slices.SortStableFunc(out, func(a, b choice) int {
		if a.Chosen != b.Chosen && a.Chosen {
			return -1
		} else if b.Chosen {
			return 1
		}
		return cmp.Compare(b.Count, a.Count)
	})
	if chosen != "" && (counts[chosen] == 0 || plain(chosen) != chosen) {
		out = append([]choice{{Value: plain(chosen), Text: chosen, Chosen: true}}, out...)
	}
	return out[:min(len(out), maxChoices)]
}
