package cli

import (
	"os"
	"path/filepath"
	"testing"
)

func TestInventoryConfiguration(t *testing.T) {
	t.Setenv("AMBIT_CLICKHOUSE_LIBRARY", os.Args[0]) // some file: nothing gets as far as to load it
	dir := t.TempDir()
	file := filepath.Join(dir, "ambit.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := func(text string, want ...string) {
		t.Helper()
		write(text)
		refused(t, exitUsage, []string{"up", "--no-agent", "--data", filepath.Join(dir, "data"), "--config", file}, want...)
	}
	f("inventory: {rules: [{match: {namespace: shop}, set: {owner: a}}, {match: {namespaces: shop}, set: {owner: a}}]}", "inventory.rules: rule 2: match.namespaces: unknown key")
	f("inventory: {rules: [{match: {name: a}, set: {domain: robots}}]}", "rule 1: set.domain", "robots")
	f("inventory: {rules: shop}", "inventory.rules")
	f("inventory: {rules: {match: x}}", "inventory.rules")
	f("inventory: {cluster: 'a b'}", "inventory.cluster")
	f("inventory: {rule: []}", "inventory.rule", "did you mean inventory.rules?")

	write("inventory:\n  cluster: east\n  rules:\n  - match: {namespace: [Shop, 'web-*'], label: 'Team=Shop'}\n    set: {owner: Team Shop, domain: ci-cd}\n")
	cmd := newUpCommand()
	if err := cmd.ParseFlags([]string{"--config", file}); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(cmd.Flags())
	if err != nil {
		t.Fatal(err)
	}
	set, _ := c.Inventory.Rules[0]["set"].(map[string]any)
	if c.Inventory.Cluster != "east" || len(c.Inventory.Rules) != 1 || set["owner"] != "Team Shop" {
		t.Errorf("%+v", c.Inventory)
	}
}
