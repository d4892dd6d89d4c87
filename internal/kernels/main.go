package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// series are the kernels to test on, oldest first.
var series = []kernel{
	{series: "5.10", suite: "bullseye"},
	{series: "6.1", suite: "bookworm"},
	{series: "6.12", suite: "trixie"},
	{series: "7.x", suite: "sid"},
}

const (
	budgetFile = "bpf/verifier.txt"
	everyTest  = "^TestKernel"
)

type options struct {
	cache   string        // folder of all that is fetched and made
	only    string        // series to test on, separated by commas; "" is all
	run     string        // regular expression of the tests to run
	fresh   bool          // ask the mirror even if the last answer is young
	update  bool          // write the verifier budget instead of comparing with it
	guests  int           // how many run at once
	timeout time.Duration // of a guest
}

func main() {
	var o options
	flag.StringVar(&o.cache, "cache", ".cache/kernels", "folder of all that is fetched and made")
	flag.StringVar(&o.only, "only", "", "kernel series to test on, separated by commas, such as 5.10,6.1; all if empty")
	flag.StringVar(&o.run, "run", everyTest, "tests to run, as go test takes it")
	flag.BoolVar(&o.fresh, "fresh", false, "look for newer kernels even if that was done in the last week")
	flag.BoolVar(&o.update, "update", false, "write "+budgetFile+" instead of comparing with it")
	flag.IntVar(&o.guests, "guests", 3, "guests that run at once; each takes about two thirds of a processor")
	flag.DurationVar(&o.timeout, "timeout", 20*time.Minute, "what a guest may take")
	flag.Parse()
	packages := flag.Args()
	if len(packages) == 0 {
		packages = []string{"./bpf", "./agent/..."}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := testKernels(ctx, o, packages)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil && !errors.Is(err, errFailed) {
		fmt.Fprintln(os.Stderr, "test-kernels:", err)
	}
	if err != nil {
		stop()
		os.Exit(1)
	}
}

var errFailed = errors.New("a test failed")

func testKernels(ctx context.Context, o options, packages []string) error {
	began := time.Now()
	kernels, err := choose(o.only)
	if err != nil {
		return err
	}
	if o.cache, err = filepath.Abs(o.cache); err != nil {
		return err
	}
	unlock, err := lock(o.cache)
	if err != nil {
		return err
	}
	defer unlock()
	p := newProgress(os.Stdout)

	var tools toolbox
	var tests []binary
	initramfs := filepath.Join(o.cache, "initramfs.gz")
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if tools, err = fetchAll(gctx, o, kernels, p); err != nil {
			return err
		}
		p.say("kernels and tools are there")
		return nil
	})
	g.Go(func() (err error) {
		if tests, err = buildTests(gctx, filepath.Join(o.cache, "tests"), o.run, packages); err != nil {
			return err
		}
		p.say("test binaries are built: %d tests in %d packages", countTests(tests), len(tests))
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if err := makeInitramfs(ctx, initramfs, tools, tests, o.run, o.timeout); err != nil {
		return err
	}

	runs := make([]guestRun, len(kernels))
	g, gctx = errgroup.WithContext(ctx)
	g.SetLimit(o.guests)
	for i, k := range kernels {
		g.Go(func() (err error) {
			runs[i], err = runGuest(gctx, o, k, tools, initramfs, p)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return report(o, runs, tests, time.Since(began), os.Stdout)
}

// report judges and prints all that happened, and writes it beside.
func report(o options, runs []guestRun, tests []binary, took time.Duration, out io.Writer) error {
	expected := expectedOf(tests)
	columns := make([]column, len(runs))
	for i, r := range runs {
		columns[i] = judge(r, expected)
	}
	growth, err := checkBudget(budgetFile, columns, o.update, o.run == everyTest)
	if err != nil {
		return err
	}
	fmt.Fprintln(out)
	printTable(out, columns)
	printSizes(out, columns)
	printFailures(out, columns)
	for _, line := range growth {
		fmt.Fprintln(out, line)
	}
	passed, failed, skipped := totals(columns)
	failed += len(growth)
	if passed+failed == 0 {
		failed++
		fmt.Fprintln(out, "no test ran on any kernel")
	}
	fmt.Fprintf(out, "\n%d kernels in %s\n%d passed, %d failed, %d skipped\n", len(columns), took.Round(time.Second), passed, failed, skipped)
	if err := writeReport(filepath.Join(o.cache, "report.json"), columns, growth, took); err != nil {
		return err
	}
	if failed > 0 {
		return errFailed
	}
	return nil
}

func choose(only string) ([]kernel, error) {
	if only == "" {
		return slices.Clone(series), nil
	}
	var chosen []kernel
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(series, func(k kernel) bool { return k.series == name })
		if i < 0 {
			var known []string
			for _, k := range series {
				known = append(known, k.series)
			}
			return nil, fmt.Errorf("there is no kernel series %q: -only takes %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, series[i])
	}
	return chosen, nil
}

// lock keeps a second run away from the same folder.
func lock(cache string) (unlock func(), err error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, cmp.Or(f.Close(), fmt.Errorf("another run uses %s: wait for it", cache))
	}
	return func() { f.Close() }, nil
}
