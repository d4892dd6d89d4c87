package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ambit-nhi/ambit/event"
)

// calls are one example of each call, in an order in which they work. Without an answer, the call is one that this test's server cannot make: those
// who enforce and tell others have tests of their own.
func calls(finding string) []Example {
	of, idleOf := url.PathEscape(checkout), url.PathEscape(idle)
	body := func(v any) json.RawMessage {
		data, err := json.Marshal(v)
		if err != nil {
			panic(err) // texts
		}
		return data
	}
	const kind = "application/json"
	entries := []event.ScopeEntry{{Resource: "dns:db.shop.example:5432/tcp", Direction: event.Outbound}}
	decision := map[string]any{"identity": checkout, "to": "dns:new.example.net:443/tcp", "for": "1h", "reason": "not a supplier"}
	return []Example{
		{Call: "GET /api/v1/identities", Target: "/api/v1/identities?limit=1"},
		{Call: "GET /api/v1/identities/{id}", Target: "/api/v1/identities/" + of},
		{Call: "GET /api/v1/identities/{id}/reach", Target: "/api/v1/identities/" + of + "/reach?limit=1"},
		{Call: "GET /api/v1/identities/{id}/blast-radius", Target: "/api/v1/identities/" + of + "/blast-radius"},
		{Call: "GET /api/v1/identities/{id}/activity", Target: "/api/v1/identities/" + of + "/activity?window=7d"},
		{Call: "GET /api/v1/graph", Target: "/api/v1/graph?limit=1&center=" + url.QueryEscape(checkout)},
		{Call: "GET /api/v1/reports/identities", Target: "/api/v1/reports/identities?limit=1&namespace=shop&sort=-last-seen"},
		{Call: "POST /api/v1/inventory", Target: "/api/v1/inventory?source=csv&name=payroll", Kind: "text/csv", Body: body("identity,owner\n" + idle + ",ops\n")},
		{Call: "GET /api/v1/inventory", Target: "/api/v1/inventory?limit=1"},
		{Call: "GET /api/v1/findings", Target: "/api/v1/findings?limit=1"},
		{Call: "GET /api/v1/findings/{id}", Target: "/api/v1/findings/" + finding},
		{Call: "PATCH /api/v1/findings/{id}", Target: "/api/v1/findings/" + finding, Kind: kind, Body: body(map[string]string{"verdict": "acknowledge"})},
		{Call: "GET /api/v1/findings/counts", Target: "/api/v1/findings/counts?severity=low"},
		{Call: "POST /api/v1/findings/verdicts", Target: "/api/v1/findings/verdicts", Kind: kind,
			Body: body(map[string]any{"ids": []string{finding}, "verdict": "suppress", "reason": "a load test", "until": time.Date(2126, 1, 1, 0, 0, 0, 0, time.UTC)})},
		{Call: "GET /api/v1/findings/{id}/story", Target: "/api/v1/findings/" + finding + "/story"},
		{Call: "GET /api/v1/reports/unused", Target: "/api/v1/reports/unused?window=90d"},
		{Call: "GET /api/v1/reports/high-risk", Target: "/api/v1/reports/high-risk"},
		{Call: "GET /api/v1/reports/overview", Target: "/api/v1/reports/overview?window=24h"},
		{Call: "GET /api/v1/reports/metrics", Target: "/api/v1/reports/metrics"},
		{Call: "GET /api/v1/reports/inventory", Target: "/api/v1/reports/inventory"},
		{Call: "GET /api/v1/reports/ownership", Target: "/api/v1/reports/ownership"},
		{Call: "GET /api/v1/reports/reviews", Target: "/api/v1/reports/reviews"},
		{Call: "GET /api/v1/reports/who-can-reach", Target: "/api/v1/reports/who-can-reach?target=" + url.QueryEscape("dns:db.shop.example:5432/tcp")},
		{Call: "GET /api/v1/reports/coverage", Target: "/api/v1/reports/coverage"},
		{Call: "GET /api/v1/coverage", Target: "/api/v1/coverage?window=7d"},
		{Call: "POST /api/v1/exemptions", Target: "/api/v1/exemptions", Kind: kind, Body: body(map[string]any{"identity": idle, "reason": "runs once a year", "until": noon.Add(30 * 24 * time.Hour)})},
		{Call: "GET /api/v1/exemptions", Target: "/api/v1/exemptions"},
		{Call: "DELETE /api/v1/exemptions/{id}", Target: "/api/v1/exemptions/" + idleOf},
		{Call: "POST /api/v1/reviews", Target: "/api/v1/reviews", Kind: kind, Body: body(map[string]any{"identities": []string{idle}, "verdict": "keep"})},
		{Call: "GET /api/v1/reviews", Target: "/api/v1/reviews?identity=" + url.QueryEscape(idle)},
		{Call: "GET /api/v1/generated-scopes", Target: "/api/v1/generated-scopes?namespace=shop"},
		{Call: "PUT /api/v1/scopes/{id}", Target: "/api/v1/scopes/" + of, Kind: kind, Body: body(event.Scope{Identity: mustIdentity(checkout), Entries: entries})},
		{Call: "GET /api/v1/scopes", Target: "/api/v1/scopes"},
		{Call: "GET /api/v1/scopes/{id}", Target: "/api/v1/scopes/" + of},
		{Call: "GET /api/v1/scopes/{id}/diff", Target: "/api/v1/scopes/" + of + "/diff?window=30d"},
		{Call: "GET /api/v1/scopes/{id}/versions", Target: "/api/v1/scopes/" + of + "/versions"},
		{Call: "DELETE /api/v1/scopes/{id}", Target: "/api/v1/scopes/" + of},
		{Call: "GET /api/v1/audit", Target: "/api/v1/audit?action=scope&limit=1"},
		{Call: "GET /api/v1/audit/verified", Target: "/api/v1/audit/verified"},
		{Call: "GET /healthz", Target: "/healthz"},
		{Call: "GET /readyz", Target: "/readyz?format=json"},

		{Call: "GET /metrics", Target: "/metrics"},
		{Call: "GET /api/v1/openapi.yaml", Target: "/api/v1/openapi.yaml"},
		{Call: "GET /openapi.yaml", Target: "/openapi.yaml"},
		{Call: "GET /api/v1/events", Target: "/api/v1/events"},
		{Call: "GET /api/v1/decisions", Target: "/api/v1/decisions"},
		{Call: "POST /api/v1/decisions", Target: "/api/v1/decisions", Kind: kind, Body: body(decision)},
		{Call: "POST /api/v1/decisions/preview", Target: "/api/v1/decisions/preview", Kind: kind, Body: body(decision)},
		{Call: "GET /api/v1/decisions/coverage", Target: "/api/v1/decisions/coverage"},
		{Call: "GET /api/v1/decisions/{id}", Target: "/api/v1/decisions/d-VQZ7"},
		{Call: "DELETE /api/v1/decisions/{id}", Target: "/api/v1/decisions/d-VQZ7"},
		{Call: "POST /api/v1/decisions/{id}/approve", Target: "/api/v1/decisions/d-VQZ7/approve"},
		{Call: "GET /api/v1/decisions/{id}/policy", Target: "/api/v1/decisions/d-VQZ7/policy"},
		{Call: "POST /access/v1/evaluation", Target: "/access/v1/evaluation", Kind: kind, Body: body(map[string]any{
			"subject": map[string]string{"type": "workload", "id": checkout}, "action": map[string]string{"name": "connect"}, "resource": map[string]string{"type": "resource", "id": "dns:db.shop.example:5432/tcp"}})},
		{Call: "GET /.well-known/authzen-configuration", Target: "/.well-known/authzen-configuration"},
		{Call: "GET /api/v1/feeds", Target: "/api/v1/feeds"},
		{Call: "POST /api/v1/feeds/{name}/test", Target: "/api/v1/feeds/siem/test"},
	}
}

func mustIdentity(uri string) event.Identity {
	id, err := event.ParseIdentity(uri)
	if err != nil {
		panic(err) // a constant
	}
	return id
}

// unanswered are the calls from this one on that are not made here.
const unanswered = "GET /metrics"

// TestExamples makes each call, checks the answer against the document, and keeps it as the example in it. Every call has one.
func TestExamples(t *testing.T) {
	s, _ := newServer(t)
	var page Page[event.Finding]
	if err := json.Unmarshal(ask(t, s, "GET", "/api/v1/findings", "").Body.Bytes(), &page); err != nil || len(page.Items) != 1 {
		t.Fatalf("%v, %d findings", err, len(page.Items))
	}
	examples, asked := calls(page.Items[0].ID), true
	var have []string
	for i := range examples {
		e := &examples[i]
		have = append(have, e.Call)
		if asked = asked && e.Call != unanswered; !asked {
			continue
		}
		body := string(e.Body)
		if text := ""; json.Unmarshal(e.Body, &text) == nil {
			body = text
		}
		method, path, _ := strings.Cut(e.Call, " ")
		w := ask(t, s, method, e.Target, body, "Authorization", "Bearer "+testToken, "Content-Type", e.Kind)
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", e.Call, w.Code, w.Body)
			continue
		}
		checkAnswerOf(t, path, strings.ToLower(method), w.Code, "application/json", w.Body.Bytes())
		e.Answer = bytes.TrimSpace(w.Body.Bytes())
	}
	if *update {
		data, err := json.MarshalIndent(examples, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("examples.json", append(data, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var kept []Example
	if err := json.Unmarshal(examplesJSON, &kept); err != nil {
		t.Fatal(err)
	}
	if len(kept) != len(examples) && !*update {
		t.Fatalf("%d examples are kept, want %d; run the test with -update", len(kept), len(examples))
	}
	for i, e := range kept {
		if !*update && (e.Call != examples[i].Call || e.Target != examples[i].Target || (e.Answer == nil) != (examples[i].Answer == nil)) {
			t.Errorf("the example of %s is another one; run the test with -update", e.Call)
		}
		if method, path, _ := strings.Cut(e.Call, " "); e.Answer != nil {
			checkAnswerOf(t, path, strings.ToLower(method), http.StatusOK, "application/json", e.Answer)
		}
	}
	for _, route := range s.table() {
		for method := range route.methods {
			if !slices.Contains(have, method+" "+route.path) {
				t.Errorf("%s %s has no example", method, route.path)
			}
		}
	}
}

// TestServedDocument: what is served is the document, with examples in it.
func TestServedDocument(t *testing.T) {
	var served map[string]any
	if err := yaml.Unmarshal(document(), &served); err != nil {
		t.Fatal(err)
	}
	resolve(t, served, served)
	call := served["paths"].(map[string]any)["/api/v1/scopes/{id}"].(map[string]any)["put"].(map[string]any)
	text, err := yaml.Marshal(call)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"curl -X PUT", "dns:db.shop.example:5432/tcp", "version: 1"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
}
