package report

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// drawn is a small estate: what happened in it, and what is declared of it. A trust domain of its own keeps it from the others in the store.
type drawn struct {
	domain       string
	observations []event.Observation
	sightings    []store.Sighting
	declared     []event.Declaration
	gone         map[string]bool // at the end
}

const drawnNames = 6

func (d *drawn) id(i int) event.Identity {
	id, err := event.ParseIdentity(fmt.Sprintf("spiffe://%s/ns/n/sa/w%d", d.domain, i))
	if err != nil {
		panic(err)
	}
	return id
}

func drawEstate(domain string) *rapid.Generator[*drawn] {
	return rapid.Custom(func(r *rapid.T) *drawn {
		d := &drawn{domain: domain, gone: map[string]bool{}}
		at := func() time.Time { return ago(time.Duration(rapid.IntRange(0, 60*24).Draw(r, "hour")) * time.Hour) }
		who := rapid.IntRange(0, drawnNames-1)
		for range rapid.IntRange(0, 30).Draw(r, "observations") {
			o := event.Observation{
				Time: at(), Node: rapid.SampledFrom([]string{"n1", "n2"}).Draw(r, "node"), Direction: rapid.SampledFrom([]event.Direction{event.Outbound, event.Inbound}).Draw(r, "direction"), Protocol: event.TCP,
				Workload: event.Workload{Identity: d.id(who.Draw(r, "who")), Evidence: event.EvidenceSVID, Owner: rapid.SampledFrom([]string{"", "Deployment/a", "Deployment/b"}).Draw(r, "owner")},
				Peer:     event.Peer{Address: netip.MustParseAddr("10.0.0.1"), Port: 8443},
			}
			switch rapid.IntRange(0, 3).Draw(r, "peer") {
			case 0:
				o.Peer.Name, o.Peer.NameSource, o.Peer.Port = rapid.SampledFrom([]string{"db.example", "db.shop.svc", "cache"}).Draw(r, "name"), event.NameDNS, 5432
			case 1:
				o.Peer.Address = netip.MustParseAddr(rapid.SampledFrom([]string{"203.0.113.7", "10.1.2.3", "172.20.0.1", "23.4.5.6", "2001:db8::1", "fd00::1", "225.1.1.1"}).Draw(r, "address"))
			default:
				o.Peer.Identity, o.Peer.Evidence = d.id(who.Draw(r, "peer")), event.EvidenceSVID
			}
			o.Counts.Connections = rapid.Uint64Range(1, 3).Draw(r, "connections")
			switch rapid.IntRange(0, 3).Draw(r, "outcome") {
			case 0:
				o.Counts.Failed = o.Counts.Connections
			case 1:
				o.Counts.Denied = o.Counts.Connections
			default:
				o.Counts.BytesReceived = 1
			}
			d.observations = append(d.observations, o)
		}
		for range rapid.IntRange(0, 4).Draw(r, "sightings") {
			d.sightings = append(d.sightings, store.Sighting{Workload: event.Workload{Identity: d.id(who.Draw(r, "runs")), Evidence: event.EvidenceKubernetes}, Node: "n1", Time: at()})
		}
		for _, i := range rapid.SliceOfNDistinct(who, 0, drawnNames, rapid.ID[int]).Draw(r, "declared") {
			x := event.Declaration{
				Identity: d.id(i), Source: event.SourceCSV, SourceName: domain, Owner: rapid.SampledFrom([]string{"", "team"}).Draw(r, "team"),
				Privilege: rapid.SampledFrom(append([]event.Privilege{""}, event.Privileges...)).Draw(r, "privilege"), Created: ago(time.Duration(rapid.IntRange(1, 60).Draw(r, "created")) * day),
			}
			if rapid.Bool().Draw(r, "endless") {
				x.Tokens = []event.TokenKind{event.TokenSecret}
			}
			d.declared = append(d.declared, x)
			d.gone[x.Identity.String()] = rapid.IntRange(0, 3).Draw(r, "gone") == 0
		}
		return d
	})
}

const retiredBefore = 20 * day // when what is gone went

func (d *drawn) fill(t *testing.T, s *store.Store) {
	t.Helper()
	rows := make([]store.ObservationRow, len(d.observations))
	for i := range d.observations {
		rows[i] = store.RowOf(&d.observations[i], noon, uint64(i))
	}
	if len(rows) > 0 {
		if err := s.InsertObservations(t.Context(), d.domain, rows); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.InsertSightings(t.Context(), d.sightings); err != nil {
		t.Fatal(err)
	}
	for _, told := range []struct {
		at  time.Duration
		all bool
	}{{55 * day, true}, {retiredBefore, false}} {
		in := store.Inventory{Source: event.SourceCSV, Name: d.domain, Time: ago(told.at)}
		for _, x := range d.declared {
			if told.all || !d.gone[x.Identity.String()] {
				in.Declarations = append(in.Declarations, x)
			}
		}
		if _, err := s.ReplaceInventory(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
}

// life is what is known of one identity, by looking at everything.
type life struct{ first, last, used, success time.Time }

func (d *drawn) lives() map[string]*life {
	out := map[string]*life{}
	see := func(id event.Identity, from, at time.Time) *life {
		l := out[id.String()]
		if l == nil {
			l = &life{first: from}
			out[id.String()] = l
		}
		if from.Before(l.first) {
			l.first = from
		}
		if at.After(l.last) {
			l.last = at
		}
		return l
	}
	for i := range d.observations {
		o := &d.observations[i]
		l := see(o.Workload.Identity, o.Time, o.Time)
		if o.Time.After(l.used) {
			l.used = o.Time
		}
		if o.Counts.BytesReceived > 0 && o.Time.After(l.success) {
			l.success = o.Time
		}
	}
	for _, x := range d.sightings {
		see(x.Workload.Identity, x.Time, x.Time)
	}
	return out
}

// classes are those that all identities must have.
func (d *drawn) classes(window time.Duration) map[string]string {
	from, out := ago(window), map[string]string{}
	lives := d.lives()
	declared := map[string]event.Declaration{}
	for _, x := range d.declared {
		declared[x.Identity.String()] = x
	}
	for i := range drawnNames {
		id := d.id(i).String()
		l, x, gone := lives[id], declared[id], d.gone[id]
		_, known := declared[id]
		since := ago(55 * day)
		if x.Created.Before(since) {
			since = x.Created
		}
		switch {
		case known && gone && l != nil && l.last.After(ago(retiredBefore).Add(time.Hour)) && !l.last.Before(from):
			out[id] = store.ClassRetired
		case known && !gone && l == nil && since.Before(from):
			out[id] = store.ClassDeclared
		case l == nil || !l.first.Before(from) || !l.used.IsZero() && !l.used.Before(from):
		case known && gone:
			out[id] = store.ClassOrphaned
		case l.used.IsZero():
			out[id] = store.ClassNever
		default:
			out[id] = store.ClassDormant
		}
	}
	return out
}

// reachable are the identities that can be reached from one, with the number of steps, by looking at every observation again at each step.
func (d *drawn) reachable(start string, way store.Way, depth int, from time.Time) map[string]int {
	type pair struct{ caller, callee string }
	type sum struct {
		open bool
		last time.Time
	}
	pairs := map[pair]*sum{}
	for i := range d.observations {
		o := &d.observations[i]
		if o.Peer.Identity.IsZero() {
			continue
		}
		p := pair{o.Workload.Identity.String(), o.Peer.Identity.String()}
		if o.Direction == event.Inbound {
			p.caller, p.callee = p.callee, p.caller
		}
		if pairs[p] == nil {
			pairs[p] = &sum{}
		}
		x := pairs[p]
		x.open = x.open || o.Counts.BytesReceived > 0
		if o.Time.After(x.last) {
			x.last = o.Time
		}
	}
	out := map[string]int{start: 0}
	for step := 1; step <= depth; step++ {
		for p, x := range pairs {
			a, b := p.caller, p.callee
			if way == store.Backward {
				a, b = b, a
			}
			at, known := out[a]
			if _, seen := out[b]; known && at == step-1 && !seen && x.open && !x.last.Before(from) {
				out[b] = step
			}
		}
	}
	return out
}

// TestAgainstReference: whatever happened, reports say what a look at everything says.
func TestAgainstReference(t *testing.T) {
	s := open(t)
	w := &world{t: t, s: s}
	for _, n := range []string{"n1", "n2"} {
		w.watch(store.Coverage{Node: n, Boot: "a", From: ago(100 * day), Until: noon})
	}
	r := New(s, nil)
	for seed := range 12 {
		d := drawEstate(fmt.Sprintf("drawn%d.example", seed)).Example(seed)
		d.fill(t, s)
		window := []time.Duration{30 * day, 10 * day, 45 * day}[seed%3]
		classes := d.classes(window)
		q := UnusedQuery{Window: window, Text: d.domain, Limit: 2}
		got, lives := map[string]string{}, d.lives()
		for { // in pages
			page, err := r.Unused(t.Context(), noon, q)
			if err != nil {
				t.Fatal(err)
			}
			if page.Total != uint64(len(classes)) {
				t.Errorf("%s: %d in all, want %d", d.domain, page.Total, len(classes))
			}
			for _, u := range page.Items {
				id := u.Identity.String()
				if _, twice := got[id]; twice {
					t.Errorf("%s is listed twice", id)
				}
				got[id] = u.Class
				if l := lives[id]; l != nil && (!u.LastUsed.Equal(l.used) || !u.LastSuccess.Equal(l.success) || !u.FirstSeen.Equal(l.first) || !u.LastSeen.Equal(l.last)) {
					t.Errorf("%s: %+v, want %+v", id, u, l)
				}
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		if !maps.Equal(got, classes) {
			t.Errorf("%s, window %s: %v, want %v", d.domain, window, got, classes)
		}
		for _, way := range []store.Way{store.Forward, store.Backward} {
			start := d.id(seed % drawnNames)
			if _, known := lives[start.String()]; !known {
				continue
			}
			ask := r.BlastRadius
			if way == store.Backward {
				ask = func(ctx context.Context, id event.Identity, now time.Time, q GraphQuery) (*Graph, error) {
					return r.WhoCanReach(ctx, id.String(), now, q)
				}
			}
			g, err := ask(t.Context(), start, noon, GraphQuery{Window: window, Depth: 2})
			if err != nil {
				t.Fatal(err)
			}
			reached := map[string]int{}
			for _, n := range g.Items {
				reached[n.Identity] = n.Depth
			}
			if want := d.reachable(start.String(), way, 2, ago(window)); !maps.Equal(reached, want) {
				t.Errorf("%s %s: %v, want %v", way, start, reached, want)
			}
		}
		checkRisks(t, r, d, window)
	}
}

// checkRisks compares the risks that need no findings.
func checkRisks(t *testing.T, r *Reporter, d *drawn, window time.Duration) {
	t.Helper()
	got, err := r.HighRisk(t.Context(), noon, RiskQuery{Window: window, AtLeast: 1, Text: d.domain})
	if err != nil {
		t.Fatal(err)
	}
	from, lives, owners := ago(window), d.lives(), map[string]map[string]bool{}
	want := map[string][]Risk{}
	declared := map[string]event.Declaration{}
	for _, x := range d.declared {
		declared[x.Identity.String()] = x
	}
	public := map[string]bool{}
	latest := map[string]event.Observation{} // by identity and node
	for _, o := range d.observations {
		id := o.Workload.Identity.String()
		key := id + " " + o.Node
		if l, ok := latest[key]; !ok || o.Time.After(l.Time) || o.Time.Equal(l.Time) && o.Workload.Owner > l.Workload.Owner {
			latest[key] = o
		}
		a := o.Peer.Address
		internet := o.Peer.Identity.IsZero() && (o.Peer.Name == "db.example" || o.Peer.Name == "" && !a.IsPrivate() && !a.IsMulticast())
		public[id] = public[id] || internet && !o.Time.Before(from)
	}
	for key, o := range latest {
		id, _, _ := strings.Cut(key, " ")
		seen := o.Time
		for _, x := range d.sightings {
			if x.Workload.Identity == o.Workload.Identity && x.Node == o.Node && x.Time.After(seen) {
				seen, o.Workload.Owner = x.Time, "" // the latest workload there has none
			}
		}
		if o.Workload.Owner != "" && !seen.Before(from) {
			if owners[id] == nil {
				owners[id] = map[string]bool{}
			}
			owners[id][o.Workload.Owner] = true
		}
	}
	for i := range drawnNames {
		id := d.id(i).String()
		x, known := declared[id]
		l := lives[id]
		if (!known || d.gone[id]) && (l == nil || l.last.Before(from)) {
			continue
		}
		for _, c := range []struct {
			risk Risk
			is   bool
		}{
			{RiskPrivileged, x.Privilege.Rank() >= event.PrivilegeHigh.Rank()}, {RiskLongLived, len(x.Tokens) > 0}, {RiskInternet, public[id]},
			{RiskShared, len(owners[id]) > 1}, {RiskOwner, x.Owner == ""},
		} {
			if c.is {
				want[id] = append(want[id], c.risk)
			}
		}
	}
	said := map[string][]Risk{}
	for _, h := range got.Items {
		for _, e := range h.Risks {
			said[h.Identity.String()] = append(said[h.Identity.String()], e.Risk)
		}
	}
	if !maps.EqualFunc(said, want, slices.Equal[[]Risk]) {
		t.Errorf("%s, window %s: risks %v, want %v", d.domain, window, said, want)
	}
}
