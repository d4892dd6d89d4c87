package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/collector/scope"
	"github.com/ambit-nhi/ambit/collector/scope/simulate"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// A scope is generated from the baseline, applied, compared with what is used, and withdrawn; the audit trail has each step, and a change of it is seen.
func TestScopes(t *testing.T) {
	s, _ := newServer(t)
	of := url.PathEscape(checkout)
	get := func(target, path string, into any) {
		t.Helper()
		w := ask(t, s, "GET", target, "")
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", target, w.Code, w.Body)
		}
		checkAnswer(t, path, w.Code, "application/json", w.Body.Bytes())
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			t.Fatal(err)
		}
	}
	var generated Proposals
	get("/api/v1/generated-scopes?identity="+url.QueryEscape(checkout), "/api/v1/generated-scopes", &generated)
	p := generated.Items[0]
	if len(generated.Items) != 1 || len(p.Scope.Entries) != 2 || len(p.LeftOut) != 1 || !strings.Contains(p.LeftOut[0].Why, "finding") {
		t.Fatalf("%+v", generated)
	}
	get("/api/v1/generated-scopes?direction=any&namespace=shop", "/api/v1/generated-scopes", &generated)
	if len(generated.Items) != 1 || len(generated.Items[0].Scope.Entries) != 3 {
		t.Errorf("%+v", generated)
	}
	for _, f := range scope.Formats {
		w := ask(t, s, "GET", "/api/v1/generated-scopes?namespace=shop&direction=any&format="+string(f), "")
		if w.Code != http.StatusOK && f != scope.Istio {
			t.Errorf("%s: %d %s", f, w.Code, w.Body)
		}
		if f == scope.Ambit {
			if scopes, err := scope.Read(w.Body); err != nil || len(scopes) != 1 {
				t.Errorf("%v %v", scopes, err)
			}
			continue
		}
		if _, err := simulate.Read(w.Body.Bytes()); err != nil {
			t.Errorf("%s: %v in %s", f, err, w.Body)
		}
	}

	put := func(body any, want int, header ...string) *httptest.ResponseRecorder {
		t.Helper()
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		w := ask(t, s, "PUT", "/api/v1/scopes/"+of, string(data), append(header, "Authorization", "Bearer "+testToken, "Content-Type", "application/json")...)
		if w.Code != want {
			t.Errorf("%s %v: %d %s, want %d", data, header, w.Code, w.Body, want)
		}
		return w
	}
	if w := ask(t, s, "PUT", "/api/v1/scopes/"+of, "{}", "Content-Type", "application/json"); w.Code != http.StatusUnauthorized {
		t.Errorf("anybody may apply a scope: %d", w.Code)
	}
	entries := []event.ScopeEntry{{Resource: "dns:db.shop.example:5432/tcp"}, {Resource: "dns:never.example:443/tcp"}}
	id := identity(t, checkout)
	put(event.Scope{Identity: identity(t, idle), Entries: entries}, 400)
	put(event.Scope{Identity: id, Entries: []event.ScopeEntry{{Resource: "net:0.0.0.0/0:443/tcp"}}}, 400)
	put(event.Scope{Identity: id, Entries: entries, ApprovedBy: "me"}, 400)
	put(event.Scope{Identity: id, Entries: entries}, 412, "If-Match", `"4"`)
	if tag := put(event.Scope{Identity: id, Entries: entries}, 200, "If-None-Match", `*`).Header().Get("ETag"); tag != `"1"` {
		t.Errorf("its tag is %s", tag)
	}
	put(event.Scope{Identity: id, Entries: entries}, 412, "If-None-Match", `*`)
	put(event.Scope{Identity: id, Entries: entries}, 200, "If-Match", `"1"`)
	var applied event.Scope
	get("/api/v1/scopes/"+of, "/api/v1/scopes/{id}", &applied)
	if applied.Version != 2 || applied.ApprovedBy != "local" || !applied.At.Equal(noon.Add(time.Hour)) {
		t.Errorf("%+v", applied)
	}
	if w := ask(t, s, "GET", "/api/v1/scopes/"+of, "", "If-None-Match", `"2"`); w.Code != http.StatusNotModified {
		t.Errorf("%d", w.Code)
	}
	var diff scope.Diff
	get("/api/v1/scopes/"+of+"/diff", "/api/v1/scopes/{id}/diff", &diff)
	if len(diff.Unused) != 1 || diff.Unused[0].Resource != "dns:never.example:443/tcp" || len(diff.Undeclared) != 2 {
		t.Errorf("%+v", diff)
	}
	var page Page[store.ScopeVersion]
	get("/api/v1/scopes?q=CHECKOUT", "/api/v1/scopes", &page)
	if len(page.Items) != 1 {
		t.Errorf("%+v", page)
	}
	if w := ask(t, s, "DELETE", "/api/v1/scopes/"+of, "", "Authorization", "Bearer "+testToken); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask(t, s, "GET", "/api/v1/scopes/"+of, ""); w.Code != http.StatusNotFound {
		t.Errorf("%d", w.Code)
	}
	get("/api/v1/scopes/"+of+"/versions", "/api/v1/scopes/{id}/versions", &page)
	if len(page.Items) != 3 || !page.Items[0].Withdrawn {
		t.Errorf("%+v", page)
	}
	f := func(target string, want int) {
		t.Helper()
		if w := ask(t, s, "GET", target, ""); w.Code != want {
			t.Errorf("%s: %d %s, want %d", target, w.Code, w.Body, want)
		}
	}
	f("/api/v1/generated-scopes", 400)
	f("/api/v1/generated-scopes?identity=x&namespace=y", 400)
	f("/api/v1/generated-scopes?identity="+url.QueryEscape("'; DROP TABLE scopes --"), 400)
	f("/api/v1/generated-scopes?identity="+url.QueryEscape("spiffe://shop.example/none"), 404)
	f("/api/v1/generated-scopes?namespace="+url.QueryEscape("<b>%_"), 404)
	f("/api/v1/generated-scopes?namespace=shop&format=bash", 400)
	f("/api/v1/generated-scopes?format=istio&identity="+url.QueryEscape(idle), 422)
	f("/api/v1/scopes?cursor=x", 400)

	trail := s.Trails.(*store.Store)
	var records Page[audit.Record]
	for end := time.Now().Add(time.Minute); len(records.Items) < 3; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the trail has %+v", records)
		}
		get("/api/v1/audit?action=scope&subject="+url.QueryEscape(checkout), "/api/v1/audit", &records)
	}
	if r := records.Items[0]; r.Action != "scope.withdraw" || r.Actor != "local" || r.Detail["request_id"] == "" || records.Items[2].Action != "scope.apply" {
		t.Errorf("%+v", records.Items)
	}
	var verified Verified
	get("/api/v1/audit/verified", "/api/v1/audit/verified", &verified)
	if !verified.Whole || verified.Records != records.Items[0].Number || verified.Head != records.Items[0].Hash {
		t.Errorf("%+v", verified)
	}
	forged := records.Items[1]
	forged.Actor, forged.Hash = "mallory", "0"
	if err := trail.InsertAudit(t.Context(), []audit.Record{forged}); err != nil {
		t.Fatal(err)
	}
	verified = Verified{}
	get("/api/v1/audit/verified", "/api/v1/audit/verified", &verified)
	if verified.Whole || verified.Broken != forged.Number || verified.Why == "" {
		t.Errorf("a forged record is not seen: %+v", verified)
	}
}
