package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ambit-nhi/ambit/internal/nearest"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit codes.
const (
	exitGood     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitFindings = 3
)

// errFindings ends a command that checks and found something: exit code 3, and nothing more is said.
var errFindings = errors.New("there are findings")

// wrongUse is an error of who typed the command.
type wrongUse struct{ err error }

func (w *wrongUse) Error() string { return w.err.Error() }
func (w *wrongUse) Unwrap() error { return w.err }

// usageError makes an error that ends with exit code 2.
func usageError(err error) error { return &wrongUse{err} }

func usagef(format string, args ...any) error { return usageError(fmt.Errorf(format, args...)) }

// newRoot is the table of commands.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "ambit",
		Short: "Watch what every non-human identity reaches",
		Long: `Ambit watches what every non-human identity (a service, a pod, a certificate) really reaches,
learns what is normal, tells when one leaves it, and says which ones nobody uses any more.

Start with "ambit up".`,
		Args: func(cmd *cobra.Command, args []string) error { return unknownCommand(cmd, args) },
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		newUpCommand(),
		newAgentCommand(),
		newCollectorCommand(),
		newClickHouseCommand(),
		newDoctorCommand(),
		newIdentitiesCommand(),
		newInventoryCommand(),
		newReachCommand(),
		newFindingsCommand(),
		newExplainCommand(),
		newReportCommand(),
		newTopCommand(),
		newDenyCommand(),
		newDecisionsCommand(),
		newRevokeCommand(),
		newFeedsCommand(),
		replayCommand(),
		newScopeCommand(),
		newAuditCommand(),
		newTokenCommand(),
		newVersionCommand(),
	)
	giveExamples(root)
	giveCompletions(root)
	return root
}

// unknownCommand refuses arguments where only a subcommand may stand.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var known []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			known = append(known, c.Name())
		}
	}
	return usagef("unknown command %q%s; %s --help lists them", args[0], nearest.Hint(args[0], known), cmd.CommandPath())
}

// flagError makes one line with the nearest flag of what the parser complains about.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && len(unknown.GetSpecifiedName()) > 1 {
		var known []string
		add := func(f *pflag.Flag) { known = append(known, "--"+f.Name) }
		cmd.Flags().VisitAll(add)
		cmd.InheritedFlags().VisitAll(add)
		name := "--" + strings.TrimLeft(unknown.GetSpecifiedName(), "-")
		return usagef("unknown flag %s%s; %s --help lists them", name, nearest.Hint(name, known), cmd.CommandPath())
	}
	return usagef("%w; %s --help says what it takes", err, cmd.CommandPath())
}

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no argument, but got %q; %s --help says what it takes", cmd.CommandPath(), args[0], cmd.CommandPath())
	}
	return nil
}

// oneArg wants exactly one argument.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 && args[0] == "" {
			return usagef("%s takes one argument, %s, but it is empty; %s --help says more", cmd.CommandPath(), what, cmd.CommandPath())
		}
		if len(args) != 1 {
			return usagef("%s takes one argument, %s, but got %d; %s --help says more", cmd.CommandPath(), what, len(args), cmd.CommandPath())
		}
		return nil
	}
}
