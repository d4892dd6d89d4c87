package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestFeedsInFile reads feeds of a file: what is wrong is told with the feed, the key and the nearest one, and no value is repeated.
func TestFeedsInFile(t *testing.T) {
	load := func(text string) (*config, error) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "ambit.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := &cobra.Command{}
		addConfigFlags(cmd.Flags(), "data")
		if err := cmd.Flags().Set("config", file); err != nil {
			t.Fatal(err)
		}
		return loadConfig(cmd.Flags())
	}
	c, err := load(`
feeds:
  - name: siem
    transport: webhook
    url: https://siem.example.com/in
    filter: {severity: high, owner: [payments]}
    batch: {wait: 2s}
  - {name: pager, transport: alertmanager, url: "https://alertmanager.example.com", silences: true}
`)
	if err != nil || len(c.Feeds) != 2 {
		t.Fatalf("got %v, %v", c, err)
	}
	for text, want := range map[string]string{
		"feeds: [{name: siem, transport: webhook, url: 'https://siem.example.com', fliter: {severity: high}}]":          "feeds: siem: unknown key fliter, did you mean filter?",
		"feeds: [{name: siem, transport: webhook, url: 'https://siem.example.com', hmac: {fle: /x}}]":                   "feeds: siem: unknown key hmac.fle, did you mean hmac.file?",
		"feeds: [{name: siem, transport: webhook, url: 'https://siem.example.com', token: hunter2}]":                    "feeds: siem: 'token' expected a map",
		"feeds: [{name: a, transport: stdout}, {name: b, transport: sysolg}]":                                           "did you mean syslog?",
		"feds: [{name: a, transport: stdout}]":                                                                          "unknown key feds, did you mean feeds?",
		"feeds: [{name: a, transport: webhook, url: 'https://x:hunter2@siem.example.com'}]":                             "put it into a file or the environment",
		"feeds: [{name: a, transport: webhook, url: 'http://siem.example.com'}, {name: b, transport: kafka, topic: x}]": "feeds: b: brokers are missing",
	} {
		_, err := load(text)
		var use *wrongUse
		if !errors.As(err, &use) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
