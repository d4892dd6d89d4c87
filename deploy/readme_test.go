package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGuide renders the values that the guide shows, and looks for each file and value that it names.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("README.md")
	check(t, err)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) == 0 {
		t.Error("the guide shows no values")
	}
	for _, b := range blocks {
		file := filepath.Join(t.TempDir(), "values.yaml")
		check(t, os.WriteFile(file, []byte(strings.ReplaceAll(b[1], "A…", "ABJHLOVMPA4CI6R5KLNGOB4GSLNIY7IOUPAJC4YFNDLQVIOBYQGUWVLA")), 0o600))
		render(t, file)
	}
	known := map[string]bool{}
	for _, v := range readValues(t) {
		for key := v.key; key != ""; key = strings.TrimSuffix(key[:max(strings.LastIndexByte(key, '.'), 0)], ".") {
			known[key] = true
		}
	}
	for _, m := range regexp.MustCompile("`((?:agent|collector|nats|clickhouse|spiffe|metrics|networkPolicy|image)\\.[A-Za-z.]+)[=`]").FindAllStringSubmatch(string(text), -1) {
		if key := m[1]; !known[key] && !regexp.MustCompile(`_|^nats\.(tls|conf)|\.conf$`).MatchString(m[0]) {
			t.Errorf("the guide names %s, which is no value", key)
		}
	}
	for _, m := range regexp.MustCompile("(?:`|\\()((?:testdata|nats|chart|manifests|rbac)/[a-zA-Z0-9_./-]+)").FindAllStringSubmatch(string(text), -1) {
		if _, err := os.Stat(m[1]); err != nil {
			t.Errorf("the guide names %s: %v", m[1], err)
		}
	}
}
