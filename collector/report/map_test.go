package report

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// reachOther lets one identity of the world reach another one.
func (w *world) reachOther(name, peer string, before time.Duration, c event.Counts) {
	w.t.Helper()
	w.n++
	o := &event.Observation{Time: ago(before), Node: "n1", Workload: w.workload(name), Direction: event.Outbound, Protocol: event.TCP,
		Peer: event.Peer{Port: 8443, Identity: account(w.t, peer), Evidence: event.EvidenceKubernetes}, Counts: c}
	if err := w.s.InsertObservations(w.t.Context(), name+peer+before.String(), []store.ObservationRow{store.RowOf(o, noon, uint64(w.n))}); err != nil {
		w.t.Fatal(err)
	}
}

func edgesOf(m *Map) string {
	var out []string
	short := func(id string) string { return strings.TrimPrefix(id, "spiffe://shop.example/ns/shop/sa/") }
	for _, e := range m.Edges {
		out = append(out, fmt.Sprintf("%s>%s %s %s", short(e.From), short(e.To), strings.Join(e.Services, "+"), e.State))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// TestMap: web -> shop -> db identity, each with resources; one finding, one that failed.
func TestMap(t *testing.T) {
	w := &world{t: t, s: open(t)}
	ok, refused := event.Counts{Connections: 5, BytesSent: 1, BytesReceived: 1}, event.Counts{Connections: 2, Failed: 2}
	w.reachOther("web", "shop", 48*time.Hour, ok)
	w.reachOther("shop", "db", 48*time.Hour, ok)
	w.reachOther("cron", "db", time.Hour, event.Counts{Connections: 1, BytesSent: 1, BytesReceived: 1})
	w.use("shop", "n1", "api.example", event.Outbound, 48*time.Hour, ok)
	w.use("shop", "n1", "closed.example", event.Outbound, 48*time.Hour, refused)
	w.use("web", "n1", "www.example", event.Inbound, 48*time.Hour, ok)
	w.use("db", "n1", "odd.example", event.Outbound, time.Hour, ok)
	finding := event.Finding{
		ID: "f", Rule: "new-resource", Title: "x", Severity: event.High, Identity: account(t, "db"), Resource: mustResource(t, "dns:odd.example:443/tcp"),
		Workload: w.workload("db"), FirstTime: ago(time.Hour), LastTime: ago(time.Hour), Count: 1, Status: event.StatusNew,
	}
	if err := w.s.InsertFindings(t.Context(), []event.Finding{finding}); err != nil {
		t.Fatal(err)
	}
	r := New(w.s, func(id event.Identity) string { return "stable" })
	ask := func(q MapQuery) *Map {
		t.Helper()
		if q.Window == 0 {
			q.Window = 30 * day
		}
		m, err := r.Map(t.Context(), noon, q)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	f := func(name string, q MapQuery, want ...string) *Map {
		t.Helper()
		m := ask(q)
		if got := edgesOf(m); got != strings.Join(want, "\n") {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, strings.Join(want, "\n"))
		}
		for _, e := range m.Edges {
			for _, end := range []string{e.From, e.To} {
				if !slices.ContainsFunc(m.Nodes, func(n MapNode) bool { return n.ID == end }) {
					t.Errorf("%s: there is no node %s", name, end)
				}
			}
		}
		return m
	}
	id := func(name string) string { return account(t, name).String() }

	f("around web", MapQuery{Center: id("web")}, "dns:www.example>web 443/tcp normal", "web>shop 8443/tcp normal")
	m := f("two steps around web", MapQuery{Center: id("web"), Depth: 2}, "dns:www.example>web 443/tcp normal",
		"shop>db 8443/tcp normal", "shop>dns:api.example:443/tcp 443/tcp normal", "shop>dns:closed.example:443/tcp 443/tcp failed", "web>shop 8443/tcp normal")
	if m.Nodes[0].ID != id("web") || !m.Nodes[0].Expanded || m.Nodes[0].State != "stable" || m.Nodes[0].Label != "shop/web" {
		t.Errorf("the centre is %+v", m.Nodes[0])
	}
	if i := slices.IndexFunc(m.Nodes, func(n MapNode) bool { return n.ID == id("db") }); m.Nodes[i].Expanded || m.Nodes[i].Depth != 2 || m.Nodes[i].Findings != 1 || m.Nodes[i].Severity != event.High {
		t.Errorf("the last one is %+v", m.Nodes[i])
	}
	f("around a port of db", MapQuery{Center: id("db") + ":8443/tcp"}, "cron>db 8443/tcp new", "db>dns:odd.example:443/tcp 443/tcp finding", "shop>db 8443/tcp normal")
	f("around a resource", MapQuery{Center: "dns:api.example:443/tcp", Depth: 2}, "shop>db 8443/tcp normal",
		"shop>dns:api.example:443/tcp 443/tcp normal", "shop>dns:closed.example:443/tcp 443/tcp failed", "web>shop 8443/tcp normal")
	all := f("of the namespace", MapQuery{Namespace: "shop"}, "cron>db 8443/tcp new", "db>dns:odd.example:443/tcp 443/tcp finding", "dns:www.example>web 443/tcp normal",
		"shop>db 8443/tcp normal", "shop>dns:api.example:443/tcp 443/tcp normal", "shop>dns:closed.example:443/tcp 443/tcp failed", "web>shop 8443/tcp normal")
	if got := edgesOf(ask(MapQuery{})); got != edgesOf(all) {
		t.Errorf("of all:\n%s", got)
	}
	f("of today", MapQuery{Window: 2 * time.Hour}, "cron>db 8443/tcp new", "db>dns:odd.example:443/tcp 443/tcp finding")
	f("of another namespace", MapQuery{Namespace: "'; --"})

	if m := ask(MapQuery{Limit: 2}); len(m.Edges) != 2 || m.LeftOut != 5 || !strings.HasPrefix(m.Statement, "5 more edges") {
		t.Errorf("%d edges, %d left out, %q", len(m.Edges), m.LeftOut, m.Statement)
	}
	if _, err := r.Map(t.Context(), noon, MapQuery{Center: id("nobody"), Window: day}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an identity that is not known: %v", err)
	}
	if _, err := r.Map(t.Context(), noon, MapQuery{Center: "<b>", Window: day}); !errors.Is(err, ErrTarget) {
		t.Errorf("what is nothing: %v", err)
	}
}

func mustResource(t *testing.T, text string) event.Resource {
	t.Helper()
	r, err := event.ParseResource(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestDirectory compares pages and counts with a slow reference.
func TestDirectory(t *testing.T) {
	w := &world{t: t, s: open(t)}
	var list []event.Declaration
	for i := range 40 {
		name := fmt.Sprintf("s%02d", i)
		w.sight(name, "n1", time.Duration(i%7)*time.Hour)
		list = append(list, event.Declaration{Identity: account(t, name), Source: event.SourceCSV, SourceName: "list", Owner: []string{"ann", "Bob", ""}[i%3], Environment: []string{"prod", "test"}[i%2]})
	}
	if _, err := w.s.ReplaceInventory(t.Context(), store.Inventory{Source: event.SourceCSV, Name: "list", Declarations: list, Time: ago(day)}); err != nil {
		t.Fatal(err)
	}
	states := []string{"stable", "learning"}
	r := New(w.s, func(id event.Identity) string { return states[len(id.String())%2] })
	f := func(q DirectoryQuery, want int) {
		t.Helper()
		var got []Entry
		q.Limit = 7
		for {
			page, err := r.Directory(t.Context(), noon, q)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, page.Items...)
			if page.Total != uint64(want) {
				t.Errorf("%+v: %d in all, want %d", q, page.Total, want)
			}
			for name, value := range q.Facets { // its own facet counts what could be chosen instead
				for _, v := range page.Facets[name] {
					other := q
					other.Cursor, other.Facets = "", map[string]string{name: v.Value}
					if p, err := r.Directory(t.Context(), noon, other); err != nil || p.Total != v.Count {
						t.Errorf("%s=%q counts %d, and choosing it gives %d, %v", name, v.Value, v.Count, p.Total, err)
					}
				}
				_ = value
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		if len(got) != want {
			t.Errorf("%+v: pages hold %d, want %d", q, len(got), want)
		}
		key, descending, err := sortKey(q.Sort)
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; i < len(got); i++ {
			a, b := key(&got[i-1]), key(&got[i])
			if c := a.number - b.number; descending && (c < 0 || c == 0 && a.text < b.text) || !descending && (c > 0 || c == 0 && a.text > b.text) {
				t.Fatalf("%+v: %s comes before %s", q, got[i-1].Identity, got[i].Identity)
			}
		}
	}
	for _, sort := range Sorts {
		f(DirectoryQuery{Sort: sort}, 40)
		f(DirectoryQuery{Sort: "-" + sort}, 40)
	}
	f(DirectoryQuery{Facets: map[string]string{"environment": "prod"}}, 20)
	f(DirectoryQuery{Facets: map[string]string{"owner": ""}}, 13)
	f(DirectoryQuery{Text: "S1"}, 10)
	f(DirectoryQuery{Text: "bOB"}, 13)
	for _, bad := range []DirectoryQuery{{Cursor: "x"}, {Cursor: "é"}, {Sort: "x"}, {Facets: map[string]string{"x": ""}}} {
		if _, err := r.Directory(t.Context(), noon, bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestActivityReport(t *testing.T) {
	w := &world{t: t, s: open(t)}
	w.use("shop", "n1", "db.example", event.Outbound, 48*time.Hour, event.Counts{Connections: 5})
	r := New(w.s, nil)
	a, err := r.Activity(t.Context(), account(t, "shop"), noon, 7*day)
	if err != nil || len(a.Days) == 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	var sum uint64
	for _, hours := range a.Connections {
		for _, n := range hours {
			sum += n
		}
	}
	if sum != 5 {
		t.Errorf("%d connections, want 5", sum)
	}
	if _, err := r.Activity(t.Context(), account(t, "nobody"), noon, 7*day); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v, want that it is not known", err)
	}
}
