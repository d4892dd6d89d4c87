// Package cli holds Ambit's commands, one file each.
package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// Main runs the command line and gives the exit code: 0 good, 1 failed, 2 wrong use, 3 findings present.
func Main(args []string) int {
	root := &cobra.Command{Use: "ambit", Short: "Watch what every non-human identity reaches", SilenceUsage: true, SilenceErrors: true}
	root.SetArgs(args)
	if err := root.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "ambit:", err)
		return 1
	}
	return 0
}
