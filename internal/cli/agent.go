package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/agent"
	"github.com/ambit-nhi/ambit/agent/kube"
	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/event"
)

func newAgentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Watch this machine for a collector elsewhere",
		Long: `Watch this machine, and send what is seen to the NATS servers that nats.urls in the configuration (AMBIT_NATS_URLS) names,
where "ambit collector" takes it; nats.tls says with which certificate. It makes no streams there, and needs no rights but those of
deploy/nats/agent.conf; until a collector has made the streams, what is seen waits in memory. With deny.keys it follows decisions that these
keys have signed, and refuses connections. It needs root.`,
		Args: noArgs,
	}
	cmd.AddCommand(newUnpinCommand(), newUnpinnedCommand())
	addConfigFlags(cmd.Flags(), "data", "node", "trust_domain", "interval")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadConfig(cmd.Flags())
		if err != nil {
			return err
		}
		if len(c.NATS.URLs) == 0 {
			return usagef("nats.urls is not set, so there is nowhere to send to; `ambit up` needs none")
		}
		log := c.logger(cmd.ErrOrStderr())
		slog.SetDefault(log) // the agent has no logger of its own
		if err := agent.Preflight(); err != nil {
			return err
		}
		beFrugal()
		ctx, out := cmd.Context(), cmd.OutOrStdout()
		bus := collector.DefaultBusConfig()
		bus.URLs, bus.Credentials, bus.TokenFile, bus.Inbox, bus.Logger = c.NATS.URLs, c.NATS.Credentials, c.NATS.TokenFile, event.AgentInbox(c.Node), log
		if err := bus.Validate(); err != nil {
			return usageError(err)
		}
		u := newUp(c, log, newParts(out))
		check, _ := cmd.Flags().GetBool("check")
		u.metrics.MustRegister(&ownMetrics{last: u.lastBeat, fleet: collector.NewFleet()})
		if err = u.startPprof(ctx); err == nil {
			err = u.startMetrics(ctx)
		}
		if err == nil {
			err = u.startCertificate(ctx, &bus, check)
		}
		if err == nil {
			u.bus, err = collector.OutsideBus(bus)
		}
		if err == nil {
			err = u.findStream(ctx, check)
		}
		if err == nil && check {
			err = c.checkKubernetes(ctx)
		}
		if err == nil {
			err = u.startAgent(ctx)
		}
		if err == nil {
			checks := u.agentChecks
			u.looked.checks.Store(&checks)
		}
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

// beFrugal makes the agent a good guest on its node. It has little to do, but often: with more than one core, Go wakes a second one each time to look
// for more work; and by default it lets as much garbage gather as there is live memory. Go's own variables win.
func beFrugal() {
	const percent, cores, limit = 50, 1, 80 << 20
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
	if os.Getenv("GOMEMLIMIT") == "" { // of the heap, a soft limit: near it, garbage is collected more often
		debug.SetMemoryLimit(limit)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(cores)
	}
}

// streamAgain is how often the stream is looked for while it is not there.
const streamAgain = 2 * time.Second

// findStream looks for the stream to send to. While it is not there, it says so and goes on looking, with the agent at work: what it sees
// waits in its queue. A check does not wait.
func (u *up) findStream(ctx context.Context, check bool) error {
	return u.parts.start(ctx, "stream", func(ctx context.Context, ready func(string)) error {
		look := func() error { return u.bus.CheckStream(ctx, event.AgentSubject(u.config.Node)) }
		missing := look()
		if missing != nil && check {
			return missing
		}
		ready(u.bus.Where())
		if missing != nil {
			u.away.Store(&missing)
			u.log.Warn("observations wait on this node", "error", missing)
			again := time.NewTicker(streamAgain)
			defer again.Stop()
			for missing != nil {
				select {
				case <-again.C:
					missing = look()
				case <-ctx.Done():
					return nil
				}
			}
			u.away.Store(nil)
			u.log.Warn("the stream is there now", "at", u.bus.Where())
		}
		<-ctx.Done()
		return nil
	})
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
	config.Spool, config.Deny = u.config.Spool, u.config.Deny
	config.Identity, config.ClusterDomain, config.Engines = u.config.identityTemplate(), u.config.Kubernetes.ClusterDomain, u.config.Containers.Sockets
	if u.config.kubernetesWanted() {
		config.Kubernetes = &kube.Config{Kubeconfig: u.config.Kubernetes.Kubeconfig, Node: u.config.kubernetesNode()}
	}
	if u.svid != nil {
		config.Missing = u.svid.Missing
	}
	authorities, err := u.config.authorities(u.log)
	if err != nil {
		return err
	}
	if authorities != nil {
		config.TLS = &agent.TLSConfig{Judge: judge(authorities), Missing: authorities.Missing}
	}
	if config.StateDir, err = u.config.stateDir(); err != nil {
		return err
	}
	if err := config.Validate(); err != nil {
		return usageError(err)
	}
	return u.parts.start(ctx, "agent", func(ctx context.Context, ready func(string)) error {
		nc, err := u.bus.ConnectLater("ambit agent")
		if err != nil {
			return err
		}
		defer closeConnection(nc)
		u.conn.Store(nc)
		a, err := agent.New(config, nc)
		if err != nil {
			return err
		}
		u.agent.Store(a)
		if authorities == nil {
			return a.Run(ctx, func() { ready("watching node " + config.Node) })
		}
		group, ctx := errgroup.WithContext(ctx)
		ctx, stop := context.WithCancel(ctx)
		group.Go(func() error { return authorities.Run(ctx) })
		group.Go(func() error {
			defer stop()
			return a.Run(ctx, func() { ready("watching node " + config.Node) })
		})
		return group.Wait()
	})
}

// lastBeat is the last heartbeat of the agent of this process, nil before the first one.
func (u *up) lastBeat() *event.Heartbeat {
	if a := u.agent.Load(); a != nil {
		return a.Last()
	}
	return nil
}
