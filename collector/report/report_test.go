package report

import (
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

func golden(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs; run with -update and read the difference. Got:\n%s", path, got)
	}
}

func open(t *testing.T) *store.Store {
	t.Helper()
	c := store.Default()
	c.Socket = testenv.Engine(t)
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func account(t *testing.T, name string) event.Identity {
	t.Helper()
	id, err := event.ParseIdentity("spiffe://shop.example/ns/shop/sa/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// world fills a store. Everything is said relative to noon.
type world struct {
	t *testing.T
	s *store.Store
	n int
}

func (w *world) sight(name, node string, before ...time.Duration) {
	w.t.Helper()
	for _, d := range before {
		err := w.s.InsertSightings(w.t.Context(), []store.Sighting{{Workload: w.workload(name), Node: node, Time: ago(d)}})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) workload(name string) event.Workload {
	return event.Workload{Identity: account(w.t, name), Evidence: event.EvidenceKubernetes, Namespace: "shop"}
}

func (w *world) use(name, node, peer string, direction event.Direction, before time.Duration, c event.Counts) {
	w.t.Helper()
	w.n++
	o := &event.Observation{Time: ago(before), Node: node, Workload: w.workload(name), Direction: direction, Protocol: event.TCP,
		Peer: event.Peer{Address: netip.MustParseAddr("10.0.0.1"), Port: 443, Name: peer, NameSource: event.NameDNS}, Counts: c}
	rows := []store.ObservationRow{store.RowOf(o, noon, uint64(w.n))} // one day, whenever it happened: the rows would be old otherwise
	if err := w.s.InsertObservations(w.t.Context(), name+peer+before.String(), rows); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) watch(c store.Coverage) {
	w.t.Helper()
	if err := w.s.InsertCoverage(w.t.Context(), []store.Coverage{c}); err != nil {
		w.t.Fatal(err)
	}
}

func TestUnused(t *testing.T) {
	w := &world{t: t, s: open(t)}
	ok, refused := event.Counts{Connections: 1, BytesSent: 1, BytesReceived: 1}, event.Counts{Connections: 2, Failed: 2}

	// Listed.
	w.sight("never", "n1", 60*day, 0)
	w.use("dormant", "n1", "db.example", event.Outbound, 45*day, ok)
	w.sight("dormant", "n1", time.Hour)
	w.use("once-then-refused", "n1", "db.example", event.Outbound, 60*day, ok)
	w.use("once-then-refused", "n2", "mail.example", event.Outbound, 40*day+time.Hour, refused)
	w.use("served-once", "n2", "web.example", event.Inbound, 50*day, ok)
	w.use("only-refused", "n3", "db.example", event.Outbound, 35*day, refused)
	// Not listed.
	w.sight("young", "n1", 29*day, 0)
	w.sight("exactly-as-old", "n1", 30*day, 0)
	w.use("active", "n1", "db.example", event.Outbound, 60*day, ok)
	w.use("active", "n1", "db.example", event.Outbound, time.Hour, ok)
	w.use("refused-lately", "n1", "db.example", event.Outbound, 60*day, ok)
	w.use("refused-lately", "n1", "db.example", event.Outbound, time.Hour, refused)
	w.use("serving", "n1", "web.example", event.Inbound, 60*day, ok)
	w.use("serving", "n1", "web.example", event.Inbound, time.Hour, ok)
	w.use("open-all-the-time", "n1", "db.example", event.Outbound, 60*day, event.Counts{Connections: 1})
	w.use("open-all-the-time", "n1", "db.example", event.Outbound, time.Hour, event.Counts{})

	w.watch(store.Coverage{Node: "n1", Boot: "a", From: ago(100 * day), Until: noon})
	w.watch(store.Coverage{Node: "n2", Boot: "a", From: ago(100 * day), Until: ago(15 * day)})
	// n3 was never watched: its observations came from a recording.

	r := New(w.s, func(id event.Identity) string { return "stable" })
	got, err := r.Unused(t.Context(), noon, UnusedQuery{Window: 30 * day})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "unused.json", got)
	if got.Coverage.Complete || !strings.HasPrefix(got.Coverage.Statement, "NOT COMPLETE") {
		t.Errorf("%s", got.Coverage.Statement)
	}

	// Nothing is old enough for a window that reaches back further than anything is known.
	if got, err := r.Unused(t.Context(), noon, UnusedQuery{Window: 365 * day}); err != nil || len(got.Items) != 0 || got.Items == nil {
		t.Errorf("%+v %v, want an empty list", got, err)
	}
}

func TestCoverage(t *testing.T) {
	w := &world{t: t, s: open(t)}
	r := New(w.s, nil)
	got, err := r.Coverage(t.Context(), noon, 10*day, Paging{})
	if err != nil || got.Items == nil || got.Coverage.Complete {
		t.Fatalf("empty store: %+v %v, want an empty list that is not complete", got, err)
	}
	golden(t, "coverage-nothing.json", got)

	w.watch(store.Coverage{Node: "n1", Boot: "a", From: ago(20 * day), Until: ago(10 * time.Second), Lost: map[string]uint64{}, Version: "1.0", Kernel: "6.1.0"})
	if got, err = r.Coverage(t.Context(), noon, 10*day, Paging{}); err != nil || !got.Coverage.Complete {
		t.Errorf("%+v %v, want it complete", got, err)
	}
	golden(t, "coverage-complete.json", got)

	w.watch(store.Coverage{Node: "n0", Boot: "a", From: ago(40 * day), Until: ago(30 * day)})
	w.watch(store.Coverage{Node: "n2", Boot: "a", From: ago(5 * day), Until: ago(4 * day), Lost: map[string]uint64{"ring": 7, "spool": 2}, Missing: []string{"no cgroup2: containers are not told apart"}})
	w.watch(store.Coverage{Node: "n2", Boot: "b", From: ago(4*day - time.Hour), Until: ago(day), Lost: map[string]uint64{"ring": 1}, Version: "1.1"})
	w.watch(store.Coverage{Node: "n3", Boot: "a", From: ago(20 * day), Until: ago(11 * day), Lost: map[string]uint64{"ring": 100}})
	w.watch(store.Coverage{Node: "n3", Boot: "a", From: ago(20 * day), Until: noon, Lost: map[string]uint64{"ring": 100}})
	w.use("checkout", "n1", "db.example", event.Outbound, time.Hour, event.Counts{Connections: 19_994})
	var rows []store.ObservationRow
	for why, n := range map[event.Unattributed]uint64{event.UnattributedPod: 5, event.UnattributedCgroup: 1} {
		rows = append(rows, store.RowOf(&event.Observation{Time: ago(time.Hour), Node: "n2", Direction: event.Outbound, Protocol: event.TCP,
			Workload: event.Workload{Identity: account(t, "nobody"), Unattributed: why},
			Peer:     event.Peer{Address: netip.MustParseAddr("10.0.0.1"), Port: 443}, Counts: event.Counts{Connections: n}}, noon, 99))
	}
	if err := w.s.InsertObservations(t.Context(), "unattributed", rows); err != nil {
		t.Fatal(err)
	}
	if got, err = r.Coverage(t.Context(), noon, 10*day, Paging{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "coverage.json", got)
	if want := "Attributed: 99.97% of 20,000 connections; not attributed: cgroup-unknown 1, pod-unknown 5."; !strings.HasSuffix(got.Coverage.Statement, want) {
		t.Errorf("%s\ndoes not end with\n%s", got.Coverage.Statement, want)
	}
}

func TestLists(t *testing.T) {
	w := &world{t: t, s: open(t)}
	for _, name := range []string{"a", "b", "c"} {
		w.use(name, "n1", "db.example", event.Outbound, time.Hour, event.Counts{Connections: 1})
	}
	states := map[event.Identity]string{account(t, "a"): "stable", account(t, "b"): "learning", account(t, "c"): "stable"}
	r := New(w.s, func(id event.Identity) string { return states[id] })
	for state, want := range map[string]int{"": 3, "stable": 2, "learning": 1, "warming": 0} {
		got, err := r.Identities(t.Context(), store.IdentityFilter{}, state, "")
		if err != nil || len(got.Items) != want || got.Items == nil || got.Next != "" {
			t.Fatalf("state %q: %+v %v, want %d", state, got, err, want)
		}
		for _, id := range got.Items {
			if id.State != states[id.Identity] {
				t.Errorf("%s is %q, want %q", id.Identity, id.State, states[id.Identity])
			}
		}
	}
	one, err := r.Identity(t.Context(), account(t, "b"))
	if err != nil || one.State != "learning" {
		t.Errorf("%+v %v", one, err)
	}
	if _, err := r.Identity(t.Context(), account(t, "x")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	if got, err := r.Reach(t.Context(), account(t, "a"), store.ReachFilter{}); err != nil || len(got.Items) != 1 {
		t.Errorf("%+v %v, want one resource", got, err)
	}
	if got, err := r.Reach(t.Context(), account(t, "x"), store.ReachFilter{}); err != nil || got.Items == nil {
		t.Errorf("%+v %v, want an empty list", got, err)
	}
	if got, err := r.Findings(t.Context(), store.FindingFilter{}); err != nil || got.Items == nil {
		t.Errorf("%+v %v, want an empty list", got, err)
	}
	if _, err := r.Finding(t.Context(), "x"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
}

func TestExplain(t *testing.T) {
	said := map[string]event.Unattributed{}
	for _, why := range append(event.UnattributedReasons, "of-a-newer-agent") {
		meaning, remedy := Explain(why)
		if meaning == "" || remedy == "" {
			t.Errorf("%s is not explained", why)
		}
		if other, twice := said[meaning]; twice {
			t.Errorf("%s is explained as %s", why, other)
		}
		said[meaning] = why
	}
}
