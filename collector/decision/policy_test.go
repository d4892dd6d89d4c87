package decision_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	networking "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/event"
)

var update = flag.Bool("update", false, "write golden files")

func TestPolicy(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	f := func(name string, format decision.PolicyFormat, selector string, direction event.Direction, to string) {
		t.Helper()
		d := event.Decision{ID: "d-" + name, Identity: checkout, To: to, Direction: direction, Mode: event.Enforce, Reason: "token: was \"leaked\"", Issued: at, Expires: at.Add(time.Hour)}
		got, err := decision.Policy(&d, format, selector)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		file := filepath.Join("testdata", name+".yaml")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs (go test -update writes it anew), got:\n%s", file, got)
		}
		if format == decision.Kubernetes {
			var policy networking.NetworkPolicy
			if err := yaml.UnmarshalStrict([]byte(got), &policy); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if policy.Kind != "NetworkPolicy" || policy.Namespace != "shop" || len(policy.Spec.PolicyTypes) == 0 || policy.Spec.PodSelector.MatchLabels["app"] != "checkout" {
				t.Errorf("%s: %+v", name, policy)
			}
		}
	}
	f("cilium-all", decision.Cilium, "", event.Both, "*")
	f("cilium-peer", decision.Cilium, "", event.Inbound, database+":5432/tcp")
	f("cilium-service", decision.Cilium, "", event.Outbound, "svc:db.shop:5432/tcp")
	f("cilium-net", decision.Cilium, "", event.Outbound, "net:fd00::/8:53/udp")
	f("cilium-port", decision.Cilium, "", event.Outbound, "port:22")
	f("kubernetes-all", decision.Kubernetes, "app=checkout", event.Both, "*")
	f("kubernetes-net", decision.Kubernetes, "app=checkout", event.Outbound, "net:10.1.0.0/16")

	refused := func(format decision.PolicyFormat, selector string, change func(d *event.Decision)) {
		t.Helper()
		d := event.Decision{ID: "d", Identity: checkout, To: "*", Direction: event.Outbound, Mode: event.Enforce, Reason: "r", Issued: at, Expires: at.Add(time.Hour)}
		change(&d)
		if got, err := decision.Policy(&d, format, selector); !errors.Is(err, decision.ErrInvalid) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %s, %v", d, got, err)
		}
	}
	refused(decision.Cilium, "", func(d *event.Decision) { d.To = "dns:api.example.com" })
	refused(decision.Cilium, "", func(d *event.Decision) { d.Glob, d.Identity = true, "spiffe://shop.example/ns/shop/sa/*" })
	refused(decision.Cilium, "", func(d *event.Decision) { d.Identity = "spiffe://shop.example/node/n1/unit/a.service" })
	refused(decision.Cilium, "", func(d *event.Decision) { d.To, d.Direction = "svc:db.shop", event.Inbound })
	refused(decision.Cilium, "", func(d *event.Decision) { d.To = "spiffe://shop.example/node/n1/unit/a.service" })
	refused(decision.Kubernetes, "", func(*event.Decision) {})
	refused(decision.Kubernetes, "app=a\nb: c", func(*event.Decision) {})
	refused(decision.Kubernetes, "app=a", func(d *event.Decision) { d.To = "net:10.0.0.0/8:22" })
	refused(decision.Kubernetes, "app=a", func(d *event.Decision) { d.To = "svc:db.shop" })
	refused("iptables", "", func(*event.Decision) {})
}
