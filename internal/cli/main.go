// Package cli holds Ambit's commands, one file each.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
)

// Main runs the command line and gives the exit code: 0 good, 1 failed, 2 wrong use, 3 findings present.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	return run(ctx, args, os.Stdout, os.Stderr)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(append([]string{}, args...)) // never nil, which would mean those of the process
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var use *wrongUse
	switch {
	case err == nil:
		return exitGood
	case errors.Is(err, errFindings):
		return exitFindings
	case errors.As(err, &use):
		fmt.Fprintln(stderr, "ambit:", oneLine(err))
		return exitUsage
	case outputGone(err):
		return exitFailed
	}
	fmt.Fprintln(stderr, "ambit:", oneLine(err))
	return exitFailed
}

// outputGone says whether who reads the output went away, which is no news to anybody; a connection that broke is.
func outputGone(err error) bool {
	var connection *net.OpError
	return errors.Is(err, syscall.EPIPE) && !errors.As(err, &connection)
}
