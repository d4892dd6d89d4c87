package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/internal/nearest"
)

// word is a flag that takes one of a few words.
type word struct {
	value string
	words []string
}

func (w *word) String() string { return w.value }
func (w *word) Type() string   { return "word" }

func (w *word) Set(s string) error {
	if !slices.Contains(w.words, s) {
		return fmt.Errorf("%q is not one of %s%s", s, strings.Join(w.words, ", "), nearest.Hint(s, w.words))
	}
	w.value = s
	return nil
}

// wordFlag is a flag that takes one of a few words, which the shell completes.
func wordFlag(cmd *cobra.Command, name, help string, words ...string) *string {
	w := &word{words: words}
	cmd.Flags().Var(w, name, help+": "+strings.Join(words, ", "))
	if err := cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is there
	}
	return &w.value
}
