package feed

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

type ecsField struct {
	kind    string
	array   bool
	allowed []string
}

var ecsFields = sync.OnceValues(func() (map[string]ecsField, error) {
	data, err := os.ReadFile("testdata/ecs-9.4.0.tsv")
	if err != nil {
		return nil, err
	}
	out := map[string]ecsField{}
	for line := range strings.Lines(string(data)) {
		parts := append(strings.Split(strings.TrimRight(line, "\n"), "\t"), "", "", "")
		f := ecsField{kind: parts[1], array: strings.Contains(parts[2], "array")}
		if parts[3] != "" {
			f.allowed = strings.Split(parts[3], ",")
		}
		out[parts[0]] = f
	}
	return out, nil
})

// checkECS compares each field of a document with its definition.
func checkECS(body []byte) (map[string]any, error) {
	fields, err := ecsFields()
	if err != nil {
		return nil, err
	}
	var doc map[string]any
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, err
	}
	flat := map[string]any{}
	var walk func(m map[string]any, prefix string) error
	walk = func(m map[string]any, prefix string) error {
		for name, value := range m {
			path := prefix + name
			field, known := fields[path]
			inner, isMap := value.(map[string]any)
			switch {
			case known && field.kind == "object" && isMap: // as labels
				for k, v := range inner {
					if _, ok := v.(string); !ok || strings.Contains(k, ".") {
						return fmt.Errorf("%s.%s is %v, no keyword", path, k, v)
					}
				}
			case isMap:
				if known {
					return fmt.Errorf("%s is an object, want a %s", path, field.kind)
				}
				if err := walk(inner, path+"."); err != nil {
					return err
				}
			case !known:
				return fmt.Errorf("there is no field %s", path)
			default:
				flat[path] = value
				if err := field.check(value); err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
			}
		}
		return nil
	}
	if err := walk(doc, ""); err != nil {
		return nil, fmt.Errorf("%w in %s", err, body)
	}
	for _, needed := range []string{"@timestamp", "ecs.version", "event.kind", "event.category", "event.type", "event.outcome"} {
		if flat[needed] == nil {
			return nil, fmt.Errorf("%s is missing", needed)
		}
	}
	return doc, nil
}

func (f ecsField) check(value any) error {
	list, isArray := value.([]any)
	if isArray != f.array {
		return fmt.Errorf("%v: array %t, want %t", value, isArray, f.array)
	}
	if !isArray {
		list = []any{value}
	}
	for _, v := range list {
		s, isText := v.(string)
		n, isNumber := v.(float64)
		ok := false
		switch f.kind {
		case "keyword", "constant_keyword", "wildcard", "text", "match_only_text":
			ok = isText && s != ""
		case "date":
			_, err := time.Parse(time.RFC3339Nano, s)
			ok = err == nil
		case "ip":
			_, err := netip.ParseAddr(s)
			ok = err == nil
		case "long", "integer", "unsigned_long":
			ok = isNumber && n == math.Trunc(n)
		case "float", "scaled_float", "double":
			ok = isNumber
		case "boolean":
			_, ok = v.(bool)
		}
		if !ok {
			return fmt.Errorf("%v is no %s", v, f.kind)
		}
		if len(f.allowed) > 0 && !slices.Contains(f.allowed, s) {
			return fmt.Errorf("%q is not allowed", s)
		}
	}
	return nil
}

func TestECS(t *testing.T) {
	f := func(r *Record, want map[string]string) {
		t.Helper()
		doc, err := checkECS(encodeFor(t, "ecs", r))
		if err != nil {
			t.Fatal(err)
		}
		for path, value := range want {
			if got := fmt.Sprint(at(doc, path)); got != value {
				t.Errorf("%s is %s, want %s", path, got, value)
			}
		}
	}
	r := findingRecord(t)
	f(r, map[string]string{
		"event.kind": "alert", "event.severity": "73", "event.risk_score": "83", "event.id": r.UID, "rule.id": "new-reach", "threat.technique.id": "[T1552 T1046]", "threat.technique.subtechnique.id": "[T1552.005]",
		"threat.tactic.id": "[TA0006 TA0007]", "tags": "[site:eu1 NHI5:2025 NHI8:2025]", "orchestrator.namespace": "shop", "destination.domain": "api.example.com", "destination.port": "443", "user.id": "spiffe://shop.example/ns/shop/sa/checkout",
		"labels.owner": "team-payments", "labels.status": "new", "related.user": "[spiffe://shop.example/ns/shop/sa/checkout]", "related.hosts": "[n1 api.example.com]",
	})
	r.Life = Close
	f(r, map[string]string{"event.kind": "event", "event.id": r.UID, "labels.activity": "close"})
	r.Finding.Rule = "never-used"
	f(r, map[string]string{"event.category": "[iam]"})
	f(observationRecord(t), map[string]string{"event.category": "[network]", "destination.ip": "10.1.2.3", "source.bytes": "48211", "network.transport": "tcp", "tls.version": "1.3"})
	f(decisionRecord(t), map[string]string{"event.category": "[iam]", "user.target.id": "spiffe://shop.example/ns/shop/sa/checkout", "user.name": "alice", "labels.mode": "enforce"})
}

func TestECSOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body, err := encodeECS(plainMaking, drawFinding(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := checkECS(body); err != nil {
			t.Fatal(err)
		}
	})
}
