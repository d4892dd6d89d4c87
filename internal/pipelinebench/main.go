// Command pipelinebench says how fast observations go from nodes to ClickHouse, and what that takes of the machine: publishers, a NATS server with
// JetStream, the real collector and the real engine, each a process of its own. The same rows are inserted with clickhouse-go alone, too, into
// the same tables of a fresh engine, in turn with the whole way, so that a machine that is busy with other things slows both. With -latency, it says how long a finding
// takes from connect() to NATS instead.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ambit-nhi/ambit/internal/cli"
	"github.com/ambit-nhi/ambit/internal/pipelinebench/process"
)

// roleFlag, as first argument, makes this program one of its own children.
const roleFlag = "-be"

// sizes of a measurement.
type sizes struct {
	observations, publishers, active, rounds int
	samples, load                            int
}

func main() {
	if len(os.Args) > 1 && (os.Args[1] == roleFlag || os.Args[1] == "clickhouse") {
		if err := play(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "pipelinebench:", err)
			os.Exit(1)
		}
		return
	}
	var z sizes
	binary := flag.String("ambit", "bin/ambit", "the program that is measured")
	profiles := flag.String("profiles", "", "folder for profiles of the collector, which then runs in this program instead")
	flag.IntVar(&z.observations, "n", 5_000_000, "observations that go the whole way, in all rounds together")
	flag.IntVar(&z.publishers, "publishers", 8, "nodes that publish")
	flag.IntVar(&z.active, "active", 5000, "edges that a node uses in an interval; 100 such nodes send 50,000 observations a second")
	flag.IntVar(&z.rounds, "rounds", 5, "rounds, each with engines of its own")
	latency := flag.Bool("latency", false, "measure the time from connect() to a finding on NATS (as root)")
	flag.IntVar(&z.samples, "samples", 200, "findings for -latency")
	flag.IntVar(&z.load, "load", 20_000, "observations a second besides, for the second part of -latency")
	flag.Parse()
	measure := throughput
	if *latency {
		measure = latencies
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, *binary, *profiles, z, measure)
	if err != nil {
		fmt.Fprintln(os.Stderr, "pipelinebench:", err)
	}
	if err != nil || !ok {
		stop()
		os.Exit(1)
	}
}

// play is one of the children.
func play(args []string) error {
	if args[0] == "clickhouse" { // of the collector in this program
		if code := cli.Main(args); code != 0 {
			return fmt.Errorf("the engine ended with %d", code)
		}
		return nil
	}
	switch role, args := args[1], args[2:]; role {
	case "nats":
		return serve(args[0])
	case "publishers":
		return publishers(args)
	case "collector":
		return profiled(args[0], args[1:])
	case "client":
		return client(args[0])
	default:
		return fmt.Errorf("no role %q", role)
	}
}

// stage is what a measurement makes on this machine.
type stage struct {
	ctx      context.Context
	folder   string
	binary   string
	profiles string
	*process.Set
}

func run(ctx context.Context, binary, profiles string, z sizes, measure func(*stage, sizes) (bool, error)) (ok bool, err error) {
	if binary, err = filepath.Abs(binary); err != nil {
		return false, err
	}
	folder, err := os.MkdirTemp("", "ambit-pb-") // short: sockets are in it
	if err != nil {
		return false, err
	}
	s := &stage{ctx: ctx, folder: folder, binary: binary, profiles: profiles, Set: process.NewSet(folder)}
	defer func() {
		s.Close()
		if err == nil {
			err = os.RemoveAll(folder)
			return
		}
		err = fmt.Errorf("%w; logs are in %s", err, s.keepLogs())
	}()
	if profiles != "" {
		if s.profiles, err = filepath.Abs(profiles); err != nil {
			return false, err
		}
	}
	return measure(s, z)
}

// keepLogs moves the logs of a failed run to where they stay, and removes the rest.
func (s *stage) keepLogs() string {
	kept, err := os.MkdirTemp("", "ambit-pipelinebench-logs-")
	if err != nil {
		return s.folder
	}
	logs, err := filepath.Glob(filepath.Join(s.folder, "*.log"))
	for _, log := range logs {
		err = errors.Join(err, os.Rename(log, filepath.Join(kept, filepath.Base(log))))
	}
	if err != nil || os.RemoveAll(s.folder) != nil {
		return s.folder
	}
	return kept
}

// within is a context for one step.
func (s *stage) within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.ctx, d)
}

const self = "/proc/self/exe"
