package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/report"
)

const (
	listed = "identity,namespace,owner,purpose\n" +
		checkout + ",shop,team shop,takes orders\n" +
		"spiffe://shop.example/ns/shop/sa/nightly,shop,team shop,makes reports\n"
	entries = `{"entries": [{"spiffe_id": {"trust_domain": "shop.example", "path": "/nobodys"}, "admin": true, "created_at": "1772366400"}]}`
)

func TestInventory(t *testing.T) {
	s, _ := newServer(t)
	post := func(want int, query, kind, body string) Imported {
		t.Helper()
		w := ask(t, s, "POST", "/api/v1/inventory?"+query, body, "Authorization", "Bearer "+testToken, "Content-Type", kind)
		if w.Code != want {
			t.Errorf("POST %s: %d, want %d: %s", query, w.Code, want, w.Body)
		}
		var out Imported
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
		return out
	}
	get := func(name, target string) {
		t.Helper()
		w := ask(t, s, "GET", target, "")
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d: %s", target, w.Code, w.Body)
		}
		golden(t, name, w.Body.Bytes())
	}

	if got := post(200, "source=csv&name=cmdb&dry_run=true", "text/csv", listed); got.Added != 2 || !got.DryRun {
		t.Errorf("%+v", got)
	}
	if got := post(200, "source=csv&name=cmdb", "text/csv; charset=utf-8", listed); got.Added != 2 || got.Refused != 0 || got.DryRun {
		t.Errorf("%+v", got)
	}
	if got := post(200, "source=csv&name=cmdb", "text/csv", listed); got.Unchanged != 2 || got.Added != 0 {
		t.Errorf("%+v", got)
	}
	if got := post(200, "source=spire&name=server", "application/json", entries); got.Added != 1 {
		t.Errorf("%+v", got)
	}
	get("inventory", "/api/v1/inventory")
	get("identities_declared", "/api/v1/identities")
	get("identities_never_seen", "/api/v1/identities?inventory="+string(inventory.DeclaredUnseen))
	get("identity_orphaned", "/api/v1/identities/"+url.PathEscape("spiffe://shop.example/nobodys"))

	refused := post(200, "source=csv&name=cmdb", "text/csv", "identity,owner\nnonsense,x\n"+checkout+",team pay\n")
	if refused.Changed != 1 || refused.Kept != 1 || refused.Gone != 0 || refused.Refused != 1 || refused.Refusals[0].Line != 2 || refused.Refusals[0].Field != "identity" {
		t.Errorf("%+v", refused)
	}
	if got := post(200, "source=csv&name=cmdb", "text/csv", "identity,owner\n"+checkout+",team pay\n"); got.Gone != 1 || got.Unchanged != 1 {
		t.Errorf("%+v", got)
	}
	for state, want := range map[inventory.State]int{inventory.DeclaredSeen: 1, inventory.DeclaredUnseen: 0, inventory.Undeclared: 0, inventory.Orphaned: 1} {
		var page Page[report.Identity]
		w := ask(t, s, "GET", "/api/v1/identities?inventory="+string(state), "")
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || len(page.Items) != want {
			t.Errorf("%s: %v, %d, want %d: %s", state, err, len(page.Items), want, w.Body)
		}
	}
	var page Page[any]
	for query, want := range map[string]int{"": 2, "gone=true": 3, "source=spire": 1, "name=cmdb": 1, "domain=other": 0, "q=NOBODY": 1, "limit=1": 1} {
		if err := json.Unmarshal(ask(t, s, "GET", "/api/v1/inventory?"+query, "").Body.Bytes(), &page); err != nil || len(page.Items) != want {
			t.Errorf("%s: %v, %d items, want %d", query, err, len(page.Items), want)
		}
	}

	f := func(want int, says, query, kind, body string, header ...string) {
		t.Helper()
		if len(header) == 0 {
			header = []string{"Authorization", "Bearer " + testToken}
		}
		w := ask(t, s, "POST", "/api/v1/inventory?"+query, body, append(header, "Content-Type", kind)...)
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != want || !strings.Contains(p.Detail, says) || strings.Contains(p.Detail, "\n") {
			t.Errorf("POST %s: %d %q, want %d %q", query, w.Code, p.Detail, want, says)
		}
	}
	const csv = "text/csv"
	f(401, "token", "source=csv&name=x", csv, listed, "X", "y")
	f(400, "source is missing", "name=x", csv, listed)
	f(400, "csv, json, spire", "source=kubernetes&name=x", csv, listed)
	f(400, "source_name: is missing", "source=csv", csv, listed)
	f(400, "control character", "source=csv&name=a%0Ab", csv, listed)
	f(400, "true, false", "source=csv&name=x&dry_run=1", csv, listed)
	f(400, "unknown", "source=csv&name=x&force=1", csv, listed)
	f(415, "text/csv", "source=csv&name=x", "application/json", listed)
	f(415, "application/json", "source=spire&name=x", csv, listed)
	f(400, "no column identity", "source=csv&name=x", csv, "owner\n")
	f(400, "is empty", "source=csv&name=x", csv, "")
	f(413, "64 MiB", "source=csv&name=x", csv, strings.Repeat("x", inventory.MaxBytes+1))
	f(400, "no JSON", "source=json&name=x", "application/json", listed)
	for _, query := range []string{"source=cmdb", "domain=robots", "gone=maybe", "cursor=%21", "x=y"} {
		if w := ask(t, s, "GET", "/api/v1/inventory?"+query, ""); w.Code != 400 {
			t.Errorf("GET %s: %d %s", query, w.Code, w.Body)
		}
	}
}
