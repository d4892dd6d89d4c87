// Command detectbench measures the detector: what it finds of the attacks of a simulated cluster, how soon, and what it tells falsely, beside two plain rules in the same run.
// Real traces of two systems with faults, which are no attacks, are run too where they are at hand.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ambit-nhi/ambit/internal/sim"
)

type options struct {
	params sim.Params
	seeds  int
	nezha  string // folder of the traces; empty: not run
	out    string // folder of the report; empty: printed only
	check  bool
}

func main() {
	p := sim.Default()
	o := options{params: p}
	flag.Uint64Var(&o.params.Seed, "seed", p.Seed, "the first seed")
	flag.IntVar(&o.seeds, "seeds", 5, "how many seeds are run, one after the other")
	flag.IntVar(&o.params.Identities, "identities", p.Identities, "identities in the cluster")
	flag.IntVar(&o.params.Days, "days", p.Days, "days that are simulated")
	flag.IntVar(&o.params.Repeat, "repeat", p.Repeat, "attacks of each scenario and seed")
	flag.StringVar(&o.nezha, "nezha", os.Getenv("AMBIT_NEZHA"), "folder with the traces of Nezha as recordings (AMBIT_NEZHA)")
	flag.StringVar(&o.out, "out", "", "folder to write the report into")
	flag.BoolVar(&o.check, "check", false, "fail where a target is not met")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, &o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "detectbench:", err)
		os.Exit(1)
	}
}

var errTargets = errors.New("targets are not met")

func bench(ctx context.Context, o *options, out, progress io.Writer) error {
	if o.seeds < 1 {
		return fmt.Errorf("seeds is %d; it must be at least 1", o.seeds)
	}
	r := &results{params: o.params}
	begin := time.Now()
	for i := range o.seeds {
		p := o.params
		p.Seed += uint64(i)
		run, err := runSeed(ctx, p)
		if err != nil {
			return err
		}
		r.runs = append(r.runs, run)
		fmt.Fprintf(progress, "seed %d: %d observations, %d attacks, %s\n", p.Seed, run.observations, len(run.attacks), time.Since(begin).Round(time.Second))
	}
	if o.nezha != "" {
		var err error
		if r.traces, err = runTraces(o.nezha); err != nil {
			return err
		}
	}
	page := r.page()
	if _, err := io.WriteString(out, page); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	if o.out != "" {
		if err := r.write(o.out, page); err != nil {
			return err
		}
	}
	if o.check && !r.met() {
		return errTargets
	}
	return nil
}

// write puts the report and its plots into a folder.
func (r *results) write(folder, page string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	files := map[string]string{"README.md": page, "findings.svg": r.plotFindings(), "families.svg": r.plotFamilies(), "delays.svg": r.plotDelays()}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return nil
}
