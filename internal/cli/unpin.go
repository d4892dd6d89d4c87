package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/agent"
	"github.com/ambit-nhi/ambit/agent/kube"
)

func newUnpinCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unpin",
		Short: "Remove what the agent leaves in the kernel: nothing is denied on this machine any more",
		Long: `Remove what the agent leaves in the kernel. What is denied outlives the agent on purpose, until it ends by itself; this ends all of it at once, for
when the agent is taken off this machine. It needs root, and no agent may be running: while one runs, the break-glass file turns enforcement off.

With --purge, what the agent keeps on the disk goes, too: what waits there to be sent is lost. A second run finds nothing, and is no error.`,
		Args: noArgs,
	}
	cmd.Flags().String("config", "", "YAML file with more settings")
	cmd.Flags().String("data", defaultConfig().Data, configFlags["data"])
	wait := cmd.Flags().Duration("wait", 0, "how long to wait for an agent that is about to end")
	purge := cmd.Flags().Bool("purge", false, "also remove what the agent keeps on the disk")
	hold := cmd.Flags().Bool("hold", false, "stay until stopped, for a pod that says it is done by being ready")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadConfig(cmd.Flags())
		if err != nil {
			return err
		}
		if *wait < 0 || *wait > time.Hour {
			return usagef("--wait %s is not between 0s and 1h", *wait)
		}
		if err := c.unpin(cmd.Context(), cmd.OutOrStdout(), *wait, *purge); err != nil {
			return err
		}
		if *hold {
			<-cmd.Context().Done()
		}
		return nil
	}
	return cmd
}

// unpinAgain is how often unpin looks whether the agent has ended.
const unpinAgain = 200 * time.Millisecond

// unpin tries until no agent has what is to be removed, or wait is over.
func (c *config) unpin(ctx context.Context, out io.Writer, wait time.Duration, purge bool) error {
	late := time.After(wait)
	for {
		err := c.unpinOnce(out, purge)
		if !errors.Is(err, agent.ErrRuns) {
			return err
		}
		select {
		case <-time.After(unpinAgain):
		case <-late:
			return err
		case <-ctx.Done():
			return err
		}
	}
}

func (c *config) unpinOnce(out io.Writer, purge bool) error {
	dir := filepath.Join(c.Data, stateFolder)
	lock, err := agent.HoldState(dir)
	if err != nil {
		return err
	}
	if lock != nil {
		defer lock.Close()
	}
	removed, err := agent.RemovePins(c.Deny.Pins)
	switch {
	case err != nil:
		return err
	case removed:
		fmt.Fprintf(out, "removed %s; nothing is denied on this machine\n", c.Deny.Pins)
	default:
		fmt.Fprintf(out, "there is nothing at %s\n", c.Deny.Pins)
	}
	if !purge {
		return nil
	}
	if removed, err = agent.RemoveState(dir); err != nil {
		return err
	}
	if removed {
		fmt.Fprintf(out, "removed %s\n", dir)
	} else {
		fmt.Fprintf(out, "there is nothing at %s\n", dir)
	}
	return nil
}

func newUnpinnedCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unpinned NAMESPACE/DAEMONSET",
		Short: "Wait until all nodes of a cluster have run `ambit agent unpin`",
		Long: `Wait until a DaemonSet whose pods run "ambit agent unpin" is ready on all its nodes. Uninstalling the chart does this; it needs the right to get that
DaemonSet, and nothing else.`,
		Args: oneArg("a DaemonSet as NAMESPACE/NAME"),
	}
	wait := cmd.Flags().Duration("wait", 5*time.Minute, "how long to wait")
	kubeconfig := cmd.Flags().String("kubeconfig", "", "file that says how to reach the Kubernetes API (default: as the pod's service account)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		namespace, name, ok := strings.Cut(args[0], "/")
		if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
			return usagef("%q names no DaemonSet; give NAMESPACE/NAME", args[0])
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), *wait)
		defer cancel()
		return kube.Rollout(ctx, kube.Config{Kubeconfig: *kubeconfig}, namespace, name, func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) })
	}
	return cmd
}
