package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

func goldenText(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run with -update and look at it", path)
	}
}

// chain lets the web reach the shop, that the payment and the database, and the payment the secrets.
func chain(w *world) {
	link := func(from, to string, port uint16) {
		w.n++
		o := &event.Observation{Time: ago(time.Hour), Node: "n1", Workload: w.workload(from), Direction: event.Outbound, Protocol: event.TCP,
			Peer: event.Peer{Address: netip.MustParseAddr("10.0.0.1"), Port: port, Identity: account(w.t, to), Evidence: event.EvidenceSVID}, Counts: event.Counts{Connections: 2, BytesReceived: 1}}
		if err := w.s.InsertObservations(w.t.Context(), from+to, []store.ObservationRow{store.RowOf(o, noon, uint64(w.n))}); err != nil {
			w.t.Fatal(err)
		}
	}
	link("web", "shop", 8443)
	link("shop", "payment", 8443)
	link("shop", "db", 5432)
	link("payment", "vault", 8200)
	link("payment", "web", 443) // back
	w.use("shop", "n1", "mail.example", event.Outbound, time.Hour, event.Counts{Connections: 1, BytesReceived: 1})
	w.use("payment", "n1", `bank"><script>alert(1)</script>.example`, event.Outbound, time.Hour, event.Counts{Connections: 1, BytesReceived: 1})
}

func TestGraph(t *testing.T) {
	w := &world{t: t, s: open(t)}
	chain(w)
	w.watch(store.Coverage{Node: "n1", Boot: "a", From: ago(100 * day), Until: noon})
	in := store.Inventory{Source: event.SourceCSV, Name: "list", Time: ago(day), Declarations: []event.Declaration{
		{Identity: account(t, "vault"), Source: event.SourceCSV, SourceName: "list", Owner: "security & <ops>", Environment: "production", Privilege: event.PrivilegeClusterAdmin},
	}}
	if _, err := w.s.ReplaceInventory(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	r := New(w.s, nil)
	g, err := r.BlastRadius(t.Context(), account(t, "web"), noon, GraphQuery{Window: 30 * day})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "blast.json", g)
	if g.Identities != 4 || g.Resources != 2 || g.Score != 1+1+1+weightAdmin*weightProd+1+1 {
		t.Errorf("%d identities, %d resources, score %d", g.Identities, g.Resources, g.Score)
	}
	var dot, svg bytes.Buffer
	if err := errors.Join(g.WriteDOT(&dot), g.WriteSVG(&svg)); err != nil {
		t.Fatal(err)
	}
	goldenText(t, "blast.dot", dot.String())
	goldenText(t, "blast.svg", svg.String())
	checkXML(t, svg.String())
	if path, err := exec.LookPath("dot"); err == nil { // where Graphviz is there, it reads it
		cmd := exec.CommandContext(t.Context(), path, "-Tsvg")
		cmd.Stdin = &dot
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	for target, want := range map[string]int{"spiffe://shop.example/ns/shop/sa/vault": 3, "spiffe://shop.example/ns/shop/sa/vault:8200/tcp": 3, "spiffe://shop.example/ns/shop/sa/vault:1/tcp": 0, "dns:mail.example:443/tcp": 3} {
		g, err := r.WhoCanReach(t.Context(), target, noon, GraphQuery{Window: 30 * day, Depth: 4})
		if err != nil || g.Identities != want {
			t.Errorf("%s: %+v %v, want %d", target, g, err, want)
		}
	}
	if _, err := r.WhoCanReach(t.Context(), "'; DROP TABLE reach", noon, GraphQuery{Window: day}); !errors.Is(err, ErrTarget) {
		t.Errorf("%v", err)
	}
	if _, err := r.BlastRadius(t.Context(), account(t, "nobody"), noon, GraphQuery{Window: day}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// checkXML wants a document that any reader takes, with no element that runs anything.
func checkXML(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && !strings.Contains(" svg title rect defs marker path text g ", " "+e.Name.Local+" ") {
			t.Errorf("element %s", e.Name.Local)
		}
	}
}

// TestLargeGraph: a column that is too long says how much is left out.
func TestLargeGraph(t *testing.T) {
	g := &Graph{Start: "spiffe://a/b", Way: store.Forward, Depth: 1, Items: []GraphNode{{Identity: "spiffe://a/b"}}}
	for i := range 100 {
		g.Items = append(g.Items, GraphNode{Identity: "spiffe://a/c" + strings.Repeat("x", i), Depth: 1, Via: "spiffe://a/b", Weight: 1})
	}
	var svg bytes.Buffer
	if err := g.WriteSVG(&svg); err != nil {
		t.Fatal(err)
	}
	if checkXML(t, svg.String()); !strings.Contains(svg.String(), "and 60 more") {
		t.Error("it does not say that 60 are left out")
	}
}
