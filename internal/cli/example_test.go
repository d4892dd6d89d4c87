package cli

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestHelp: every command has an example, whose commands and flags there are.
func TestHelp(t *testing.T) {
	used := map[string]bool{}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		used[c.CommandPath()] = true
		if c.Runnable() && c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for line := range strings.SplitSeq(c.Example, "\n") {
			_, line, ok := strings.Cut(" "+line+" ", " ambit ")
			if !ok {
				continue
			}
			line, _, _ = strings.Cut(line, "  ") // what it is for
			found, rest, err := newRoot().Find(strings.Fields(line))
			if err != nil || found.CommandPath() == "ambit" {
				t.Errorf("%s: the example %q is no command: %v", c.CommandPath(), line, err)
				continue
			}
			for _, word := range rest {
				name, ok := strings.CutPrefix(word, "--")
				name, _, _ = strings.Cut(name, "=")
				if !ok || name == "" {
					continue
				}
				var known *pflag.Flag
				if known = found.Flags().Lookup(name); known == nil {
					known = found.InheritedFlags().Lookup(name)
				}
				if known == nil {
					t.Errorf("%s: the example %q has a flag that %s has not: --%s", c.CommandPath(), line, found.CommandPath(), name)
				}
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot())
	for path := range examples {
		if !used[path] {
			t.Errorf("there is an example of %s, which is no command", path)
		}
	}
}
