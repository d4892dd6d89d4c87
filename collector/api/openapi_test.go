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
	} {
		name, schema, looked := check.name, document.Components.Schemas[check.name], 0
		for _, item := range goldenItems(t, check.file) {
			if check.within != "" {
				if item, _ = item[check.within].(map[string]any); item == nil {
					continue
				}
			}
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

func goldenItems(t *testing.T, name string) []map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var page Page[map[string]any]
	if err := json.Unmarshal(data, &page); err != nil || len(page.Items) == 0 {
		t.Fatalf("%s: %v, %d items", name, err, len(page.Items))
	}
	return page.Items
}
