package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/agent"
)

func newUnpinCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unpin",
		Short: "Remove what the agent leaves in the kernel: nothing is denied on this machine any more",
		Long: `Remove what the agent leaves in the kernel. What is denied outlives the agent on purpose, until it ends by itself; this ends all of it at once, for
when the agent is taken off this machine. It needs root, and no agent may be running: while one runs, the break-glass file turns enforcement off.`,
		Args: noArgs,
	}
	cmd.Flags().String("config", "", "YAML file with more settings")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadConfig(cmd.Flags())
		if err != nil {
			return err
		}
		removed, err := agent.RemovePins(c.Deny.Pins)
		switch {
		case err != nil:
			return err
		case removed:
			fmt.Fprintf(cmd.OutOrStdout(), "removed %s; nothing is denied on this machine\n", c.Deny.Pins)
		default:
			fmt.Fprintf(cmd.OutOrStdout(), "there is nothing at %s\n", c.Deny.Pins)
		}
		return nil
	}
	return cmd
}
