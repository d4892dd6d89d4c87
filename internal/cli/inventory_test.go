package cli

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/health"
	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/collector/triage"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// nobody is a collector that watches nothing.
type nobody struct{}

func (nobody) Progress(event.Identity) (detector.Progress, bool) { return detector.Progress{}, false }
func (nobody) Judge(context.Context, *event.Verdict) error       { return nil }
func (nobody) Health(context.Context) []health.Check             { return nil }
func (nobody) Follow(context.Context, uint64, func(uint64, []byte) error) error {
	return nil
}

// serve is an API on a real store; the environment names it and its token.
func serve(t *testing.T) *store.Store {
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
	token := strings.Repeat("ab", tokenBytes)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := startTrail(t, s)
	server := httptest.NewServer(api.New(api.Config{
		Reports: report.New(s, nil), Triage: triage.New(s, log, nobody{}), Inventory: s, Standing: s, Live: nobody{}, Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
		Scopes: s, Trails: s, Audit: log, Token: token, Anonymous: api.Viewer,
	}))
	t.Cleanup(server.Close)
	t.Setenv("AMBIT_SERVER", server.URL)
	t.Setenv("AMBIT_TOKEN_FILE", file)
	return s
}

func TestInventoryCommands(t *testing.T) {
	serve(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	run := func(want int, args ...string) (string, string) {
		t.Helper()
		code, out, errs := ambit(t, args...)
		if code != want {
			t.Fatalf("ambit %s: %d, want %d: %s%s", strings.Join(args, " "), code, want, out, errs)
		}
		return out, errs
	}
	imported := func(want int, args ...string) []api.Imported {
		t.Helper()
		out, _ := run(want, append([]string{"inventory", "import", "-o", "json"}, args...)...)
		var list []api.Imported
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return list
	}
	const a, b = "spiffe://shop.example/ns/shop/sa/a", "spiffe://shop.example/ns/shop/sa/b"
	cmdb := write("cmdb.csv", "identity,namespace,owner,purpose\n"+a+",shop,@team-shop,=1+1\n"+b+",shop,,\n")
	spire := write("server.json", `{"entries": [{"spiffe_id": {"trust_domain": "shop.example", "path": "/c"}, "admin": true}]}`)
	list := write("list.json", `[{"identity": "spiffe://shop.example/d", "owner": "d", "domain": "ai-agent"}]`)

	if got := imported(exitGood, "--dry-run", cmdb); got[0].Added != 2 || !got[0].DryRun {
		t.Errorf("%+v", got)
	}
	got := imported(exitGood, cmdb, spire, list)
	if len(got) != 3 || got[0].Source != "csv" || got[1].Source != "spire" || got[2].Source != "json" || got[0].Name != "cmdb" || got[1].Name != "server" || got[1].Added != 1 {
		t.Errorf("%+v", got)
	}
	if got := imported(exitGood, "--format", "csv", "--source", "cmdb", cmdb); got[0].Unchanged != 2 {
		t.Errorf("%+v", got)
	}
	out, _ := run(exitGood, "inventory", "list")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 5 || !strings.HasPrefix(lines[0], "IDENTITY") || !strings.Contains(out, "ai-agent") {
		t.Errorf("%s", out)
	}

	// What is printed as CSV can be imported as it stands.
	out, _ = run(exitGood, "inventory", "list", "--source", "cmdb", "-o", "csv")
	if !strings.Contains(out, "'@team-shop") || !strings.Contains(out, "'=1+1") {
		t.Errorf("formulas: %s", out)
	}
	again := write("cmdb-again.csv", out)
	if got := imported(exitGood, "--dry-run", "--source", "cmdb", again); got[0].Changed != 2 || got[0].Refused != 0 { // the domain, which a rule gave, is now said
		t.Errorf("%+v", got)
	}
	imported(exitGood, "--source", "cmdb", again)
	if printed, _ := run(exitGood, "inventory", "list", "--source", "cmdb", "-o", "json"); !strings.Contains(printed, `"@team-shop"`) || !strings.Contains(printed, `"=1+1"`) {
		t.Errorf("%s", printed)
	}

	out, _ = run(exitGood, "identities", "-o", "csv")
	if !strings.Contains(out, ",declared-never-seen,\"declared by csv cmdb since") || !strings.Contains(out, ",orphaned,\"nobody is named as its owner; declared by csv cmdb") ||
		!strings.Contains(out, ",'@team-shop,,production-service-account,") {
		t.Errorf("%s", out)
	}
	if out, _ = run(exitGood, "identities", "--inventory", "orphaned"); strings.Count(out, "\n") != 3 || !strings.Contains(out, "orphaned") {
		t.Errorf("%s", out)
	}

	// Refused entries are told, and nothing is gone for them.
	broken := write("broken.csv", "identity,owner\n"+a+",x\nnonsense,x\n")
	code, out, errs := ambit(t, "inventory", "import", "--source", "cmdb", "-o", "csv", broken)
	if code != exitFailed || !strings.Contains(out, "cmdb,csv,0,1,0,0,1,1") || !strings.Contains(errs, broken+`: line 3, identity: is no identity: "nonsense"`) ||
		!strings.Contains(errs, "ambit: 1 entries were refused") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	if got := imported(exitGood, "--source", "cmdb", write("less.csv", "identity\n"+a+"\n")); got[0].Gone != 1 {
		t.Errorf("%+v", got)
	}
	if out, _ := run(exitGood, "inventory", "list", "--gone", "--source", "cmdb"); !strings.Contains(out, "gone 0s ago") {
		t.Errorf("%s", out)
	}
	if out, _ := run(exitGood, "inventory", "list", "--kind", "spire"); strings.Count(out, "\n") != 2 {
		t.Errorf("%s", out)
	}

	refused(t, exitFailed, []string{"inventory", "import", filepath.Join(dir, "none.csv")}, "import "+filepath.Join(dir, "none.csv")+": no such file")
	refused(t, exitUsage, []string{"inventory", "import", write("empty.csv", "")}, "is empty")
	refused(t, exitUsage, []string{"inventory", "import", write("header.csv", "owner\n")}, "no column identity")
	refused(t, exitUsage, []string{"inventory", "list", "--kind", "cmdb"}, "kubernetes, spire, csv, json")
	refused(t, exitUsage, []string{"identities", "--inventory", "lost"}, "declared-never-seen")
	t.Setenv("AMBIT_TOKEN_FILE", write("other-token", strings.Repeat("cd", tokenBytes)))
	refused(t, exitFailed, []string{"inventory", "import", cmdb}, "token")
}

// TestInventoryCSV: what is printed reads back as the same list.
func TestInventoryCSV(t *testing.T) {
	const text = "identity,owner,label:team,label:=tier,expires\nspiffe://shop.example/a,'=x,'@shop,,2027-01-01\nspiffe://shop.example/b,\"b, c\",,1,\n"
	want, err := inventory.Parse(event.SourceCSV, "list", strings.NewReader(text))
	if err != nil || want.Refused != 0 {
		t.Fatalf("%+v %v", want, err)
	}
	other := event.Declaration{Source: event.SourceKubernetes, Labels: map[string]string{"app": "x"}} // many, and not to be imported
	var out strings.Builder
	columns := append(declarationColumns(time.Now()), labelColumns(append(want.Declarations, other))...)
	if err := print(&out, outputCSV, nil, want.Declarations, columns); err != nil {
		t.Fatal(err)
	}
	got, err := inventory.Parse(event.SourceCSV, "list", strings.NewReader(out.String()))
	if err != nil || !slices.EqualFunc(got.Declarations, want.Declarations, func(a, b event.Declaration) bool { return inventory.Equal(&a, &b) }) {
		t.Errorf("%+v %v, want %+v; it was\n%s", got, err, want, &out)
	}
	if strings.Contains(out.String(), "label:app") {
		t.Errorf("labels of Kubernetes are columns:\n%s", &out)
	}
}

func TestFormatOf(t *testing.T) {
	for text, want := range map[string]string{
		"identity\n": "csv", "": "csv", `{"entries": []}`: "spire", `{"declarations": []}`: "json", " \n[]": "json", "\xef\xbb\xbf{\"entries\":[]}": "spire", `{"entr`: "json",
	} {
		if got := formatOf("-", []byte(text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	for file, want := range map[string]string{"a.CSV": "csv", "a.JSON": "json"} { // also where they hold something else, so that the error is of use
		if got := formatOf(file, []byte("[x]")); got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
	if got := formatOf("a.json", []byte("<html>")); got != "json" {
		t.Errorf("a page of a web server is %s", got)
	}
}

func TestSending(t *testing.T) {
	var out strings.Builder
	p := &sending{r: strings.NewReader(strings.Repeat("x", longList)), name: "a\x1b", total: longList, out: &out}
	if n, err := io.Copy(io.Discard, p); err != nil || n != longList {
		t.Errorf("%d %v", n, err)
	}
	p.done()
	if got := out.String(); !strings.Contains(got, "sending a\uFFFD: ") || !strings.Contains(got, "storing a\uFFFD: 1.0MiB of 1.0MiB") || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("%q", got)
	}
	if terminal(&out) != nil {
		t.Error("a buffer is a terminal")
	}
}
