package store

import (
	"errors"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

func reach(t testing.TB, s *Store, id string, f ReachFilter) ([]Reach, string) {
	t.Helper()
	out, next, err := s.Reach(t.Context(), identity(t, id), f)
	if err != nil {
		t.Fatal(err)
	}
	return out, next
}

func TestReach(t *testing.T) {
	s := open(t)
	inbound := toward(t, checkout, "web.example", noon, event.Counts{Connections: 4})
	inbound.Direction = event.Inbound
	elsewhere := toward(t, checkout, "db.example", noon.Add(2*time.Hour), event.Counts{BytesSent: 5, BytesReceived: 7})
	elsewhere.Node, elsewhere.Workload.Executable = "n2", "/app/migrate"
	insertRows(t, s, "a", rowsOf(
		toward(t, checkout, "db.example", noon, event.Counts{Connections: 3, Failed: 1, Denied: 1}), elsewhere, inbound,
		toward(t, checkout, "mail.example", noon, event.Counts{Connections: 1}),
		toward(t, billing, "db.example", noon, event.Counts{Connections: 1}),
	))
	all, next := reach(t, s, checkout, ReachFilter{})
	if len(all) != 3 || next != "" {
		t.Fatalf("%d edges, cursor %q, want 3 and none", len(all), next)
	}
	out, _ := reach(t, s, checkout, ReachFilter{Direction: event.Outbound})
	want := Reach{
		Identity: identity(t, checkout), Direction: event.Outbound, Resource: resource(t, "dns:db.example:443/tcp"),
		FirstTime: noon.Add(-10 * time.Second), LastTime: noon.Add(2 * time.Hour), LastSuccess: noon.Add(2 * time.Hour),
		Counts: event.Counts{Connections: 3, Failed: 1, Denied: 1, BytesSent: 5, BytesReceived: 7},
		Hours:  []int{12, 14}, Executables: []string{"/app/checkout", "/app/migrate"}, Nodes: []string{"n1", "n2"},
	}
	if len(out) != 2 || fmt.Sprint(out[0]) != fmt.Sprint(want) {
		t.Errorf("\n got %+v\nwant %+v", out, want)
	}
	if in, _ := reach(t, s, checkout, ReachFilter{Direction: event.Inbound}); len(in) != 1 || in[0].Resource != resource(t, "dns:web.example:443/tcp") {
		t.Errorf("inbound %+v", in)
	}

	var paged []Reach
	f := ReachFilter{Limit: 1}
	for {
		one, next := reach(t, s, checkout, f)
		paged = append(paged, one...)
		if f.Cursor = next; next == "" {
			break
		}
	}
	if fmt.Sprint(paged) != fmt.Sprint(all) {
		t.Errorf("pages of one:\n got %+v\nwant %+v", paged, all)
	}
	for _, c := range []string{"x", cursor("one"), "é"} {
		if _, _, err := s.Reach(t.Context(), identity(t, checkout), ReachFilter{Cursor: c}); !errors.Is(err, ErrCursor) {
			t.Errorf("cursor %q: %v, want ErrCursor", c, err)
		}
	}
}

// TestLastSuccess: an attempt that failed is no success, also when its failure is counted in a later interval than the attempt.
func TestLastSuccess(t *testing.T) {
	s := open(t)
	at := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
	n := 0
	f := func(name string, want time.Time, intervals ...event.Counts) {
		t.Helper()
		n++
		id := fmt.Sprintf("spiffe://shop.example/ns/shop/sa/w%d", n)
		for i, c := range intervals {
			insertRows(t, s, fmt.Sprint(id, i), rowsOf(toward(t, id, "db.example", at(i), c)))
		}
		got, _ := reach(t, s, id, ReachFilter{})
		if !got[0].LastSuccess.Equal(want) || !got[0].LastTime.Equal(at(len(intervals)-1)) {
			t.Errorf("%s: last success %s, last time %s, want %s and the end", name, got[0].LastSuccess, got[0].LastTime, want)
		}
		one, err := s.Identity(t.Context(), identity(t, id))
		if err != nil || !one.LastSuccess.Equal(want) {
			t.Errorf("%s: last success of the identity %s %v, want %s", name, one.LastSuccess, err, want)
		}
	}
	never := time.Time{}
	f("connected", at(0), event.Counts{Connections: 1})
	f("refused", never, event.Counts{Connections: 1, Failed: 1})
	f("refused later", never, event.Counts{Connections: 1}, event.Counts{Failed: 1})
	f("denied", never, event.Counts{Connections: 2, Denied: 2})
	f("one of two refused", at(0), event.Counts{Connections: 2, Failed: 1})
	f("then only refused", at(0), event.Counts{Connections: 1, BytesReceived: 1}, event.Counts{Connections: 1, Failed: 1})
	f("still open", at(1), event.Counts{Connections: 1}, event.Counts{})
	f("bytes at the end", at(1), event.Counts{Connections: 1}, event.Counts{BytesSent: 1})
}

// TestReachTotals: whatever comes in whatever batches, repeated or not, reach says what a sum in Go says.
func TestReachTotals(t *testing.T) {
	s := open(t)
	// Each check is a dozen inserts on a real engine. -rapid.checks asks for more.
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("15"); err != nil {
			t.Fatal(err)
		}
		defer f.Value.Set(f.DefValue)
	}
	midnight := noon.Truncate(day)
	run := 0
	rapid.Check(t, func(r *rapid.T) {
		run++
		type key struct{ id, resource string }
		model := map[key]*event.Counts{}
		first, last := map[key]time.Time{}, map[key]time.Time{}
		ids := []string{fmt.Sprintf("spiffe://run.example/%d/a", run), fmt.Sprintf("spiffe://run.example/%d/b", run)}
		count := rapid.Uint64Range(0, 1<<40)
		for b := range rapid.IntRange(1, 4).Draw(r, "batches") {
			var observations []*event.Observation
			for range rapid.IntRange(1, 20).Draw(r, "observations") {
				at := midnight.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(r, "time"))).Truncate(time.Microsecond)
				c := event.Counts{Connections: count.Draw(r, "connections"), Failed: count.Draw(r, "failed"), Denied: count.Draw(r, "denied"),
					BytesSent: count.Draw(r, "sent"), BytesReceived: count.Draw(r, "received")}
				o := toward(t, rapid.SampledFrom(ids).Draw(r, "identity"), rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "name"), at, c)
				observations = append(observations, o)
				k := key{o.Workload.Identity.String(), event.ResourceOf(o).String()}
				if model[k] == nil {
					model[k], first[k], last[k] = &event.Counts{}, o.First(), at
				}
				model[k].Add(c)
				if o.First().Before(first[k]) {
					first[k] = o.First()
				}
				if at.After(last[k]) {
					last[k] = at
				}
			}
			for range rapid.IntRange(1, 2).Draw(r, "times") {
				insertRows(t, s, fmt.Sprintf("%d/%d", run, b), rowsOf(observations...))
			}
		}
		edges := 0
		for _, id := range ids {
			got, _ := reach(t, s, id, ReachFilter{})
			edges += len(got)
			var total event.Counts
			for _, e := range got {
				k := key{id, e.Resource.String()}
				if model[k] == nil || e.Counts != *model[k] || !e.FirstTime.Equal(first[k]) || !e.LastTime.Equal(last[k]) {
					r.Fatalf("%v: %+v, want %+v from %s to %s", k, e, model[k], first[k], last[k])
				}
				total.Add(e.Counts)
			}
			if len(got) == 0 {
				continue
			}
			if one, err := s.Identity(t.Context(), identity(t, id)); err != nil || one.Counts != total || one.Resources != uint64(len(got)) {
				r.Fatalf("%s: %+v %v, want %+v of %d resources", id, one, err, total, len(got))
			}
		}
		if edges != len(model) {
			r.Fatalf("%d edges, want %d", edges, len(model))
		}
	})
}

// crowd fills identities and reach with many identities of ten resources each.
func crowd(t testing.TB, s *Store, identities int) {
	t.Helper()
	for _, sql := range []string{
		`INSERT INTO reach (identity, direction, resource, first_time, last_time, connections) SELECT concat('spiffe://crowd.example/ns/n/sa/', toString(intDiv(number, 10))),
			'outbound', concat('dns:r', toString(number % 10), '.example:443/tcp'), '2026-11-20 12:00:00', '2026-11-20 12:00:00', 1 FROM numbers(` + strconv.Itoa(10*identities) + `) SETTINGS insert_deduplicate = 0`,
		`INSERT INTO identities (identity, node, first_seen, last_seen) SELECT concat('spiffe://crowd.example/ns/n/sa/', toString(number)),
			'n1', '2026-11-20 12:00:00', '2026-11-20 12:00:00' FROM numbers(` + strconv.Itoa(identities) + `) SETTINGS insert_deduplicate = 0`,
		`INSERT INTO reach_tls (identity, direction, resource, version, provenance, connections) SELECT concat('spiffe://crowd.example/ns/n/sa/', toString(intDiv(number, 10))),
			'outbound', concat('dns:r', toString(number % 10), '.example:443/tcp'), '1.3', 'full', 1 FROM numbers(` + strconv.Itoa(10*identities) + `) SETTINGS insert_deduplicate = 0`,
		`INSERT INTO credentials (holder, sha256, role, identity, last_seen, not_after) SELECT concat('spiffe://crowd.example/ns/n/sa/', toString(number)),
			toString(number), 'own', concat('spiffe://crowd.example/ns/n/sa/', toString(number)), now(), '2036-11-20 12:00:00' FROM numbers(` + strconv.Itoa(identities) + `) SETTINGS insert_deduplicate = 0`,
		"OPTIMIZE TABLE reach FINAL", "OPTIMIZE TABLE identities FINAL", "OPTIMIZE TABLE reach_tls FINAL", "OPTIMIZE TABLE credentials FINAL",
	} {
		if err := s.conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKeysAreUsed: a question about one identity reads one or two granules of 8192 rows, not the table.
func TestKeysAreUsed(t *testing.T) {
	s := open(t)
	crowd(t, s, 50_000)
	one := "spiffe://crowd.example/ns/n/sa/4711"
	if got, _ := reach(t, s, one, ReachFilter{}); len(got) != 10 {
		t.Fatalf("%d edges, want 10", len(got))
	}
	f := func(name, sql string, args []any, most int) {
		t.Helper()
		var plan []string
		type row struct {
			Line string `ch:"explain"`
		}
		if err := each(t.Context(), s, "explain", "EXPLAIN indexes = 1 "+sql, args, func(r *row) error {
			plan = append(plan, r.Line)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(plan, "\n")
		found := regexp.MustCompile(`PrimaryKey(?:\n.*?)*?Granules: (\d+)/(\d+)`).FindAllStringSubmatch(text, -1)
		if len(found) == 0 {
			t.Fatalf("%s: no primary key in the plan:\n%s", name, text)
		}
		for _, m := range found {
			if n, _ := strconv.Atoi(m[1]); n > most {
				t.Errorf("%s: %s of %s granules, want at most %d:\n%s", name, m[1], m[2], most, text)
			}
		}
	}
	f("reach", reachSQL, named("identity", one, "direction", "", "after_direction", "", "after_resource", "", "limit", uint32(10)), 2)
	f("TLS of reach", reachTLSSQL, named("identity", one, "from_direction", "outbound", "from_resource", "dns:r0.example:443/tcp",
		"until_direction", "outbound", "until_resource", "dns:r9.example:443/tcp"), 2)
	f("credentials", credentialsSQL, named("holder", one, "limit", uint32(10)), 2)
	f("last credential", lastCredentialsSQL, named("from", one, "until", one), 2)
	f("outbound reach", reachSQL, named("identity", one, "direction", "outbound", "after_direction", "", "after_resource", "", "limit", uint32(10)), 2)
	f("identity", identitiesSQL, named("cursor", "", "identity", one, "q", "", "limit", uint32(1), "unattributed", int64(-1)), 2)
}

func TestIdentities(t *testing.T) {
	s := open(t)
	crowd(t, s, 250)
	var all []Identity
	f := IdentityFilter{}
	for pages := 0; ; pages++ {
		found, next, err := s.Identities(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
		if f.Cursor = next; next == "" {
			if pages != 2 {
				t.Errorf("%d full pages, want 2", pages)
			}
			break
		}
	}
	if len(all) != 250 || !slices.IsSortedFunc(all, func(a, b Identity) int { return strings.Compare(a.Identity.String(), b.Identity.String()) }) {
		t.Errorf("%d identities, want 250 in order", len(all))
	}
	if all[0].Resources != 10 || all[0].Counts.Connections != 10 {
		t.Errorf("%+v, want 10 resources and connections", all[0])
	}

	g := func(name string, f IdentityFilter, want int, more bool) {
		t.Helper()
		found, next, err := s.Identities(t.Context(), f)
		if err != nil || len(found) != want || (next != "") != more {
			t.Errorf("%s: %d identities, cursor %q, %v; want %d, more %v", name, len(found), next, err, want, more)
		}
	}
	g("substring", IdentityFilter{Query: "SA/24"}, 11, false)
	g("nothing", IdentityFilter{Query: "sa/%"}, 0, false)
	g("limit", IdentityFilter{Limit: 249}, 249, true)
	g("limit of all", IdentityFilter{Limit: 250}, 250, false)
	g("quotes", IdentityFilter{Query: `' OR 1 = 1 --`}, 0, false)
	odd := func(i *Identity) bool { return strings.HasSuffix(i.Identity.String(), "7") }
	g("kept", IdentityFilter{Limit: 20, Keep: odd}, 20, true)
	g("all kept", IdentityFilter{Limit: 25, Keep: odd}, 25, false)
	if _, err := s.Identity(t.Context(), identity(t, checkout)); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	if _, err := s.Identity(t.Context(), event.Identity{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("no identity: %v, want ErrNotFound", err)
	}
}

func TestKind(t *testing.T) {
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	f := func(id event.Identity, want string) {
		t.Helper()
		if got := Kind(id); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
	f(event.KubernetesIdentity(td, "shop", "db"), "service-account")
	for _, namespace := range []string{"sa", "ns", "node"} {
		for _, account := range []string{"sa", "ns", "unit"} {
			f(event.KubernetesIdentity(td, namespace, account), "service-account")
		}
	}
	f(identity(t, "spiffe://shop.example/ns/a/sa/b/c"), "workload")
	f(identity(t, "spiffe://shop.example/ns/a/b/sa/c"), "workload")
	f(event.UnitIdentity(td, "n1", "backup.service"), "unit")
	f(event.CgroupIdentity(td, "n1", "a/b/c"), "cgroup")
	f(event.ProcessIdentity(td, "n1", 1000, "/bin/sh"), "process")
	f(identity(t, "spiffe://shop.example/billing"), "workload")
	f(identity(t, "x509://0011/CN=db"), "certificate")
}

// TestCorruptStored: what cannot be read is skipped and counted, and hides nothing else.
func TestCorruptStored(t *testing.T) {
	s := open(t)
	insertRows(t, s, "a", rowsOf(full(t)))
	for _, sql := range []string{
		"INSERT INTO reach (identity, direction, resource) SELECT '" + checkout + "', 'outbound', 'nonsense' SETTINGS insert_deduplicate = 0",
		"INSERT INTO identities (identity, node) SELECT 'nonsense', 'n1' SETTINGS insert_deduplicate = 0",
	} {
		if err := s.conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := reach(t, s, checkout, ReachFilter{}); len(got) != 1 {
		t.Errorf("%d edges, want 1", len(got))
	}
	if got, _, err := s.Identities(t.Context(), IdentityFilter{}); err != nil || len(got) != 1 {
		t.Errorf("%d identities, %v, want 1", len(got), err)
	}
	if c := s.Counters(); c["corrupt_reach"] != 1 || c["corrupt_identities"] != 1 {
		t.Errorf("counters %v, want 1 each", c)
	}
}
