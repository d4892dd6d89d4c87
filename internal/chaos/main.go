// Command chaos runs the way from nodes to ClickHouse as it is in a cluster, all of it in real processes: three NATS servers, two collectors, an engine,
// and four agents that publish made-up traffic by way of their spools. It kills and cuts them in turn, and then compares what is in the engine with what
// was made: everything is there once, but what the counters of losses say.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// roleFlag, as first argument, makes this program one of its own children.
const (
	roleFlag = "-be"
	self     = "/proc/self/exe"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == roleFlag {
		if err := play(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, "chaos:", err)
			os.Exit(1)
		}
		return
	}
	binary := flag.String("ambit", "bin/ambit", "the program whose collector and engine are tried")
	short := flag.Bool("short", false, "less time for everything: the partition takes 10 s instead of a minute")
	only := flag.String("run", "", "regular expression of the names of what is to happen")
	keep := flag.Bool("keep", false, "keep the logs though all is well")
	flag.Parse()
	wanted, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos: -run:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 12*time.Minute)
	defer cancel()
	if err := run(ctx, *binary, *short, *keep, wanted); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		stop()
		os.Exit(1)
	}
}

func play(role string, args []string) error {
	switch role {
	case "nats":
		return serve(args)
	case "agent":
		return simulate(args)
	}
	return fmt.Errorf("no role %q", role)
}

func run(ctx context.Context, binary string, short, keep bool, wanted *regexp.Regexp) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("a full disk is made by mounting one, which needs root")
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	s, err := newStage(ctx, binary)
	if err != nil {
		return err
	}
	defer func() {
		kept, closeErr := s.close(err != nil || keep)
		err = errors.Join(err, closeErr)
		if kept != "" {
			fmt.Println("logs are in", kept)
		}
	}()
	if err := s.begin(); err != nil {
		return err
	}
	var results []result
	for _, e := range events(short) {
		if !wanted.MatchString(e.name) {
			continue
		}
		r := s.play(e)
		results = append(results, r)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if r.err != nil { // what follows would only show the same
			break
		}
	}
	verdict, err := s.judge(results)
	report(results, verdict)
	return err
}
