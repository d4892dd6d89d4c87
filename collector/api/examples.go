package api

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Example is one call with its answer.
type Example struct {
	Call   string          `json:"call"` // method and path as the document writes it
	Target string          `json:"target"`
	Kind   string          `json:"kind,omitempty"` // of the body
	Body   json.RawMessage `json:"body,omitempty"`
	Answer json.RawMessage `json:"answer,omitempty"` // of what answers in JSON
}

//go:embed examples.json
var examplesJSON []byte

// document is the OpenAPI document with an example of each call, as it is served.
var document = sync.OnceValue(func() []byte {
	data, err := withExamples(openAPI, examplesJSON)
	if err != nil {
		panic(err) // both are embedded, and tested
	}
	return data
})

// withExamples writes examples into a document: a command line at each call, and the answer at what is answered.
func withExamples(text, examples []byte) ([]byte, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	var all []Example
	if err := json.Unmarshal(examples, &all); err != nil {
		return nil, fmt.Errorf("read examples: %w", err)
	}
	for _, e := range all {
		method, path, _ := strings.Cut(e.Call, " ")
		call := at(root.Content[0], "paths", path, strings.ToLower(method))
		if call == nil {
			return nil, fmt.Errorf("the document does not know %s", e.Call)
		}
		if err := set(call, "x-codeSamples", []map[string]string{{"lang": "Shell", "source": e.curl()}}); err != nil {
			return nil, err
		}
		if body := at(call, "requestBody", "content", "application/json"); body != nil && e.Body != nil {
			if err := set(body, "example", e.Body); err != nil {
				return nil, err
			}
		}
		if answer := at(call, "responses", "200", "content", "application/json"); answer != nil && e.Answer != nil {
			if err := set(answer, "example", e.Answer); err != nil {
				return nil, err
			}
		}
	}
	return yaml.Marshal(&root)
}

// curl is a call as a command line.
func (e *Example) curl() string {
	method, _, _ := strings.Cut(e.Call, " ")
	parts := []string{"curl"}
	if method != "GET" {
		parts = append(parts, "-X", method)
	}
	parts = append(parts, "-H", `"Authorization: Bearer $(cat "$AMBIT_TOKEN_FILE")"`)
	if e.Body != nil {
		body := string(e.Body)
		if text := ""; json.Unmarshal(e.Body, &text) == nil { // a body that is no JSON
			body = text
		}
		parts = append(parts, "-H", "'Content-Type: "+e.Kind+"'", "--data-binary", "'"+strings.ReplaceAll(body, "'", `'\''`)+"'")
	}
	return strings.Join(append(parts, "'http://127.0.0.1:8480"+e.Target+"'"), " ")
}

// at gives what is at a path of names in a node, or nil.
func at(n *yaml.Node, names ...string) *yaml.Node {
	for _, name := range names {
		var next *yaml.Node
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				next = n.Content[i+1]
			}
		}
		if n = next; n == nil {
			return nil
		}
	}
	return n
}

// set adds a name to a map.
func set(n *yaml.Node, name string, value any) error {
	if raw, ok := value.(json.RawMessage); ok {
		if err := json.Unmarshal(raw, &value); err != nil {
			return fmt.Errorf("read an example: %w", err)
		}
	}
	var key, v yaml.Node
	key.SetString(name)
	if err := v.Encode(value); err != nil {
		return fmt.Errorf("write an example: %w", err)
	}
	n.Style = 0
	n.Content = append(n.Content, &key, &v)
	return nil
}
