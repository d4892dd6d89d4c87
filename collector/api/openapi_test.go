package api

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestOpenAPI holds routes and document together, in both directions, and resolves every reference.
func TestOpenAPI(t *testing.T) {
	var document map[string]any
	if err := yaml.Unmarshal(openAPI, &document); err != nil {
		t.Fatal(err)
	}
	var said, served []string
	for path, item := range document["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			if method != "parameters" {
				said = append(said, strings.ToUpper(method)+" "+path)
			}
		}
	}
	s := &Server{}
	for _, route := range s.table() {
		for method := range maps.Keys(route.methods) {
			served = append(served, method+" "+route.path)
		}
	}
	slices.Sort(said)
	slices.Sort(served)
	if !slices.Equal(said, served) {
		t.Errorf("the document says\n%s\nbut the server has\n%s", strings.Join(said, "\n"), strings.Join(served, "\n"))
	}
	resolve(t, document, document)
}

func resolve(t *testing.T, document map[string]any, node any) {
	switch v := node.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			var at any = document
			for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
				m, _ := at.(map[string]any)
				at = m[name]
			}
			if at == nil {
				t.Errorf("%s refers to nothing", ref)
			}
		}
		for _, inner := range v {
			resolve(t, document, inner)
		}
	case []any:
		for _, inner := range v {
			resolve(t, document, inner)
		}
	}
}

// TestOpenAPIFields checks that answers have the fields that the document requires, and no others.
func TestOpenAPIFields(t *testing.T) {
	var document struct {
		Components struct {
			Schemas map[string]struct {
				Required   []string
				Properties map[string]any
			}
		}
	}
	if err := yaml.Unmarshal(openAPI, &document); err != nil {
		t.Fatal(err)
	}
	for _, check := range []struct{ name, file, within string }{
		{"Identity", "identities_unattributed", ""}, {"Identity", "identities_declared", ""}, {"InventoryView", "identities_declared", "inventory"},
		{"Reach", "reach", ""}, {"Declaration", "inventory", ""}, {"Finding", "findings", ""},
		{"Identity", "identities_credentials", ""}, {"LastCredential", "identities_credentials", "credential"},
		{"Credential", "identity_credentials", "credentials"}, {"Reach", "reach_tls", ""}, {"ReachTLS", "reach_tls", "tls"}, {"TLS", "coverage_tls", "coverage.tls"},
	} {
		name, schema, looked := check.name, document.Components.Schemas[check.name], 0
		for _, item := range goldenItems(t, check.file, check.within) {
			looked++
			for field := range item {
				if schema.Properties[field] == nil {
					t.Errorf("%s: the document does not know %s", name, field)
				}
			}
			for _, field := range schema.Required {
				if _, ok := item[field]; !ok {
					t.Errorf("%s: %s is required but missing", name, field)
				}
			}
		}
		if looked == 0 {
			t.Errorf("%s: %s holds none", name, check.file)
		}
	}
}

// goldenItems gives the objects at a path of names in a golden file: in the items of a page where it is one.
func goldenItems(t *testing.T, name, within string) []map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var whole map[string]any
	if err := json.Unmarshal(data, &whole); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	at := []any{whole}
	if items, ok := whole["items"].([]any); ok && !strings.HasPrefix(within, "coverage.") {
		at = items
	}
	for step := range strings.SplitSeq(within, ".") {
		var next []any
		for _, v := range at {
			if step != "" {
				v = v.(map[string]any)[step]
			}
			if list, ok := v.([]any); ok {
				next = append(next, list...)
			} else if v != nil {
				next = append(next, v)
			}
		}
		at = next
	}
	var out []map[string]any
	for _, v := range at {
		out = append(out, v.(map[string]any))
	}
	return out
}
