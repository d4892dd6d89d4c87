package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/event"
)

var now = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func identity(t *testing.T, uri string) event.Identity {
	t.Helper()
	id, err := event.ParseIdentity(uri)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func resource(t *testing.T, text string) event.Resource {
	t.Helper()
	r, err := event.ParseResource(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestForms compares tables, CSV and JSON with golden files.
func TestForms(t *testing.T) {
	used := now.Add(-90 * time.Second)
	checkout, idle := identity(t, "spiffe://shop.example/ns/shop/sa/checkout"), identity(t, "spiffe://shop.example/node/n1/unit/idle.service")
	golden(t, "identities", []api.Identity{
		{Identity: checkout, Kind: "service-account", State: "stable", Progress: api.Progress{Fraction: 1}, Evidence: event.EvidenceKubernetes,
			Nodes: []string{"n1", "n2"}, FirstSeen: now.Add(-72 * time.Hour), LastSeen: now, LastUsed: &used,
			Connections: 1234, Failed: 5, BytesSent: 1023, BytesReceived: 5 << 30, Resources: 17, Inventory: &inventory.View{
				State: inventory.DeclaredSeen, Reason: "declared by csv cmdb, last seen today", Owner: "=cmd()", Environment: "production",
				Domain: event.DomainService, Privilege: event.PrivilegeLow,
			}},
		{Identity: idle, Kind: "unit", State: "learning", Progress: api.Progress{Fraction: 0.4267}, Evidence: event.EvidenceSystemd,
			Nodes: []string{"n1"}, FirstSeen: now.Add(-time.Hour), LastSeen: now},
	}, identityColumns(now))
	golden(t, "declarations", []event.Declaration{
		{Identity: checkout, Kind: "service-account", Source: event.SourceKubernetes, SourceName: "cluster", Namespace: "shop", Name: "checkout", Owner: "@team",
			Purpose: "takes \"orders\", and\x1b pays", Environment: "production", Domain: event.DomainService, Privilege: event.PrivilegeHigh,
			PrivilegeReasons: []string{"a", "b"}, Tokens: []event.TokenKind{event.TokenBound, event.TokenSecret}, Created: used, FirstDeclared: used, LastDeclared: now},
		{Identity: idle, Source: event.SourceCSV, SourceName: "cmdb", FirstDeclared: used, LastDeclared: used, Gone: now.Add(-time.Hour)},
	}, declarationColumns(now))
	golden(t, "reach", []api.Reach{{
		Resource: resource(t, "dns:api.example.com:443/tcp"), Direction: event.Outbound, Protocol: event.TCP, Port: 443,
		FirstTime: now.Add(-50 * time.Hour), LastTime: used, LastSuccess: &used, Connections: 3, Failed: 1, BytesSent: 2048, BytesReceived: 7,
		Executables: []string{"/usr/bin/curl", "/tmp/\x1b[2Jevil\nname,\"quoted\""}, Nodes: []string{"n1"},
	}}, reachColumns(now))
	golden(t, "findings", []event.Finding{{
		ID: "new-reach-1", Rule: "new-reach", Title: "checkout reaches something new", Severity: event.High, Identity: checkout,
		Resource: resource(t, "net:10.1.2.3/32:22/tcp"), FirstTime: now.Add(-3 * time.Hour), LastTime: used, Count: 4, Status: event.StatusNew,
	}}, findingColumns(now))
	golden(t, "unused", []report.Unused{
		{Identity: idle, Class: "never-used", Verdict: report.VerdictCannotTell, Reason: "node n1 was not watched", Nodes: []string{"n1"}, FirstSeen: now.Add(-100 * 24 * time.Hour), LastSeen: now, DaysUnused: 100, Watched: 99.5},
		{Identity: checkout, Class: "dormant", Verdict: report.VerdictUnused, Nodes: []string{"n1", "n2"}, FirstSeen: now.Add(-200 * 24 * time.Hour), LastSeen: now,
			LastUsed: now.Add(-95 * 24 * time.Hour), LastResource: resource(t, "dns:db.shop.example:5432/tcp"), DaysUnused: 95, Watched: 100},
	}, unusedColumns(now))
	gap := func(from, until time.Duration, why string, concerns report.Concern) report.Gap {
		return report.Gap{Node: "n1", From: now.Add(-from), Until: now.Add(-until), Why: why, Concerns: concerns}
	}
	gaps := []report.Gap{gap(9*time.Hour, 8*time.Hour, "before", "connections"), gap(5*time.Hour, 4*time.Hour, "spool", "connections"),
		gap(4*time.Hour, time.Hour, "tls", "details"), gap(3*time.Hour, time.Hour, "api-away", "identities"), gap(time.Minute, 0, "tls", "details")}
	gaps[1].Cause, gaps[1].Lost, gaps[1].Hourly = "spool-full\x1b", 12, true
	nodes := []report.NodeCoverage{
		{Node: "n1", Watched: 99.5, Identified: 80, LastTime: used, Lost: map[string]uint64{"ring_full": 3, "edges_full": 4}, Missing: []string{"UDP over IPv6"},
			Spans: []report.Span{{From: now.Add(-8 * time.Hour), Until: now.Add(-5 * time.Hour)}, {From: now.Add(-4 * time.Hour), Until: now}}, Gaps: gaps, GapCount: len(gaps)},
		{Node: "n2", Watched: 100, Identified: 100, LastTime: now, Spans: []report.Span{{From: now.Add(-9 * time.Hour), Until: now}}},
	}
	golden(t, "coverage", nodes, coverageColumns(now))
	golden(t, "coverage-spans", spanRows(nodes), spanColumns())
}

var forms = map[output]string{outputTable: "txt", outputJSON: "json", outputCSV: "csv"}

func golden[T any](t *testing.T, name string, items []T, columns []column[T]) {
	t.Helper()
	for form, ending := range forms {
		compare(t, name+"."+ending, func(w io.Writer) error { return print(w, form, &api.Page[T]{Items: items}, items, columns) })
	}
}

// compare compares what is printed with a golden file.
func compare(t *testing.T, name string, print func(io.Writer) error) {
	t.Helper()
	var got bytes.Buffer
	if err := print(&got); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s differs (go test -update writes it anew), got:\n%s", file, got.Bytes())
	}
}

// TestUnattributed compares what is said of what was not attributed with golden files.
func TestUnattributed(t *testing.T) {
	why := func(reason event.Unattributed, n uint64, cgroup string) api.Unattributed {
		meaning, remedy := report.Explain(reason)
		return api.Unattributed{Reason: reason, Meaning: meaning, Remedy: remedy, Connections: n, Nodes: []string{"n1"}, LastTime: now.Add(-90 * time.Second),
			Executable: "/bin/nc", Cgroup: cgroup}
	}
	page := &api.Page[api.Identity]{Items: []api.Identity{
		{Identity: identity(t, "spiffe://shop.example/node/n1/cgroup/kubepods/pod1"), Kind: "cgroup", Nodes: []string{"n1"},
			Unattributed: []api.Unattributed{why(event.UnattributedPod, 12, "/kubepods/pod1"), why(event.UnattributedQuota, 3, "/kubepods/pod1/\x1b[2J")}},
		{Identity: identity(t, "spiffe://shop.example/node/n1/cgroup/kubepods/pod2"), Kind: "cgroup", Nodes: []string{"n1"},
			Unattributed: []api.Unattributed{why(event.UnattributedPod, 1, "/kubepods/pod2")}},
	}}
	for form, name := range forms {
		compare(t, "unattributed."+name, func(w io.Writer) error { return printUnattributed(w, form, page, now) })
	}
	compare(t, "unattributed-nothing.txt", func(w io.Writer) error {
		return printUnattributed(w, outputTable, &api.Page[api.Identity]{}, now)
	})
}

func TestCSVText(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := csvText(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
	f("", "")
	f("/usr/bin/curl", "/usr/bin/curl")
	f("a=1+2-3@4", "a=1+2-3@4")
	f(`=HYPERLINK("http://192.0.2.1")`, `'=HYPERLINK("http://192.0.2.1")`)
	f("+1", "'+1")
	f("-1", "'-1")
	f("@SUM(A1)", "'@SUM(A1)")
	f("\t=1", "'\uFFFD=1")
	f("a\x1b[2J\r\nb", "a\uFFFD[2J\uFFFD\uFFFDb")
}

func TestSpanAndSize(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(span(-time.Second), "0s")
	f(span(90*time.Second), "90s")
	f(span(2*time.Minute), "2m")
	f(span(47*time.Hour+59*time.Minute), "47h")
	f(span(48*time.Hour), "2d")
	f(ago(nil, now), "never")
	f(size(0), "0B")
	f(size(1024), "1.0KiB")
	f(size(1<<63), "8.0EiB")
}
