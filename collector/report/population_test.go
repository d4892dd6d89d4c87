package report

import (
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// hold has a Reporter keep all identities for an hour, whatever it takes to read them.
func hold(t *testing.T, r *Reporter) {
	t.Helper()
	h, err := r.kept.read(t.Context(), time.Hour, listed, noon, r.readPopulation(noon.Add(-listed), noon))
	if err != nil {
		t.Fatal(err)
	}
	h.took, h.until = time.Second, time.Now().Add(time.Hour)
	r.kept.keep(h)
	t.Cleanup(func() {
		r.kept.mu.Lock()
		defer r.kept.mu.Unlock()
		r.kept.drop(func(*held[*population]) bool { return true })
	})
}

// Lists and reports share what was read of all identities, say as of when it is, and read it anew when something was declared.
func TestSharedPopulation(t *testing.T) {
	w := &world{t: t, s: open(t)}
	w.sight("shop", "n1", time.Hour)
	r := New(w.s, nil)
	r.Reuse = time.Hour
	hold(t, r)
	later := noon.Add(time.Minute)
	f := func(why string, want int, asOf time.Time) *Directory {
		t.Helper()
		d, err := r.Directory(t.Context(), later, DirectoryQuery{})
		if err != nil {
			t.Fatal(err)
		}
		if int(d.Total) != want || len(d.Items) != want || !d.AsOf.Equal(asOf) {
			t.Errorf("%s: the list holds %d identities, as of %s, want %d, as of %s", why, d.Total, d.AsOf, want, asOf)
		}
		g, err := r.Groups(t.Context(), later, listed, "kind", Paging{})
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Items[0].Identities; int(got) != want {
			t.Errorf("%s: the report counts %d identities, want %d", why, got, want)
		}
		if read := g.Coverage.IdentitiesAsOf; asOf.Equal(later) != read.IsZero() || !read.IsZero() && !read.Equal(asOf) {
			t.Errorf("%s: the report says that they were read at %s, want %s", why, read, asOf)
		}
		return d
	}
	f("at first", 1, noon)
	w.sight("cart", "n1", time.Hour)
	f("an agent tells of one more", 1, noon)
	list := []event.Declaration{{Identity: account(t, "shop"), Source: event.SourceCSV, SourceName: "list", Owner: "team shop"}}
	if _, err := w.s.ReplaceInventory(t.Context(), store.Inventory{Source: event.SourceCSV, Name: "list", Declarations: list, Time: ago(0)}); err != nil {
		t.Fatal(err)
	}
	d := f("an inventory was imported", 2, later)
	states := map[string]inventory.State{}
	for _, e := range d.Items {
		states[e.Identity.String()] = e.Inventory
	}
	if got := states[account(t, "shop").String()]; got != inventory.DeclaredSeen {
		t.Errorf("its state is %q, want %q", got, inventory.DeclaredSeen)
	}
}
