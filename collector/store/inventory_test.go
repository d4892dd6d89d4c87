package store

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/event"
)

// declared is a declaration with something in every field.
func declared(t testing.TB, uri string) event.Declaration {
	t.Helper()
	return event.Declaration{
		Identity: identity(t, uri), Kind: "service-account", Source: event.SourceKubernetes, SourceName: "cluster", Namespace: "shop", Name: "checkout",
		Owner: "team shop", Purpose: "takes orders", Environment: "production", Domain: event.DomainService, Privilege: event.PrivilegeMedium,
		PrivilegeReasons: []string{"reads secrets of namespace shop"}, Tokens: []event.TokenKind{event.TokenBound, event.TokenSecret}, BusinessFunction: "sales",
		Created: noon.Add(-100 * day), Expires: noon.Add(100 * day), Labels: map[string]string{"app": "checkout"}, Annotations: map[string]string{"ambit.dev/owner": "team shop"},
	}
}

func replace(t testing.TB, s *Store, in Inventory) InventoryChange {
	t.Helper()
	if in.Source == "" {
		in.Source, in.Name = event.SourceKubernetes, "cluster"
	}
	change, err := s.ReplaceInventory(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return change
}

func inventoryOf(t testing.TB, s *Store, f InventoryFilter) []event.Declaration {
	t.Helper()
	out, next, err := s.Inventory(t.Context(), f)
	if err != nil || next != "" {
		t.Fatalf("%v, cursor %q", err, next)
	}
	return out
}

func TestReplaceInventory(t *testing.T) {
	s := open(t)
	a, b := declared(t, checkout), declared(t, billing)
	at := func(hours int) time.Time { return noon.Add(time.Duration(hours) * time.Hour) }
	f := func(name string, in Inventory, want InventoryChange) {
		t.Helper()
		if got := replace(t, s, in); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	type list = []event.Declaration
	f("dry run", Inventory{Declarations: list{a, b}, Time: at(0), DryRun: true}, InventoryChange{Added: 2})
	if n := number(t, s, "(SELECT count() FROM inventory) + (SELECT count() FROM inventory_sources)"); n != 0 {
		t.Errorf("a dry run wrote %d rows", n)
	}
	f("first", Inventory{Declarations: list{a, b}, Time: at(0)}, InventoryChange{Added: 2})
	rows := number(t, s, "(SELECT count() FROM inventory)")
	f("again", Inventory{Declarations: list{b, a}, Time: at(1)}, InventoryChange{Unchanged: 2})
	if n := number(t, s, "(SELECT count() FROM inventory)"); n != rows {
		t.Errorf("telling it again wrote %d rows", n-rows)
	}
	got := inventoryOf(t, s, InventoryFilter{})
	want := a
	want.FirstDeclared, want.LastDeclared = at(0), at(1)
	if len(got) != 2 || !reflect.DeepEqual(got[1], want) {
		t.Fatalf("got\n%+v, want\n%+v", got, want)
	}

	a.Owner = "team pay"
	f("changed, and one refused", Inventory{Declarations: list{a}, Refused: 1, Time: at(2)}, InventoryChange{Changed: 1, Kept: 1})
	f("gone", Inventory{Declarations: list{a}, Time: at(3)}, InventoryChange{Unchanged: 1, Gone: 1})
	f("still gone", Inventory{Declarations: list{a}, Time: at(4)}, InventoryChange{Unchanged: 1})
	got = inventoryOf(t, s, InventoryFilter{Gone: true})
	if len(got) != 2 || got[0].Identity != b.Identity || !got[0].Gone.Equal(at(3)) || !got[0].LastDeclared.Equal(at(1)) || got[1].Owner != "team pay" ||
		!got[1].FirstDeclared.Equal(at(0)) || !got[1].LastDeclared.Equal(at(4)) {
		t.Errorf("%+v", got)
	}
	if got := inventoryOf(t, s, InventoryFilter{}); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	// Another source does not touch the first.
	c := b
	c.Source, c.SourceName = event.SourceCSV, "cmdb"
	f("another source", Inventory{Source: event.SourceCSV, Name: "cmdb", Declarations: list{c}, Time: at(5)}, InventoryChange{Added: 1})
	// Back again, with a clock that was set back.
	f("back", Inventory{Declarations: list{a, b}, Time: at(2)}, InventoryChange{Added: 1, Unchanged: 1})
	got = inventoryOf(t, s, InventoryFilter{})
	if len(got) != 3 || got[0].Source != event.SourceCSV || got[1].Source != event.SourceKubernetes || !got[1].Gone.IsZero() || !got[1].FirstDeclared.Equal(at(0)) {
		t.Errorf("%+v", got)
	}
	sources, err := s.InventorySources(t.Context())
	if err != nil || len(sources) != 2 || sources[0].Name != "cmdb" || sources[0].Entries != 1 || sources[1].Entries != 2 || !sources[1].LastTime.Equal(at(2)) {
		t.Errorf("%+v %v", sources, err)
	}

	for name, in := range map[string]Inventory{
		"twice":          {Source: event.SourceCSV, Name: "cmdb", Declarations: list{c, c}, Time: at(6)},
		"another source": {Source: event.SourceCSV, Name: "cmdb", Declarations: list{a}, Time: at(6)},
		"invalid":        {Source: event.SourceCSV, Name: "cmdb", Declarations: list{{}}, Time: at(6)},
	} {
		if _, err := s.ReplaceInventory(t.Context(), in); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", name, err)
		}
	}
	if _, err := s.ReplaceInventory(t.Context(), Inventory{Source: event.SourceCSV, Name: "cmdb"}); err == nil {
		t.Error("no time: no error")
	}
	if got := inventoryOf(t, s, InventoryFilter{Source: event.SourceCSV}); len(got) != 1 {
		t.Errorf("after refusals: %+v", got)
	}
}

func TestInventoryPages(t *testing.T) {
	s := open(t)
	var all []event.Declaration
	for i := range 1205 {
		d := declared(t, fmt.Sprintf("spiffe://shop.example/ns/shop/sa/w%04d", i))
		if i%2 == 1 {
			d.Owner = ""
		}
		all = append(all, d)
	}
	replace(t, s, Inventory{Declarations: all, Time: noon})
	f := func(name string, filter InventoryFilter, want int, more bool) {
		t.Helper()
		got, next, err := s.Inventory(t.Context(), filter)
		if err != nil || len(got) != want || (next != "") != more {
			t.Errorf("%s: %d, cursor %q, %v; want %d, more %v", name, len(got), next, err, want, more)
		}
	}
	owned := func(d *event.Declaration) bool { return d.Owner != "" }
	f("all", InventoryFilter{Limit: 1000}, 1000, true)
	f("standard", InventoryFilter{}, 100, true)
	f("text", InventoryFilter{Query: "SA/W000"}, 10, false)
	f("another source", InventoryFilter{Source: event.SourceCSV}, 0, false)
	f("another name", InventoryFilter{Name: "x"}, 0, false)
	f("kept", InventoryFilter{Limit: 603, Keep: owned}, 603, false)
	f("more kept", InventoryFilter{Limit: 602, Keep: owned}, 602, true)
	for _, keep := range []func(*event.Declaration) bool{nil, owned} {
		seen, next := map[string]bool{}, ""
		for pages := 0; ; pages++ {
			page, n, err := s.Inventory(t.Context(), InventoryFilter{Limit: 101, Cursor: next, Keep: keep})
			if err != nil || pages > 1000 {
				t.Fatal(err)
			}
			for i := range page {
				seen[page[i].Identity.String()] = true
			}
			if next = n; next == "" {
				break
			}
		}
		if want := map[bool]int{true: 1205, false: 603}[keep == nil]; len(seen) != want {
			t.Errorf("pages hold %d, want %d", len(seen), want)
		}
	}
	if _, _, err := s.Inventory(t.Context(), InventoryFilter{Cursor: "x"}); !errors.Is(err, ErrCursor) {
		t.Errorf("%v, want ErrCursor", err)
	}
}

// TestIdentitiesDeclared: identities that are only declared stand between those that were seen, each once, with all that is declared of them.
func TestIdentitiesDeclared(t *testing.T) {
	s := open(t)
	seen, unseen, both, gone := "spiffe://shop.example/b", "spiffe://shop.example/a", checkout, "spiffe://shop.example/z"
	insertRows(t, s, "a", rowsOf(toward(t, seen, "db.example", noon, event.Counts{Connections: 1}), toward(t, both, "db.example", noon, event.Counts{Connections: 2})))
	replace(t, s, Inventory{Declarations: []event.Declaration{declared(t, unseen), declared(t, both), declared(t, gone)}, Time: noon})
	replace(t, s, Inventory{Declarations: []event.Declaration{declared(t, unseen), declared(t, both)}, Time: noon.Add(time.Hour)})
	list := declared(t, both)
	list.Source, list.SourceName = event.SourceCSV, "list"
	replace(t, s, Inventory{Source: event.SourceCSV, Name: "list", Declarations: []event.Declaration{list}, Time: noon})

	describe := func(ids []Identity) string {
		var b strings.Builder
		for _, i := range ids {
			fmt.Fprintf(&b, "%s seen %v connections %d declared %d; ", i.Identity, !i.FirstSeen.IsZero(), i.Counts.Connections, len(i.Declarations))
		}
		return b.String()
	}
	const want = "spiffe://shop.example/a seen false connections 0 declared 1; spiffe://shop.example/b seen true connections 1 declared 0; " +
		"spiffe://shop.example/ns/shop/sa/checkout seen true connections 2 declared 2; "
	ids, next, err := s.Identities(t.Context(), IdentityFilter{})
	if err != nil || next != "" || describe(ids) != want {
		t.Errorf("%v %q\n got %s\nwant %s", err, next, describe(ids), want)
	}
	for limit := 1; limit < 4; limit++ {
		var all []Identity
		for next, pages := "", 0; pages == 0 || next != ""; pages++ {
			var page []Identity
			if page, next, err = s.Identities(t.Context(), IdentityFilter{Limit: limit, Cursor: next}); err != nil {
				t.Fatal(err)
			}
			all = append(all, page...)
		}
		if describe(all) != want {
			t.Errorf("pages of %d: %s", limit, describe(all))
		}
	}
	if ids, _, err := s.Identities(t.Context(), IdentityFilter{Query: "SA/CHECK"}); err != nil || len(ids) != 1 || len(ids[0].Declarations) != 2 {
		t.Errorf("%s %v", describe(ids), err)
	}
	for uri, declarations := range map[string]int{unseen: 1, both: 2, seen: 0} {
		if i, err := s.Identity(t.Context(), identity(t, uri)); err != nil || len(i.Declarations) != declarations {
			t.Errorf("%s: %+v %v", uri, i, err)
		}
	}
	if i, err := s.Identity(t.Context(), identity(t, unseen)); err != nil || len(i.Nodes) != 0 || !i.LastSeen.IsZero() || !i.LastUsed.IsZero() || i.Evidence != "" {
		t.Errorf("%+v %v", i, err)
	}
	if _, err := s.Identity(t.Context(), identity(t, gone)); !errors.Is(err, ErrNotFound) { // never seen, and not declared any more
		t.Errorf("%v, want ErrNotFound", err)
	}
}

// TestReplaceProperties: after any sequence of tellings, what is not gone is what was told last, the counts add up, and repeating changes nothing.
func TestReplaceProperties(t *testing.T) {
	s := open(t)
	checks := flag.Lookup("rapid.checks") // each of them asks the engine a dozen times
	before := checks.Value.String()
	if err := checks.Value.Set("15"); err != nil {
		t.Fatal(err)
	}
	defer checks.Value.Set(before)
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		name, told := fmt.Sprint("list", n), map[string]event.Declaration{}
		at := noon
		for step := range rapid.IntRange(1, 3).Draw(r, "steps") {
			now := map[string]event.Declaration{}
			for range rapid.IntRange(0, 4).Draw(r, "n") {
				d := declared(t, rapid.SampledFrom([]string{checkout, billing, "spiffe://shop.example/x"}).Draw(r, "id"))
				d.Source, d.SourceName, d.Owner = event.SourceJSON, name, rapid.SampledFrom([]string{"", "a", "b"}).Draw(r, "owner")
				now[d.Identity.String()] = d
			}
			at = at.Add(time.Duration(rapid.IntRange(-1, 2).Draw(r, "hours")) * time.Hour)
			in := Inventory{Source: event.SourceJSON, Name: name, Declarations: slices.Collect(maps.Values(now)), Time: at}
			first, second := replace(t, s, in), replace(t, s, in)
			if first.Added+first.Changed+first.Unchanged != len(now) || second != (InventoryChange{Unchanged: len(now)}) {
				r.Fatalf("step %d: %+v, then %+v, of %d", step, first, second, len(now))
			}
			for id := range told {
				if _, still := now[id]; !still {
					first.Gone--
				}
			}
			if first.Gone != 0 {
				r.Fatalf("step %d: %d too many are gone", step, first.Gone)
			}
			got := inventoryOf(t, s, InventoryFilter{Name: name})
			for i := range got {
				want := now[got[i].Identity.String()]
				if !inventory.Equal(&got[i], &want) {
					r.Fatalf("%+v\nwant %+v", got[i], want)
				}
			}
			if len(got) != len(now) {
				r.Fatalf("%d are there, want %d", len(got), len(now))
			}
			told = now
		}
	})
}
