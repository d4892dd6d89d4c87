package api

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// hostile are texts that steer whatever shows them without care.
var hostile = []string{
	"=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "'; DROP TABLE identities; --", `\'); --`, "{name:String}",
	"\\", "]]>", "%s%n", "${jndi:ldap://x}",
}

// declareHostile declares an identity with hostile text in every field that people write, and lets it reach a hostile name.
func declareHostile(t testing.TB, s *store.Store) {
	t.Helper()
	var list []event.Declaration
	for i, text := range hostile {
		list = append(list, event.Declaration{
			Identity: identity(t, "spiffe://shop.example/ns/hostile/sa/h"+string(rune('a'+i))), Source: event.SourceCSV, SourceName: "list", Kind: text, Namespace: text, Name: text,
			Owner: text, Purpose: text, Environment: text, BusinessFunction: text, Privilege: event.PrivilegeHigh, PrivilegeReasons: []string{text},
			Tokens: []event.TokenKind{event.TokenSecret}, Created: noon.Add(-24 * time.Hour), Labels: map[string]string{"ambit.dev/exempt-until": text, text: text},
		})
	}
	if _, err := s.ReplaceInventory(t.Context(), store.Inventory{Source: event.SourceCSV, Name: "list", Declarations: list, Time: noon}); err != nil {
		t.Fatal(err)
	}
	o := &event.Observation{
		Time: noon.Add(time.Minute), Node: "n1", Direction: event.Outbound, Protocol: event.TCP,
		Workload: event.Workload{Identity: list[0].Identity, Evidence: event.EvidenceKubernetes, Namespace: hostile[4], Owner: hostile[5], Executable: hostile[0]},
		Peer:     event.Peer{Address: netip.MustParseAddr("203.0.113.9"), Port: 5432, Name: hostile[4] + hostile[6] + ".example", NameSource: event.NameDNS},
		Counts:   event.Counts{Connections: 1, BytesSent: 1, BytesReceived: 1},
	}
	toPeer := *o
	toPeer.Peer = event.Peer{Address: netip.MustParseAddr("10.0.0.9"), Port: 5432, Identity: identity(t, checkout), Evidence: event.EvidenceSVID}
	if err := s.InsertObservations(t.Context(), "hostile", []store.ObservationRow{store.RowOf(o, o.Time, 99), store.RowOf(&toPeer, o.Time, 100)}); err != nil {
		t.Fatal(err)
	}
}

func TestReports(t *testing.T) {
	s, _ := newServer(t)
	db := s.Standing.(*store.Store)
	declareHostile(t, db)
	first := "spiffe://shop.example/ns/hostile/sa/ha"
	for _, c := range []struct{ path, query string }{
		{"/api/v1/reports/unused", "window=5m&since=last"}, {"/api/v1/reports/unused", "preset=cis-5.3"}, {"/api/v1/reports/high-risk", "window=1h&at_least=1"},
		{"/api/v1/reports/metrics", "window=1h"}, {"/api/v1/reports/inventory", "window=1h"}, {"/api/v1/reports/ownership", "window=1h"},
		{"/api/v1/reports/reviews", "window=1h"}, {"/api/v1/exemptions", ""},
		{"/api/v1/reports/who-can-reach", "window=1h&target=" + url.QueryEscape(checkout)},
		{"/api/v1/reports/who-can-reach", "window=1h&target=" + url.QueryEscape("dns:db.shop.example:5432/tcp")},
		{"/api/v1/identities/{id}/blast-radius", "window=1h"},
	} {
		target := strings.Replace(c.path, "{id}", url.PathEscape(first), 1) + "?" + c.query
		w := ask(t, s, "GET", target, "")
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
			continue
		}
		checkAnswer(t, c.path, w.Code, "application/json", w.Body.Bytes())
		if strings.Contains(w.Body.String(), "<script>") { // JSON that a page may hold
			t.Errorf("%s: markup is not escaped", target)
		}
	}
	var risky report.RiskReport
	if err := json.Unmarshal(ask(t, s, "GET", "/api/v1/reports/high-risk?window=1h&risk=privileged", "").Body.Bytes(), &risky); err != nil || risky.Total != uint64(len(hostile)) {
		t.Fatalf("%v, %d of high risk, want the %d that are privileged with an endless token", err, risky.Total, len(hostile))
	}
	if top := risky.Items[0]; top.Identity.String() != first || len(top.Risks) != 3 || top.Risks[2].Risk != report.RiskInternet {
		t.Errorf("%+v", top)
	}
	for i, h := range risky.Items[1:] { // what was written comes back as it was
		if !strings.Contains(h.Risks[0].Evidence, hostile[i+1]) || h.Owner != hostile[i+1] {
			t.Errorf("%+v, want %q", h, hostile[i+1])
		}
	}

	svg := ask(t, s, "GET", "/api/v1/identities/"+url.PathEscape(first)+"/blast-radius?window=1h&format=svg", "")
	if svg.Header().Get("Content-Type") != "image/svg+xml" || strings.Contains(svg.Body.String(), "<script") || strings.Contains(svg.Body.String(), "<img") {
		t.Errorf("%s", svg.Body)
	}
	dot := ask(t, s, "GET", "/api/v1/identities/"+url.PathEscape(first)+"/blast-radius?window=1h&format=dot", "")
	if !strings.Contains(dot.Body.String(), `"`+first+`" -> "`+checkout+`"`) {
		t.Errorf("%s", dot.Body)
	}

	f := func(target string, want int, says string) {
		t.Helper()
		w := ask(t, s, "GET", target, "")
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != want || !strings.Contains(p.Detail, says) {
			t.Errorf("%s: %d %q, want %d %q", target, w.Code, p.Detail, want, says)
		}
	}
	f("/api/v1/reports/unused?window=0d", 400, "more than nothing")
	f("/api/v1/reports/unused?window=401d", 400, "400d")
	f("/api/v1/reports/unused?window=-1h", 400, "more than nothing")
	f("/api/v1/reports/unused?window=%27%3B+DROP+TABLE+x", 400, "90d")
	f("/api/v1/reports/unused?preset=sox", 400, "nist-ac-2-3")
	f("/api/v1/reports/unused?class=lazy", 400, "dormant")
	f("/api/v1/reports/unused?since=yesterday", 400, "last")
	f("/api/v1/reports/unused?cursor=%21", 400, "cursor")
	f("/api/v1/reports/unused?limit=10001", 400, "10000")
	f("/api/v1/reports/high-risk?at_least=7", 400, "6")
	f("/api/v1/reports/high-risk?risk=fire", 400, "privileged")
	f("/api/v1/reports/inventory?by=colour", 400, "domain")
	f("/api/v1/reports/reviews?state=late", 400, "overdue")
	f("/api/v1/reports/who-can-reach?target=nothing", 400, "dns:db.example:5432/tcp")
	f("/api/v1/reports/who-can-reach?target="+url.QueryEscape("spiffe://shop.example/ns/x/sa/none"), 404, "not found")
	f("/api/v1/identities/"+url.PathEscape("spiffe://shop.example/ns/x/sa/none")+"/blast-radius", 404, "not found")
	f("/api/v1/identities/"+url.PathEscape(checkout)+"/blast-radius?depth=9", 400, "8")
	f("/api/v1/identities/"+url.PathEscape(checkout)+"/blast-radius?format=png", 400, "svg")
	f("/api/v1/reviews?identity=x", 400, "identity")

	t.Run("standing", func(t *testing.T) { testStanding(t, s, first) })
}

// testStanding exempts and reviews, and looks what reports and the audit trail say of it.
func testStanding(t *testing.T, s *Server, id string) {
	send := func(want int, method, target, body string) string {
		t.Helper()
		w := ask(t, s, method, target, body, "Authorization", "Bearer "+testToken, "Content-Type", "application/json")
		if w.Code != want {
			t.Errorf("%s %s %s: %d, want %d: %s", method, target, body, w.Code, want, w.Body)
		}
		return w.Body.String()
	}
	quoted, _ := json.Marshal(hostile[6])
	exempt := `{"identity":"` + id + `","reason":` + string(quoted) + `,"until":"2026-04-01T00:00:00Z"}`
	send(http.StatusOK, "POST", "/api/v1/exemptions", exempt)
	if got := send(http.StatusOK, "GET", "/api/v1/exemptions", ""); !strings.Contains(got, string(quoted)) || !strings.Contains(got, `"by":"local"`) {
		t.Errorf("%s", got)
	}
	send(http.StatusBadRequest, "POST", "/api/v1/exemptions", `{"identity":"`+id+`","reason":"x","until":"2026-03-01T00:00:00Z"}`)
	send(http.StatusBadRequest, "POST", "/api/v1/exemptions", `{"identity":"`+id+`","reason":"x","until":"2028-03-01T00:00:00Z"}`)
	send(http.StatusBadRequest, "POST", "/api/v1/exemptions", `{"identity":"`+id+`","until":"2026-04-01T00:00:00Z"}`)
	send(http.StatusNotFound, "POST", "/api/v1/exemptions", `{"identity":"`+id+`-none","reason":"x","until":"2026-04-01T00:00:00Z"}`)
	send(http.StatusOK, "DELETE", "/api/v1/exemptions/"+url.PathEscape(id), "")
	send(http.StatusNotFound, "DELETE", "/api/v1/exemptions/"+url.PathEscape(id), "")
	if got := send(http.StatusOK, "GET", "/api/v1/exemptions", ""); !strings.Contains(got, `"items":[]`) {
		t.Errorf("%s", got)
	}
	if w := ask(t, s, "POST", "/api/v1/exemptions", exempt, "Content-Type", "application/json"); w.Code != http.StatusUnauthorized {
		t.Errorf("without a token: %d", w.Code)
	}

	send(http.StatusOK, "POST", "/api/v1/reviews", `{"identities":["`+id+`","`+checkout+`"],"verdict":"keep"}`)
	send(http.StatusBadRequest, "POST", "/api/v1/reviews", `{"identities":["`+id+`"],"verdict":"remove"}`)
	send(http.StatusBadRequest, "POST", "/api/v1/reviews", `{"identities":["`+id+`"],"verdict":"burn","note":"x"}`)
	send(http.StatusBadRequest, "POST", "/api/v1/reviews", `{"identities":[],"verdict":"keep"}`)
	if got := send(http.StatusOK, "GET", "/api/v1/reviews?identity="+url.QueryEscape(id), ""); !strings.Contains(got, `"by":"local"`) || !strings.Contains(got, `"verdict":"keep"`) {
		t.Errorf("%s", got)
	}
	var reviews report.ReviewReport
	if err := json.Unmarshal([]byte(send(http.StatusOK, "GET", "/api/v1/reports/reviews?window=1h", "")), &reviews); err != nil || reviews.States[report.ReviewDone] != 2 {
		t.Errorf("%v %v", err, reviews.States)
	}
	got := send(http.StatusOK, "GET", "/api/v1/reports/reviews?window=1h&state=reviewed", "")
	checkAnswer(t, "/api/v1/reports/reviews", http.StatusOK, "application/json", []byte(got))
}
