package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/agent"
	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/event"
)

func newAgentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Watch this machine for a collector elsewhere",
		Long: `Watch this machine, and send what is seen to the NATS servers that nats.urls in the configuration (AMBIT_NATS_URLS) names,
where "ambit collector" takes it. It needs root.`,
		Args: noArgs,
	}
	addConfigFlags(cmd.Flags(), "node", "trust_domain", "interval")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadConfig(cmd.Flags())
		if err != nil {
			return err
		}
		if len(c.NATS.URLs) == 0 {
			return usagef("nats.urls is not set, so there is nowhere to send to; `ambit up` needs none")
		}
		if err := agent.Preflight(); err != nil {
			return err
		}
		ctx, out := cmd.Context(), cmd.OutOrStdout()
		bus := collector.DefaultBusConfig()
		bus.URLs, bus.Logger = c.NATS.URLs, c.logger(cmd.ErrOrStderr())
		if err := bus.Validate(); err != nil {
			return usageError(err)
		}
		u := &up{config: c, log: bus.Logger, parts: newParts(out)}
		if u.bus, err = collector.OpenBus(ctx, bus); err != nil {
			return err
		}
		err = u.startAgent(ctx)
		check, _ := cmd.Flags().GetBool("check")
		switch {
		case err != nil && ctx.Err() != nil:
			err = nil
		case err != nil:
		case check:
			fmt.Fprintln(out, "all of it works")
		default:
			err = u.parts.wait(ctx)
		}
		return errors.Join(err, u.stop())
	}
	return cmd
}

// startAgent watches this machine.
func (u *up) startAgent(ctx context.Context) error {
	td, err := event.ParseTrustDomain(u.config.TrustDomain)
	if err != nil {
		return usageError(err)
	}
	config := agent.Default()
	config.Node, config.TrustDomain, config.Version = u.config.Node, td, readBuildInfo().Version
	config.Interval, config.Partitions = u.config.Interval, u.config.Partitions
	if err := config.Validate(); err != nil {
		return usageError(err)
	}
	return u.parts.start(ctx, "agent", func(ctx context.Context, ready func(string)) error {
		nc, err := u.bus.Connect("ambit agent")
		if err != nil {
			return err
		}
		defer closeConnection(nc)
		a, err := agent.New(config, nc)
		if err != nil {
			return err
		}
		return a.Run(ctx, func() { ready("watching node " + config.Node) })
	})
}
