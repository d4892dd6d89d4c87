package web_test

import (
	"context"
	"encoding/csv"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
)

// still is a collector that nothing happens in, with no state of learning.
type still struct{ api.Live }

func (still) Progress(event.Identity) (detector.Progress, bool) { return detector.Progress{}, false }

// undecided has no decisions: those that are real have tests of their own, in a browser.
type undecided struct{ api.Decisions }

func (undecided) List(context.Context, store.DecisionFilter, decision.State) ([]decision.View, string, error) {
	return nil, "", nil
}

// Texts that steer whatever shows them without care.
var harm = []string{
	`<script>document.title="owned"</script>`, `"><img src=x onerror=alert(1)>`, "=cmd|' /C calc'!A0", "+1", "@SUM(A1)", "'; DROP TABLE identities; --", "\u202egpj.exe", "a\u200bb\x1b[2J", strings.Repeat("long", 400),
}

func parse(t *testing.T, uri string) event.Identity {
	t.Helper()
	id, err := event.ParseIdentity(uri)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// fillHarm has identities with harm in every field that people or workloads write, and gives them; all were used 40 days ago, and one since.
func fillHarm(t *testing.T, s *store.Store) []event.Identity {
	t.Helper()
	now := time.Now().UTC()
	var list []event.Declaration
	var rows []store.ObservationRow
	var ids []event.Identity
	for i, text := range harm {
		id := parse(t, fmt.Sprintf("spiffe://harm.example/ns/harm/sa/h%d", i))
		ids = append(ids, id)
		said := text
		if turned.MatchString(text) || len(text) > 200 { // which an inventory refuses
			said = "team"
		}
		list = append(list, event.Declaration{
			Identity: id, Source: event.SourceCSV, SourceName: "list", Kind: said, Namespace: said, Name: said, Owner: said, Purpose: said, Environment: said, BusinessFunction: said,
			Privilege: event.PrivilegeHigh, PrivilegeReasons: []string{said}, Tokens: []event.TokenKind{event.TokenSecret}, Created: now.Add(-100 * 24 * time.Hour), Labels: map[string]string{said: said},
		})
		at := now.Add(-40 * 24 * time.Hour)
		if i == 0 {
			at = now.Add(-time.Hour)
		}
		o := event.Observation{
			Time: at, FirstTime: at.Add(-time.Minute), Node: "n1", Direction: event.Outbound, Protocol: event.TCP,
			Workload: event.Workload{Identity: id, Evidence: event.EvidenceKubernetes, Namespace: text, Owner: text, Executable: text, Image: text},
			Peer:     event.Peer{Address: netip.MustParseAddr("203.0.113.9"), Port: 5432, Name: strings.ToValidUTF8(text[:min(len(text), 200)], "") + ".example", NameSource: event.NameDNS},
			TLS:      &event.TLS{Version: "1.3", SNI: "x", Verified: true, Provenance: "full", OwnCertificate: &event.Certificate{SHA256: strings.Repeat("ab", 32), Serial: text, Issuer: text, NotBefore: at.Add(-time.Hour), NotAfter: at.Add(90 * 24 * time.Hour)}},
			Counts:   event.Counts{Connections: 3, Failed: 1, BytesSent: 1, BytesReceived: 1},
		}
		rows = append(rows, store.RowOf(&o, now, uint64(i+1)))
	}
	if _, err := s.ReplaceInventory(t.Context(), store.Inventory{Source: event.SourceCSV, Name: "list", Declarations: list, Time: now.Add(-99 * 24 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if err := s.InsertObservations(t.Context(), "harm", rows); err != nil {
		t.Fatal(err)
	}
	return ids
}

// turned are characters that are not seen, or turn the direction of text.
var turned = regexp.MustCompile("[\u202a-\u202e\u2066-\u2069\u200b\x1b\x07]")

func harmless(t *testing.T, what, page string) {
	t.Helper()
	for _, text := range []string{"<script>document", "<img src=x"} {
		if strings.Contains(page, text) {
			t.Errorf("%s: %q stands in the page", what, text)
		}
	}
	if found := turned.FindString(page); found != "" {
		t.Errorf("%s: %q stands in the page", what, found)
	}
}

// TestIdentityPages renders every page of identities, of the map and of reports, whatever names there are.
func TestIdentityPages(t *testing.T) {
	s := openStore(t)
	ids := fillHarm(t, s)
	site := newSite(t, s, api.Viewer, nil)
	b := site.browser()
	of := "/identities/" + url.PathEscape(ids[0].String())
	for path, want := range map[string]string{
		"/identities": "9 in this list", "/identities?q=H1": "1 in this list", "/identities?owner=%2B1": "Owner: &#43;1", "/identities?sort=-last-used&evidence=kubernetes": `aria-sort="descending"`,
		"/identities?environment=": "No identity is like that",
		of:                         "What it reaches, and what reaches it", of + "?direction=inbound": "It was not seen to reach anything", of + "?window=7d": "Active in 1 of the 168 hours", of + "/blast?depth=2": "Within 2 steps",
		of + "/scope": "What would be allowed",
		"/map":        `data-src="/api/v1/graph?window=30d"`, "/map?view=table&window=90d": "9 edges between", "/map?view=table&center=" + url.QueryEscape(ids[0].String()): "Who reaches what",
		"/map?view=table&namespace=nowhere": "No edges",
		"/reports":                          "Unused identities", "/reports/unused?window=30d": "8 listed", "/reports/unused?preset=cis-5.3": "CIS Controls", "/reports/high-risk?window=90d&at_least=1": "9 identities",
		"/reports/ownership": "lack something", "/reports/reviews": "9 identities", "/reports/inventory": "By domain", "/reports/metrics": "Computed of", "/reports/exemptions": "0 in force",
	} {
		answer, page := b.send("GET", path, "")
		if answer.StatusCode != http.StatusOK || !strings.Contains(page, want) {
			t.Errorf("%s: %s, without %q\n%.1500s", path, answer.Status, want, middle(page))
		}
		harmless(t, path, page)
	}
	for path, status := range map[string]int{
		"/identities?colour=red": 400, "/identities?cursor=x": 400, "/identities?sort=x": 400, "/identities/nonsense": 400, "/identities/" + url.PathEscape("spiffe://harm.example/ns/x/sa/y"): 404,
		of + "?direction=up": 400, of + "?window=soon": 400, of + "?reach=x": 400, of + "/blast?depth=99": 400, "/map?depth=9": 400, "/map?view=table&center=%3Cb%3E": 400, "/map?view=table&from=-1": 400,
		"/map?view=table&center=" + url.QueryEscape("spiffe://harm.example/ns/x/sa/y"): 404,
		"/reports/unused?class=x": 400, "/reports/unused?verdict=x": 400, "/reports/unused?preset=x": 400, "/reports/unused?cursor=x": 400, "/reports/unused?window=x": 400, "/reports/unused?format=pdf": 400,
		"/reports/high-risk?risk=x": 400, "/reports/high-risk?at_least=0": 400, "/reports/reviews?state=x": 400, "/reports/metrics?x=y": 400,
	} {
		if answer, page := b.send("GET", path, ""); answer.StatusCode != status {
			t.Errorf("%s: %s, want %d\n%.600s", path, answer.Status, status, middle(page))
		}
	}
}

// TestReportFiles: files hold what pages do, and no cell that a spreadsheet would compute.
func TestReportFiles(t *testing.T) {
	s := openStore(t)
	fillHarm(t, s)
	b := newSite(t, s, api.Viewer, nil).browser()
	for path, rows := range map[string]int{
		"/reports/unused?window=30d&format=csv": 8, "/reports/high-risk?at_least=1&format=csv": 9, "/reports/reviews?format=csv": 9, "/reports/ownership?format=csv": -1, "/reports/inventory?format=csv": -1, "/reports/metrics?format=csv": -1,
	} {
		answer, text := b.send("GET", path, "")
		if answer.StatusCode != http.StatusOK || !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/csv") || !strings.Contains(answer.Header.Get("Content-Disposition"), "attachment") {
			t.Fatalf("%s: %s %v %.300s", path, answer.Status, answer.Header, text)
		}
		all, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		if err != nil || rows >= 0 && len(all) != rows+1 {
			t.Errorf("%s: %d rows, want %d, %v", path, len(all)-1, rows, err)
		}
		for _, row := range all {
			for _, cell := range row {
				if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) || turned.MatchString(cell) {
					t.Errorf("%s: a cell is %q", path, cell)
				}
			}
		}
	}
}

// TestIdentityWrites: every write of these pages asks for the page's token and a role, and goes through the API.
func TestIdentityWrites(t *testing.T) {
	s := openStore(t)
	ids := fillHarm(t, s)
	site := newSite(t, s, api.Viewer, nil)
	of := "/identities/" + url.PathEscape(ids[1].String())
	day := time.Now().AddDate(0, 0, 10).UTC().Format(time.DateOnly)
	forms := map[string]url.Values{
		of + "/exempt":             {"reason": {harm[0]}, "until": {day}},
		of + "/review":             {"verdict": {"keep"}},
		of + "/scope":              {"seen": {"x"}},
		of + "/scope/withdraw":     {},
		"/reports/unused/exempt":   {"identity": {ids[2].String()}, "reason": {"r"}, "until": {day}},
		"/reports/exemptions/lift": {"identity": {ids[2].String()}},
		"/reports/reviews":         {"identity": {ids[2].String()}, "verdict": {"keep"}},
	}
	anybody, reader := site.browser(), site.browser()
	reader.login(site.token["viewer"], "/")
	for path, form := range forms {
		if answer, _ := anybody.send("POST", path, form.Encode()+"&x=y"); answer.StatusCode == http.StatusSeeOther && !strings.HasPrefix(answer.Header.Get("Location"), "/login") || answer.StatusCode < 300 {
			t.Errorf("%s by nobody: %s to %s", path, answer.Status, answer.Header.Get("Location"))
		}
		form.Set("csrf", reader.csrf())
		if answer, _ := reader.send("POST", path, form.Encode()); answer.StatusCode != http.StatusForbidden {
			t.Errorf("%s by a viewer: %s", path, answer.Status)
		}
		form.Del("csrf")
	}
	if found, err := s.Exemptions(t.Context(), nil, time.Now()); err != nil || len(found) != 0 {
		t.Errorf("%d exemptions by who may not, %v", len(found), err)
	}
}

// TestWithdrawWhatWasSeen: a scope that was changed since its page was made stays.
func TestWithdrawWhatWasSeen(t *testing.T) {
	s := openStore(t)
	id := fillHarm(t, s)[1]
	b := newSite(t, s, api.Viewer, nil)
	admin := b.browser()
	admin.login(b.token["admin"], "/")
	for _, resource := range []string{"dns:a.example:443/tcp", "dns:b.example:443/tcp"} {
		if _, err := s.ApplyScope(t.Context(), event.Scope{Identity: id, Entries: []event.ScopeEntry{{Resource: resource}}, At: time.Now()}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, form := range []struct {
		version string
		want    int
	}{{"", 400}, {"1", 409}} {
		answer, page := admin.send("POST", "/identities/"+url.PathEscape(id.String())+"/scope/withdraw", url.Values{"csrf": {admin.csrf()}, "version": {form.version}}.Encode())
		if answer.StatusCode != form.want {
			t.Errorf("withdraw version %q: %s, want %d\n%.600s", form.version, answer.Status, form.want, middle(page))
		}
	}
	if held, err := s.Scope(t.Context(), id); err != nil || held.Version != 2 {
		t.Errorf("the scope is of version %d, %v", held.Version, err)
	}
}

// middle is the middle of a page, for messages.
func middle(page string) string {
	_, rest, _ := strings.Cut(page, "<main")
	return rest
}
