package scope

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	yamlv3 "go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// definition gives one custom resource definition of a project's own, as its Go module has it.
func definition(t *testing.T, file, name string) io.Reader {
	t.Helper()
	data, err := os.ReadFile(testenv.Program(t, "schemas", file, "deploy-tools"))
	if err != nil {
		t.Fatal(err)
	}
	for d := yamlv3.NewDecoder(bytes.NewReader(data)); ; {
		var one map[string]any
		if err := d.Decode(&one); err != nil {
			t.Fatalf("%s has no %s: %v", file, name, err)
		}
		if meta, _ := one["metadata"].(map[string]any); meta["name"] == name {
			delete(one, "status")
			numbersOrTexts(one)
			out, err := yamlv3.Marshal(one)
			if err != nil {
				t.Fatal(err)
			}
			return bytes.NewReader(out)
		}
	}
}

// numbersOrTexts writes Calico's ports and protocols as they are in JSON: its types, of which the definition is made, have a form of their own there, a number
// or a text, which the generator does not see. Calico's makers change it in the same way.
func numbersOrTexts(node any) {
	switch v := node.(type) {
	case map[string]any:
		properties, _ := v["properties"].(map[string]any)
		if properties["numVal"] != nil && properties["strVal"] != nil || properties["minPort"] != nil && properties["maxPort"] != nil {
			clear(v)
			v["x-kubernetes-int-or-string"], v["anyOf"] = true, []any{map[string]any{"type": "integer"}, map[string]any{"type": "string"}}
		}
		for _, inner := range v {
			numbersOrTexts(inner)
		}
	case []any:
		for _, inner := range v {
			numbersOrTexts(inner)
		}
	}
}

// samples are scopes with all that can be in them, the same ones each time.
func samples(t *testing.T) []*event.Scope {
	p := Generate(known(t), Options{Inbound: true, Window: 90 * 24 * time.Hour, Now: noon})
	out := []*event.Scope{&p.Scope, {Identity: identity(t, checkout)}}
	drawn := rapid.Custom(func(r *rapid.T) *event.Scope {
		s := &event.Scope{Identity: identity(t, checkout), Version: rapid.Uint64Range(0, 3).Draw(r, "version")}
		for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(sampleNames)-1), 0, 8, rapid.ID[int]).Draw(r, "names") {
			text := fmt.Sprintf("%s:%d/%s", sampleNames[i], rapid.SampledFrom([]int{1, 443, 65535}).Draw(r, "port"), rapid.SampledFrom([]string{"tcp", "udp"}).Draw(r, "protocol"))
			s.Entries = append(s.Entries, event.ScopeEntry{Resource: text, Direction: rapid.SampledFrom([]event.Direction{event.Outbound, event.Inbound}).Draw(r, "way"), Flags: event.Dangers(text)})
		}
		return s
	})
	for seed := range 25 {
		s := drawn.Example(seed)
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

var sampleNames = []string{
	"spiffe://shop.example/ns/data/sa/db", "spiffe://shop.example/ns/shop/sa/db", "spiffe://shop.example/ns/data/sa/" + strings.Repeat("long-", 12) + "x", "spiffe://shop.example/ns/data/sa/a.b.c",
	"spiffe://other.example/x", "x509://ab/CN=a", "dns:api.example.com", "dns:*.example.com", "dns:API.example.org.", "dns:_tcp.example.com", "dns:a b", "dns:'; rm -rf \"$x\" #", "dns:{{.}}",
	"dns:" + strings.Repeat("a", 63) + ".example", "service:db.data", "service:db.shop.svc", "service:odd", "node:n1", "net:10.0.0.0/8", "net:10.1.2.3/32", "net:2001:db8::/32", "net:0.0.0.0/0", "net:::/0",
}

// An API server that has the definitions of Cilium, Calico and Istio takes what is written for them, every field of it.
func TestPoliciesBySchemas(t *testing.T) {
	cluster := testenv.Kubernetes(t)
	for _, d := range []struct{ file, name, path string }{
		{"cilium.yaml", "ciliumnetworkpolicies.cilium.io", "/apis/cilium.io/v2/ciliumnetworkpolicies"},
		{"calico.yaml", "stagednetworkpolicies.projectcalico.org", "/apis/projectcalico.org/v3/stagednetworkpolicies"},
		{"istio.yaml", "authorizationpolicies.security.istio.io", "/apis/security.istio.io/v1/authorizationpolicies"},
	} {
		if err := cluster.ApplyAll(definition(t, d.file, d.name)); err != nil {
			t.Fatal(err)
		}
		cluster.Await(t, d.path)
	}
	if err := cluster.ApplyAll(strings.NewReader("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")); err != nil {
		t.Fatal(err)
	}
	taken := map[Format]int{}
	for i, s := range samples(t) {
		for _, f := range []Format{Kubernetes, Cilium, Calico, Istio} {
			p, err := Write(s, f)
			if errors.Is(err, ErrFormat) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := cluster.ApplyAll(strings.NewReader(p.Text)); err != nil {
				t.Errorf("scope %d for %s: %v\n%s", i, f, err, p.Text)
				continue
			}
			taken[f]++
		}
	}
	for _, f := range []Format{Kubernetes, Cilium, Calico, Istio} {
		if taken[f] < 5 {
			t.Errorf("%d policies of %s were taken", taken[f], f)
		}
	}
	// The server does refuse what the definitions do not have.
	for _, bad := range []string{
		"{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: a, namespace: shop}, spec: {endpointSelectors: {}}}",
		"{apiVersion: projectcalico.org/v3, kind: StagedNetworkPolicy, metadata: {name: a, namespace: shop}, spec: {serviceAccount: a}}",
		"{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: a, namespace: shop}, spec: {action: MAYBE}}",
	} {
		if cluster.ApplyAll(strings.NewReader(bad)) == nil {
			t.Errorf("the server takes %s", bad)
		}
	}
}

// What is written for Cerbos fits to Cerbos's own JSON schema.
func TestCerbosBySchema(t *testing.T) {
	file, err := os.Open(testenv.Program(t, "schemas", "cerbos.json", "deploy-tools"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	document, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("policy.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("policy.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(text string) error {
		data, err := yaml.YAMLToJSONStrict([]byte(text))
		if err != nil {
			return err
		}
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			return err
		}
		return schema.Validate(v)
	}
	for i, s := range samples(t) {
		p, err := Write(s, Cerbos)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(p.Text); err != nil {
			t.Errorf("scope %d: %v\n%s", i, err, p.Text)
		}
	}
	if check("apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: a, version: default, rules: [{actions: [a], effect: MAYBE}]}") == nil {
		t.Error("the schema takes anything")
	}
}
