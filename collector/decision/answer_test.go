package decision_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

func testEvaluate(t *testing.T, s *store.Store) {
	w := start(t, s, nil)
	issue := func(change func(r *decision.Request)) *event.Decision {
		t.Helper()
		r := wish()
		change(&r)
		asked, err := w.Issue(t.Context(), "ada", r, "", true)
		if err != nil {
			t.Fatal(err)
		}
		return asked.Decision
	}
	named := issue(func(r *decision.Request) { r.Mode = event.Enforce })
	issue(func(r *decision.Request) { r.To, r.Mode, r.Direction = "net:10.0.0.0/8", event.Enforce, event.Inbound })
	dry := issue(func(r *decision.Request) {
		r.Identity, r.Glob, r.To = "spiffe://shop.example/ns/*", true, "svc:db.shop:5432/tcp"
	})
	gone := issue(func(r *decision.Request) { r.To, r.Mode = "dns:gone.example.com", event.Enforce })
	if _, err := w.Revoke(t.Context(), "ada", gone.ID, "r"); err != nil {
		t.Fatal(err)
	}
	// The scope is one that was applied.
	if _, err := s.ApplyScope(t.Context(), event.Scope{Identity: identity(t, database), Entries: []event.ScopeEntry{{Resource: "dns:backup.example.com:443/tcp"}}, ApprovedBy: "ada", At: time.Now()}, nil); err != nil {
		t.Fatal(err)
	}
	f := func(who string, direction event.Direction, resource string, allowed bool, code, id string) {
		t.Helper()
		a, err := w.Evaluate(t.Context(), "token:gateway", identity(t, who), direction, resource, s, nil)
		if err != nil || a.Allowed != allowed || a.Code != code || a.Decision != id || a.Reason == "" {
			t.Errorf("%s %s %s: %+v, %v", who, direction, resource, a, err)
		}
	}
	f(checkout, event.Outbound, "dns:api.example.com:443/tcp", false, "decision", named.ID)
	f(checkout, event.Outbound, "dns:API.example.com:443/tcp", false, "decision", named.ID)
	f(checkout, event.Outbound, "dns:api.example.com:80/tcp", true, "no-decision", "")
	f(checkout, event.Outbound, "dns:api.example.com", true, "no-decision", "") // it does not deny all of it
	f(checkout, event.Inbound, "dns:api.example.com:443/tcp", true, "no-decision", "")
	f(checkout, event.Outbound, "net:10.1.0.0/16:1/tcp", true, "no-decision", "")
	f(checkout, event.Outbound, "service:db.shop.svc:5432/tcp", true, "dry-run", dry.ID)
	f(checkout, event.Outbound, "dns:gone.example.com:443/tcp", true, "no-decision", "")
	f(database, event.Outbound, "dns:backup.example.com:443/tcp", true, "in-scope", "")
	f(database, event.Outbound, "dns:elsewhere.example.com:443/tcp", false, "out-of-scope", "")
	f(database, event.Outbound, "service:db.shop.svc:5432/tcp", false, "out-of-scope", dry.ID)
	a, err := w.Evaluate(t.Context(), "token:gateway", identity(t, checkout), event.Inbound, "net:10.1.0.0/16", nil, nil)
	if err != nil || a.Allowed {
		t.Errorf("inbound: %+v, %v", a, err)
	}
	for _, resource := range []string{"", "nowhere", "node:n1", "\x00"} {
		if _, err := w.Evaluate(t.Context(), "token:gateway", identity(t, checkout), event.Outbound, resource, nil, nil); !errors.Is(err, decision.ErrInvalid) {
			t.Errorf("%q: %v", resource, err)
		}
	}
	if got := w.actions(t, checkout); !slices.Contains(got, "token:gateway access.evaluated") || len(got) < 8 {
		t.Errorf("the audit trail has %v", got)
	}
}
