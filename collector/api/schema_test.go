package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// checkAnswer says where a JSON answer is not what the document says of a path.
func checkAnswer(t *testing.T, path string, status int, kind string, body []byte) {
	t.Helper()
	checkAnswerOf(t, path, "get", status, kind, body)
}

func checkAnswerOf(t *testing.T, path, method string, status int, kind string, body []byte) {
	t.Helper()
	var document map[string]any
	if err := yaml.Unmarshal(openAPI, &document); err != nil {
		t.Fatal(err)
	}
	at := any(document)
	for _, step := range []string{"paths", path, method, "responses", fmt.Sprint(status), "content", kind, "schema"} {
		m, _ := at.(map[string]any)
		if at = m[step]; at == nil {
			t.Errorf("the document has nothing for %s, %d, %s: no %s", path, status, kind, step)
			return
		}
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		t.Fatal(err)
	}
	for _, fault := range (&schemas{document}).check(at.(map[string]any), value, "answer") {
		t.Errorf("%s, %d: %s", path, status, fault)
	}
}

// schemas checks values against those parts of JSON Schema that the document uses. Properties that it does not name are faults.
type schemas struct{ document map[string]any }

func (s *schemas) resolve(schema map[string]any) map[string]any {
	for ref, ok := schema["$ref"].(string); ok; ref, ok = schema["$ref"].(string) {
		var at any = s.document
		for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			at = at.(map[string]any)[name]
		}
		schema = at.(map[string]any)
	}
	parts, ok := schema["allOf"].([]any)
	if !ok {
		return schema
	}
	properties, required := map[string]any{}, []any{}
	for _, part := range parts {
		p := s.resolve(part.(map[string]any))
		if more, ok := p["properties"].(map[string]any); ok {
			maps.Copy(properties, more)
		}
		if more, ok := p["required"].([]any); ok {
			required = append(required, more...)
		}
	}
	return map[string]any{"type": "object", "properties": properties, "required": required}
}

func (s *schemas) check(schema map[string]any, value any, at string) (faults []string) {
	schema = s.resolve(schema)
	if words, ok := schema["enum"].([]any); ok && !slices.Contains(words, value) {
		return []string{fmt.Sprintf("%s: %v is not one of %v", at, value, words)}
	}
	wrong := func(want string) []string { return []string{fmt.Sprintf("%s: %v is no %s", at, value, want)} }
	switch schema["type"] {
	case "string":
		text, ok := value.(string)
		if !ok {
			return wrong("string")
		}
		if _, err := time.Parse(time.RFC3339Nano, text); schema["format"] == "date-time" && err != nil {
			return wrong("time")
		}
	case "integer":
		if n, ok := value.(float64); !ok || n != float64(int64(n)) {
			return wrong("integer")
		}
	case "number":
		if _, ok := value.(float64); !ok {
			return wrong("number")
		}
	case "boolean":
		if _, ok := value.(bool); !ok {
			return wrong("boolean")
		}
	case "array":
		list, ok := value.([]any)
		if !ok {
			return wrong("array")
		}
		for i, v := range list {
			faults = append(faults, s.check(schema["items"].(map[string]any), v, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case "object":
		object, ok := value.(map[string]any)
		if !ok {
			return wrong("object")
		}
		return s.checkObject(schema, object, at)
	}
	return faults
}

func (s *schemas) checkObject(schema, object map[string]any, at string) (faults []string) {
	if required, ok := schema["required"].([]any); ok {
		for _, name := range required {
			if _, ok := object[name.(string)]; !ok {
				faults = append(faults, fmt.Sprintf("%s: %v is required but missing", at, name))
			}
		}
	}
	properties, _ := schema["properties"].(map[string]any)
	rest, free := schema["additionalProperties"].(map[string]any)
	for name, v := range object {
		switch property, ok := properties[name].(map[string]any); {
		case ok:
			faults = append(faults, s.check(property, v, at+"."+name)...)
		case free:
			faults = append(faults, s.check(rest, v, at+"."+name)...)
		case properties != nil:
			faults = append(faults, fmt.Sprintf("%s: the document does not know %s", at, name))
		}
	}
	return faults
}

// TestSchemas: the checks above find what is wrong.
func TestSchemas(t *testing.T) {
	var document map[string]any
	if err := yaml.Unmarshal(openAPI, &document); err != nil {
		t.Fatal(err)
	}
	s := &schemas{document}
	f := func(schema, value, want string) {
		t.Helper()
		var v any
		if err := json.Unmarshal([]byte(value), &v); err != nil {
			t.Fatal(err)
		}
		faults := s.check(map[string]any{"$ref": "#/components/schemas/" + schema}, v, "x")
		if got := strings.Join(faults, "; "); got != want {
			t.Errorf("%s %s: %q, want %q", schema, value, got, want)
		}
	}
	f("Check", `{"name":"a","state":"ok"}`, "")
	f("Check", `{"name":"a"}`, "x: state is required but missing")
	f("Check", `{"name":"a","state":"good"}`, "x.state: good is not one of [ok warning failed]")
	f("Check", `{"name":1,"state":"ok"}`, "x.name: 1 is no string")
	f("Check", `{"name":"a","state":"ok","more":1}`, "x: the document does not know more")
	f("Ready", `{"status":"ok","checks":[{"name":"a","state":"ok"},{"name":"b"}]}`, "x.checks[1]: state is required but missing")
	f("Ready", `{"status":"ok","checks":{}}`, "x.checks: map[] is no array")
	f("Span", `{"from":"2026-03-02T12:00:00Z","until":"noon"}`, "x.until: noon is no time")
	f("NotReady", `{"type":"a","title":"b","status":503.5,"checks":[]}`, "x.status: 503.5 is no integer")
	f("TLS", `[]`, "x: [] is no object")
	f("NodeTLS", `{"connections":0,"full":0,"resumed":0,"inferred":0,"wire_only":0,"failed":0,"none":0,"blind":[],"stacks":{"a":"b"}}`, "x.stacks.a: b is no integer")
}
