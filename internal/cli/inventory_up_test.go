package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// TestUpInventory: `ambit up` declares the service accounts of a cluster, judges them by the rules of its configuration, and what acts
// undeclared stands out.
func TestUpInventory(t *testing.T) {
	cluster := testenv.Kubernetes(t)
	cluster.Apply("../../deploy/rbac/collector.yaml")
	cluster.Apply("testdata/inventory.yaml")
	config := filepath.Join(t.TempDir(), "ambit.yaml")
	text := "trust_domain: shop.example\nkubernetes: {kubeconfig: " + cluster.KubeconfigFor("ambit", "ambit-collector") + "}\n" +
		"inventory:\n  cluster: east\n  rules:\n  - match: {namespace: ledger, source: kubernetes}\n    set: {owner: Team Ledger, business_function: finance}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t)
	stop := m.up("--config", config)
	m.publish(1, 10*time.Second, 443) // shop/checkout, which is in no cluster

	want := map[string]inventory.State{
		"spiffe://shop.example/ns/shop/sa/checkout": inventory.Undeclared, "spiffe://shop.example/ns/ledger/sa/book": inventory.DeclaredUnseen,
		"spiffe://shop.example/ns/ledger/sa/owned": inventory.DeclaredUnseen, "spiffe://shop.example/ns/nobodys/sa/lost": inventory.Orphaned,
	}
	var page api.Page[api.Identity]
	for limit := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		code, out, errs := ambit(t, "identities", "-o", "json")
		if code != exitGood {
			t.Fatal(errs)
		}
		page = api.Page[api.Identity]{}
		if err := json.Unmarshal([]byte(out), &page); err != nil {
			t.Fatal(err)
		}
		right := 0
		for i := range page.Items {
			if state, ok := want[page.Items[i].Identity.String()]; ok && viewOf(&page.Items[i]).State == state {
				right++
			}
		}
		if right == len(want) {
			break
		}
		if time.Now().After(limit) {
			code, stdout, stderr := stop()
			t.Fatalf("%d are right: %s\n%d %s %s", right, out, code, stdout, stderr)
		}
	}
	for i := range page.Items {
		v := viewOf(&page.Items[i])
		switch strings.TrimPrefix(page.Items[i].Identity.String(), "spiffe://shop.example/ns/") {
		case "ledger/sa/book":
			if v.Owner != "Team Ledger" || v.BusinessFunction != "finance" || v.Privilege != event.PrivilegeClusterAdmin || len(v.Claims) != 1 || v.Claims[0].Name != "east" {
				t.Errorf("%+v", v)
			}
		case "ledger/sa/owned":
			if v.Owner != "somebody" || v.Privilege != event.PrivilegeNone {
				t.Errorf("%+v", v)
			}
		}
	}
	if code, stdout, stderr := stop(); code != exitGood || !strings.Contains(stdout, "inventory  ready") {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
}
