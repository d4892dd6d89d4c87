package cli

import "github.com/spf13/cobra"

func newCollectorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "collector",
		Short: "Take what agents send, without watching this machine",
		Long: `Take what agents send, without watching this machine: everything that "ambit up" starts but the agent.

nats.urls and clickhouse.addresses in the configuration name servers to use instead of the embedded ones.`,
		Args: noArgs,
	}
	addConfigFlags(cmd.Flags(), "data", "listen", "learn")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadConfig(cmd.Flags())
		if err != nil {
			return err
		}
		c.NoAgent = true
		return runUp(cmd, c)
	}
	return cmd
}
