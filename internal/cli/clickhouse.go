package cli

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/ambit-nhi/ambit/collector/engine"
	"github.com/spf13/cobra"
)

// newClickHouseCommand is the child process in which `ambit up` keeps the
// embedded engine; it can be run by hand too.
func newClickHouseCommand() *cobra.Command {
	config := engine.DefaultServerConfig()
	var supervised bool
	cmd := &cobra.Command{
		Use:   "clickhouse --data DIR --socket PATH",
		Short: "Serve the embedded ClickHouse engine on a unix socket",
		Long: `Serve the embedded ClickHouse engine on a unix socket.

"ambit up" starts this command by itself. Run by hand, it gives any client
that speaks ClickHouse's HTTP interface access to a data folder that no other
process uses, for example:

  curl --unix-socket PATH http://clickhouse/ -d 'SHOW DATABASES'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if supervised {
				stdin, err := parentPipe()
				if err != nil {
					return err
				}
				config.Parent = stdin
			}
			server, err := engine.NewServer(config)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return server.Run(ctx)
		},
	}
	flags := flag.NewFlagSet("clickhouse", flag.ContinueOnError)
	config.Flags(flags)
	cmd.Flags().AddGoFlagSet(flags)
	cmd.Flags().BoolVar(&supervised, "supervised", false, "end when standard input, a pipe from the parent, closes")
	return cmd
}

// parentPipe makes standard input interruptible, so that a read from it ends
// when it is closed here.
func parentPipe() (*os.File, error) {
	info, err := os.Stdin.Stat()
	if err != nil {
		return nil, fmt.Errorf("open standard input: %w", err)
	}
	if info.Mode()&os.ModeNamedPipe == 0 {
		return nil, errors.New("open standard input: --supervised needs a pipe there, which the parent process keeps open")
	}
	if err := syscall.SetNonblock(0, true); err != nil {
		return nil, fmt.Errorf("open standard input: %w", err)
	}
	return os.NewFile(0, "standard input"), nil
}
