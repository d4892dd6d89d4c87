// Command tlsbench says what watching TLS costs: programs whose handshakes are watched, programs that do none, and the agent. The same loads run in turn
// without an agent, with one that does not watch TLS, and with one that does; each is the real one, alone in its process. Machines are noisy, so each figure
// is the median of ratios of neighbouring runs, with its quartiles; nothing against nothing shows the noise. What is compared is the time that the programs
// take of a processor, the kernel's part for them included: other work on the machine hardly moves it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options of a measurement.
type options struct {
	binary, programs string
	rounds           int
	length           time.Duration
	targets          int
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == roleFlag {
		exit(play(os.Args[2:]))
		return
	}
	var o options
	flag.StringVar(&o.binary, "ambit", "bin/ambit", "the program whose agent is measured")
	flag.StringVar(&o.programs, "programs", ".cache/tls", "folder of `make tls-stacks`, for programs to copy")
	flag.IntVar(&o.rounds, "rounds", 12, "how often each is measured; 0: only the programs' costs and the memory")
	flag.DurationVar(&o.length, "length", 2*time.Second, "of a run of handshakes, roughly")
	flag.IntVar(&o.targets, "targets", 100, "distinct files with TLS to attach to, for the agent's memory; 0: none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // who reads may have enough before all is taken away again
	ok, err := measure(ctx, o)
	if err == nil && !ok {
		err = errors.New("targets are missed")
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "tlsbench:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, o options) (ok bool, err error) {
	if os.Geteuid() != 0 {
		return false, errors.New("watching needs root")
	}
	s, err := newStage(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.startServer(); err != nil {
		return false, err
	}
	loads, err := s.newLoads(o.length)
	if err != nil {
		return false, err
	}
	for _, l := range loads {
		if _, err := l.run(); err != nil { // warm
			return false, fmt.Errorf("%s: %w", l.name, err)
		}
	}
	r, err := s.compare(loads, o)
	if err != nil {
		return false, err
	}
	costs, err := s.programCosts(loads, o)
	if err != nil {
		return false, err
	}
	m, err := s.attachMany(o)
	if err != nil {
		return false, err
	}
	return report(loads, r, costs, m), nil
}
