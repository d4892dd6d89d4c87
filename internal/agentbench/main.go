// Command agentbench says what the agent takes of a node while the node churns: cgroups, executables and edges that come and go by the ten
// thousand, and known edges that are used over and over. The agent is the real one, alone in its process; the stream it publishes to is in another.
// What the agent told is compared with what was done, by the counts of those who did it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// sizes of the phases.
type sizes struct {
	quiet, load               time.Duration
	cgroups, executables, all int // all: distinct edges
}

func main() {
	if runtime.GOARCH != "amd64" { // its executables are made of machine code
		fmt.Fprintln(os.Stderr, "agentbench: this machine is "+runtime.GOARCH+"; only amd64 can be measured")
		os.Exit(1)
	}
	if len(os.Args) > 1 && os.Args[1] == roleFlag {
		if err := play(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "agentbench:", err)
			os.Exit(1)
		}
		return
	}
	var z sizes
	binary := flag.String("ambit", "bin/ambit", "the program whose agent is measured")
	profiles := flag.String("profiles", "", "folder for profiles of the agent, which then runs in this program instead")
	flag.DurationVar(&z.quiet, "quiet", 10*time.Second, "length of the quiet phases")
	flag.DurationVar(&z.load, "load", 20*time.Second, "length of the phases with known edges")
	flag.IntVar(&z.cgroups, "cgroups", 10_000, "cgroups to make and remove")
	flag.IntVar(&z.executables, "executables", 100_000, "distinct executables to run")
	flag.IntVar(&z.all, "edges", 200_000, "distinct edges to make")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := measure(ctx, *binary, *profiles, z)
	if err != nil {
		fmt.Fprintln(os.Stderr, "agentbench:", err)
	}
	if err != nil || !ok {
		stop()
		os.Exit(1)
	}
}

// measure runs the phases one after the other on one agent, so that each meets what the ones before left behind.
func measure(ctx context.Context, binary, profiles string, z sizes) (ok bool, err error) {
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
	if err := s.startAgent(binary, profiles); err != nil {
		return false, err
	}
	const noisy, others = 20_000, 50
	known := func(rate int) func() (made, error) { return func() (made, error) { return s.connect(rate, z.load) } }
	phases := []*phase{
		{name: "quiet", do: s.wait(z.quiet)},
		{name: "5,000/s on known edges", group: "known", do: known(5_000)},
		{name: "20,000/s on known edges", group: "known", do: known(20_000)},
		{name: fmt.Sprintf("%d cgroups", z.cgroups), group: "churn", do: func() (made, error) { return s.churn(z.cgroups) }},
		{name: fmt.Sprintf("one cgroup makes %d edges", noisy), group: "noisy", do: func() (made, error) { return s.refuse("noisy", 1, noisy) }},
		{name: fmt.Sprintf("%d executables", z.executables), group: "run", do: func() (made, error) { return s.execute(z.executables) }},
		{name: fmt.Sprintf("%d edges of %d cgroups", z.all, others), group: "many", do: func() (made, error) { return s.refuse("many", others, z.all/others) }},
		{name: "5,000/s, after the churn", group: "known", do: known(5_000)},
		{name: "quiet, after the churn", do: s.wait(z.quiet)},
	}
	for _, p := range phases {
		fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), p.name)
		if err := s.run(p); err != nil {
			return false, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return report(phases), nil
}
