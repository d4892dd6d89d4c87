package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/event"
)

func testFinding(t *testing.T, rule, account, resource string) event.Finding {
	t.Helper()
	id, err := event.ParseIdentity("spiffe://shop.example/ns/shop/sa/" + account)
	if err != nil {
		t.Fatal(err)
	}
	r, err := event.ParseResource(resource)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return event.Finding{
		ID: event.FindingID(id, rule, r), Rule: rule, Title: "shop/" + account + " reached new.example (port 443) for the first time", Severity: event.High, Score: 0.9, Confidence: 0.8,
		Identity: id, Resource: r, Workload: event.Workload{Identity: id, Namespace: "shop", ServiceAccount: account, Pod: account + "-1", Executable: "/usr/bin/curl"}, Node: "n1",
		FirstTime: at, LastTime: at.Add(time.Hour), Count: 3,
		Explanation: []string{"It never did before."}, Baseline: []string{"dns:redis:6379/tcp: 7 connections"}, Advice: []string{"Ask the owner."},
		OWASP: []string{"NHI5:2025"}, Attack: []string{"T1552.005"}, Status: event.StatusNew,
	}
}

// A person lists findings, has one explained, and decides about them.
func TestFindingCommands(t *testing.T) {
	s := serve(t)
	one, other := testFinding(t, "new-reach", "cart", "dns:new.example:443/tcp"), testFinding(t, "volume", "mail", "dns:new.example:443/tcp")
	if err := s.InsertFindings(t.Context(), []event.Finding{one, other}); err != nil {
		t.Fatal(err)
	}
	run := func(want int, args ...string) string {
		t.Helper()
		code, out, errs := ambit(t, args...)
		if code != want {
			t.Fatalf("ambit %s: %d, want %d: %s%s", strings.Join(args, " "), code, want, out, errs)
		}
		return out + errs
	}
	holds := func(text string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%q is not in\n%s", w, text)
			}
		}
	}
	holds(run(exitGood, "findings"), "shop/cart reached new.example (port 443) for the first time", one.ID, "new", "high")
	if out := run(exitGood, "findings", "--text", "shop/MAIL"); strings.Contains(out, one.ID) || !strings.Contains(out, other.ID) {
		t.Errorf("got %s", out)
	}
	if out := run(exitGood, "findings", "--since", "1h"); strings.Contains(out, one.ID) {
		t.Errorf("one of years ago is there: %s", out)
	}
	holds(run(exitGood, "explain", one.ID[len(one.ID)-8:]), "HIGH: shop/cart reached new.example", "\nWho\n", "spiffe://shop.example/ns/shop/sa/cart", "pod cart-1", "It never did before.",
		"\nWhat was normal\n", "dns:redis:6379/tcp", "\nWhat to do\n", "Ask the owner.", "ambit findings approve "+one.ID, "attack.mitre.org/techniques/T1552/005/", "It is new.",
		"ambit deny spiffe://shop.example/ns/shop/sa/cart --to dns:new.example:443/tcp --for 1h --finding "+one.ID)
	var f event.Finding
	if err := json.Unmarshal([]byte(run(exitGood, "explain", "-o", "json", one.ID)), &f); err != nil || f.ID != one.ID {
		t.Errorf("got %+v, %v", f, err)
	}

	holds(run(exitUsage, "findings", "suppress", one.ID, "--reason", "a test"), "--for 30d")
	holds(run(exitUsage, "findings", "suppress", one.ID, "--for", "8h"), "takes a reason")
	holds(run(exitUsage, "findings", "suppress", one.ID, "--for", "8h", "--until", "2126-01-01", "--reason", "x"), "not both")
	holds(run(exitUsage, "findings", "suppress", one.ID, "--until", "2016-01-01", "--reason", "x"), "is over")
	holds(run(exitUsage, "findings", "suppress", one.ID, "--until", "soon", "--reason", "x"), "no time like")
	holds(run(exitUsage, "findings", "approve", one.ID), "takes a reason")
	holds(run(exitUsage, "findings", "ack"), "takes findings")
	holds(run(exitUsage, "findings", "acknowlege", one.ID), "unknown command")
	holds(run(exitFailed, "findings", "ack", "nothing-like-it"), "no finding has the ID")
	holds(run(exitUsage, "findings", "ack", "-"), "is a part of the IDs of 2 findings")

	holds(run(exitGood, "findings", "ack", one.ID, other.ID), one.ID+"  is acknowledged by local", other.ID+"  is acknowledged by local")
	holds(run(exitGood, "findings", "suppress", one.ID, "--for", "8h", "--reason", "a load test"), "is suppressed by local", "until", ": a load test")
	holds(run(exitGood, "explain", one.ID), "It is suppressed by local", ": a load test.")
	if out := run(exitGood, "findings", "--status", "suppressed", "-o", "csv"); !strings.Contains(out, "a load test") || strings.Contains(out, other.ID) {
		t.Errorf("got %s", out)
	}
	var page api.Page[event.Finding]
	out := run(exitGood, "findings", "approve", "-o", "json", "--until", "2126-12-31T18:00:00Z", "--reason", "a new supplier", one.ID)
	if err := json.Unmarshal([]byte(out), &page); err != nil || len(page.Items) != 1 || page.Items[0].Verdict != event.VerdictApprove || page.Items[0].Until.Year() != 2126 {
		t.Errorf("%v: %s", err, out)
	}
	for verb, status := range map[string]string{"false-positive": "resolved (false-positive)", "true-positive": "acknowledged", "unsuppress": "new", "resolve": "resolved", "reopen": "new"} {
		holds(run(exitGood, "findings", verb, other.ID, "--reason", "because"), "is "+status+" by local", ": because")
	}
}
