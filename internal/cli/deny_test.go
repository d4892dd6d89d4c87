package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/event"
)

// TestDeny has a decision made, shown, revoked and proved by commands alone.
func TestDeny(t *testing.T) {
	key := filepath.Join(t.TempDir(), "decision-key")
	code, public, errs := ambit(t, "decisions", "key", key)
	if code != exitGood || !nkeys.IsValidPublicAccountKey(strings.TrimSpace(public)) {
		t.Fatalf("%d %q %q", code, public, errs)
	}
	if _, again, _ := ambit(t, "decisions", "key", key); again != public {
		t.Errorf("the key %q became %q", public, again)
	}
	config := filepath.Join(t.TempDir(), "ambit.yaml")
	text := "decisions: {key_file: " + key + "}\ndeny: {protected: ['spiffe://shop.example/ns/kube-system/*']}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t)
	stop := m.up("--config", config)
	t.Setenv("AMBIT_TOKEN_FILE", filepath.Join(m.data, tokenName))
	const who = "spiffe://shop.example/ns/shop/sa/checkout"
	m.publish(1, 10*time.Second, 443, 5432)
	deny := func(args ...string) []string {
		return append([]string{"deny", who, "--for", "1h", "--reason", "token was leaked"}, args...)
	}
	for limit := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		code, out, errs := ambit(t, deny("--to", "port:443/tcp", "--preview", "-o", "csv")...)
		if code == exitGood && strings.Contains(out, who+",/app,outbound,") {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("%d %s %s", code, out, errs)
		}
	}
	code, out, errs := ambit(t, deny("--to", "port:443/tcp")...)
	if code != exitGood || !strings.Contains(out, "would have refused") || !strings.Contains(out, "dry run") || !strings.Contains(out, "holds until") {
		t.Errorf("%d %q %q", code, out, errs)
	}
	refused(t, exitFailed, []string{"deny", "spiffe://shop.example/ns/shop/sa/nobody", "--to", "*", "--for", "1h", "--reason", "r"}, "never seen")
	refused(t, exitFailed, []string{"deny", "spiffe://shop.example/ns/kube-system/sa/a", "--to", "*", "--for", "1h", "--reason", "r"}, "deny.protected")
	refused(t, exitFailed, deny("--to", "net:127.0.0.1"), "loopback")
	// Nobody is there to look at the preview.
	if code, _, errs := ambit(t, deny("--to", "*", "--enforce")...); code != exitUsage || !strings.Contains(errs, "--yes") {
		t.Errorf("%d %q", code, errs)
	}
	code, out, errs = ambit(t, deny("--to", "*", "--enforce", "--yes", "-o", "json", "--code", "compromised")...)
	var d api.Decision
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != exitGood || d.State != decision.StateInForce || d.Mode != event.Enforce {
		t.Fatalf("%d %v %s %s", code, err, out, errs)
	}
	if err := d.Verify([]string{strings.TrimSpace(public)}, time.Now(), event.MaxDecisionLife); err != nil {
		t.Error(err)
	}
	if code, out, errs = ambit(t, "decisions", "--mode", "enforce"); code != exitGood || !strings.Contains(out, d.ID) || strings.Count(out, "\n") != 2 {
		t.Errorf("%d %s %s", code, out, errs)
	}
	if code, out, errs = ambit(t, "decisions", d.ID); code != exitGood || !strings.Contains(out, "compromised token was leaked") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	if code, out, errs = ambit(t, "decisions", "policy", d.ID); code != exitGood || !strings.Contains(out, "kind: CiliumNetworkPolicy") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	// The one principal of this machine cannot be two persons.
	code, out, errs = ambit(t, deny("--to", "*", "--approve", "-o", "json")...)
	var waiting api.Decision
	if err := json.Unmarshal([]byte(out), &waiting); err != nil || code != exitGood || waiting.State != decision.StateWaiting {
		t.Fatalf("%d %v %s %s", code, err, out, errs)
	}
	refused(t, exitFailed, []string{"decisions", "approve", waiting.ID}, "another person")
	for _, id := range []string{d.ID, waiting.ID} {
		if code, out, errs := ambit(t, "revoke", id, "--reason", "rotated", "-o", "csv"); code != exitGood || !strings.Contains(out, id) {
			t.Errorf("%d %s %s", code, out, errs)
		}
	}
	refused(t, exitFailed, []string{"revoke", d.ID, "--reason", "again"}, "was revoked by local")
	for limit := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		code, out, errs := ambit(t, "decisions", "audit", "--subject", d.ID, "-o", "csv")
		if code == exitGood && strings.Contains(out, ",local,decision.asked,") && strings.Contains(out, ",local,decision.signed,") && strings.Contains(out, ",local,decision.revoked,") {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("%d %s %s", code, out, errs)
		}
	}
	if code, out, errs := ambit(t, "decisions", "audit", "--verify"); code != exitGood || !strings.Contains(out, "whole and unchanged") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	if code, out, errs := stop(); code != exitGood || !strings.Contains(out, "signed by "+strings.TrimSpace(public)) || strings.Contains(out+errs, "SA") && strings.Contains(out+errs, seedOf(t, key)) {
		t.Errorf("%d %s %s", code, out, errs)
	}
}

func seedOf(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func TestDenyWrongUse(t *testing.T) {
	f := func(line string, want ...string) {
		t.Helper()
		refused(t, exitUsage, strings.Fields(line), want...)
	}
	f("deny", "one argument")
	f("deny spiffe://a.example/x", "--to")
	f("deny spiffe://a.example/x --to *", "--for")
	f("deny spiffe://a.example/x --to * --for 1h", "--reason")
	f("deny spiffe://a.example/x --to nowhere --for 1h --reason r", "--to", "nowhere")
	f("deny nobody --to * --for 1h --reason r", "nobody")
	f("deny spiffe://a.example/x --to * --for soon --reason r", "soon")
	f("revoke", "one argument")
	f("revoke d-1", "--reason")
	f("decisions a.b", "one ID")
	f("decisions a b", "one ID")
	f("decisions approve", "one argument")
	f("decisions policy d-1 --format iptables", "cilium or kubernetes")
	f("decisions key", "one argument")
}

func TestDecisionsConfig(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "ambit.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, exitUsage, []string{"up", "--no-agent", "--check", "--data", filepath.Join(t.TempDir(), "data"), "--config", file}, want...)
	}
	f("decisions: {aproval: all}", "decisions.aproval", "did you mean decisions.approval?")
	f("decisions: {approval: some}", "decisions.approval", "none, enforce or all")
	f("decisions: {roles: {enforce: root}}", "decisions.roles.enforce", "root")
	f("decisions: {roles: {dry_run: nobody}}", "decisions.roles.dry_run")
	f("decisions: {wait: 1s}", "decisions.wait")
	f("decisions: {webhook: {url: 'https://a.example'}}", "secret_file")
	f("decisions: {caep: {url: 'https://a.example'}}", "issuer")
	f("decisions: {automatic: [{rule: x, sevrity: high}]}", "rule 1", "sevrity", "did you mean severity?")
	f("decisions: {automatic: [{rule: x, for: 48h}]}", "rule 1", "48h")
	f("decisions: {automatic: [{mode: always}]}", "rule 1", "always")
	f("deny: {floor: ['*']}", "deny.floor")
	var nets []string
	for bits := 8; bits <= 16; bits++ {
		nets = append(nets, fmt.Sprintf("'net:10.0.0.0/%d'", bits))
	}
	f("deny: {floor: ["+strings.Join(nets, ", ")+"]}", "9 sorts of targets")
}
