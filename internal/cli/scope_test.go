package cli

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/collector/scope"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// From what was seen to a scope that holds: all commands, on a real store, with names that try to steer a terminal.
func TestScopeCommands(t *testing.T) {
	s := serve(t)
	id := identity(t, "spiffe://shop.example/ns/shop/sa/checkout")
	w := event.Workload{Identity: id, Evidence: event.EvidenceKubernetes, Namespace: "shop", ServiceAccount: "checkout"}
	now := time.Now().UTC().Truncate(time.Second)
	var rows []store.ObservationRow
	for i, name := range []string{"api.example.com", "evil\x1b[2J.example", "=cmd.example"} {
		o := event.Observation{Time: now.Add(-time.Hour), Node: "n1", Workload: w, Direction: event.Outbound, Protocol: event.TCP,
			Peer: event.Peer{Address: netip.MustParseAddr("192.0.2.7"), Port: 443, Name: name, NameSource: event.NameDNS}, Counts: event.Counts{Connections: 2, BytesSent: 9}}
		rows = append(rows, store.RowOf(&o, o.Time, uint64(i+1)))
	}
	if err := s.InsertObservations(t.Context(), "token", rows); err != nil {
		t.Fatal(err)
	}
	must := func(args ...string) string {
		t.Helper()
		code, out, errs := ambit(t, args...)
		if code != exitGood || strings.ContainsRune(out+errs, '\x1b') {
			t.Fatalf("%v: %d %q %q", args, code, out, errs)
		}
		return out
	}
	file := filepath.Join(t.TempDir(), "scope.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, out, errs := ambit(t, "scope", "generate", "checkout", "--format", "cilium"); code != exitGood || !strings.Contains(out, "matchName: api.example.com") ||
		!strings.Contains(errs, "confidence 0.") || strings.ContainsRune(out+errs, '\x1b') {
		t.Errorf("%d %s %s", code, out, errs)
	}
	if out := must("scope", "generate", "--namespace", "shop", "--format", "json"); !strings.Contains(out, `"confidence"`) {
		t.Error(out)
	}
	// A name that no scope may hold is not in the file, and the file can be applied.
	text := must("scope", "generate", "checkout", "--format", "ambit")
	if scopes, err := scope.Read(strings.NewReader(text)); err != nil || len(scopes) != 1 || scopes[0].Identity != id {
		t.Fatalf("%v %v", scopes, err)
	}
	write(text)
	if out := must("scope", "apply", file, "--dry-run"); !strings.Contains(out, "would have") {
		t.Error(out)
	}
	if out := must("scope", "apply", file, "--expect", "0"); !strings.Contains(out, "version 1") {
		t.Error(out)
	}
	refused(t, exitFailed, []string{"scope", "apply", file, "--expect", "7"}, "version is 1, not 7")
	write("apiVersion: ambit.dev/v1\nkind: Scope\nidentity: " + id.String() + "\nentries:\n  - resource: dns:unused.example:443/tcp\n")
	if out := must("scope", "apply", file, "--expect", "1"); !strings.Contains(out, "version 2") {
		t.Error(out)
	}
	if out := must("scope", "diff", "checkout", "-o", "csv"); !strings.Contains(out, "unused,outbound,dns:unused.example:443/tcp") || !strings.Contains(out, "undeclared,outbound,dns:api.example.com:443/tcp,2") {
		t.Error(out)
	}
	if out := must("scope", "list"); !strings.Contains(out, "local") || !strings.Contains(out, id.String()) {
		t.Error(out)
	}
	if out := must("scope", "show", "checkout", "--format", "calico"); !strings.Contains(out, "StagedNetworkPolicy") {
		t.Error(out)
	}
	must("scope", "withdraw", "checkout")
	refused(t, exitFailed, []string{"scope", "show", "checkout"}, "not found")
	write("apiVersion: ambit.dev/v1\nkind: Scope\nidentity: " + id.String() + "\nentries:\n  - resource: net:0.0.0.0/0:443/tcp\n")
	refused(t, exitUsage, []string{"scope", "apply", file}, "flags: [internet]")
	refused(t, exitUsage, []string{"scope", "generate"}, "--namespace")
	refused(t, exitUsage, []string{"scope", "generate", "checkout", "--format", "bash"}, "bash")
	refused(t, exitUsage, []string{"scope", "aply"}, "apply")
	t.Setenv("AMBIT_TOKEN_FILE", filepath.Join(t.TempDir(), "none"))
	refused(t, exitFailed, []string{"scope", "withdraw", "checkout"}, "AMBIT_TOKEN_FILE")
	t.Setenv("AMBIT_TOKEN_FILE", "")

	await := time.Now().Add(time.Minute)
	for out := ""; !strings.Contains(out, "scope.withdraw"); out = must("audit", "--action", "scope", "-o", "csv") {
		if time.Now().After(await) {
			t.Fatalf("the trail has\n%s", out)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if out := must("audit", "--verify"); !strings.Contains(out, "whole and unchanged") {
		t.Error(out)
	}
	if out := must("audit", "--since", "1d"); !strings.Contains(out, "scope.apply") || !strings.Contains(out, "entries=1") {
		t.Error(out)
	}
	if err := s.InsertAudit(t.Context(), []audit.Record{{Number: 2, Time: now, Actor: "m", Action: "scope.apply", Hash: "\x1b[31m"}}); err != nil {
		t.Fatal(err)
	}
	refused(t, exitFailed, []string{"audit", "--verify"}, "record 2")
	code, out, _ := ambit(t, "__complete", "scope", "show", "spiffe://shop")
	if code != exitGood || !strings.Contains(out, id.String()) {
		t.Errorf("%d %q", code, out)
	}
}

// A token never leaves in the clear, and a client is told where to look for what.
func TestClientKeepsItsToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(strings.Repeat("ab", tokenBytes)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AMBIT_TOKEN_FILE", file)
	refused(t, exitUsage, []string{"identities", "--server", "http://ambit.example:8480"}, "in the clear", "https")
	t.Setenv("AMBIT_TOKEN_FILE", "")
	t.Setenv("AMBIT_CA_FILE", file)
	refused(t, exitUsage, []string{"identities", "--server", "https://127.0.0.1:1"}, "AMBIT_CA_FILE", "PEM")
}

func TestTokenCommands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.json")
	code, out, errs := ambit(t, "token", "create", "--name", "ci", "--file", file)
	if code != exitGood || !credential.MatchString(strings.TrimSpace(out)) || !strings.Contains(errs, "viewer") {
		t.Fatalf("%d %q %q", code, out, errs)
	}
	if _, out, _ := ambit(t, "token", "list", "--file", file); !strings.Contains(out, "ci") || !strings.Contains(out, "valid") {
		t.Error(out)
	}
	refused(t, exitFailed, []string{"token", "create", "--name", "ci", "--file", file}, "revoke it")
	refused(t, exitUsage, []string{"token", "create", "--name", "ci\x1b", "--file", file}, "name of a token")
	refused(t, exitUsage, []string{"token", "create", "--name", "x", "--role", "root", "--file", file}, "viewer, responder or admin")
	if code, _, errs := ambit(t, "token", "revoke", "ci", "--file", file); code != exitGood {
		t.Errorf("%d %s", code, errs)
	}
	refused(t, exitFailed, []string{"token", "revoke", "ci", "--file", file}, "no token named")
	if _, out, _ := ambit(t, "token", "list", "--file", file, "-o", "csv"); !strings.Contains(out, "revoked") {
		t.Error(out)
	}
}
