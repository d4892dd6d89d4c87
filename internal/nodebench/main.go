// Command nodebench says what watching a node costs: the same loops, in turn, with nothing, with Ambit's agent as it is and without watching TLS, and with
// the tools that send one event for each connection (tcplife and tcpstates of Debian's libbpf-tools). Machines are noisy, so each figure is the median of ratios of
// neighbouring runs, with its quartiles; nothing against nothing shows the noise,
// and empty programs at the same hooks (all of them, or those for packets alone) the part that the kernel takes for calling anybody.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/agent/workload"
	"github.com/ambit-nhi/ambit/bpf"
)

func main() {
	rounds := flag.Int("rounds", 15, "how often each is measured")
	scale := flag.Float64("scale", 1, "length of the loops")
	cpu := flag.Bool("cpu", false, "take the time of the loops' own thread, softirqs in it included, instead of the clock's: where other work takes the machine")
	agent := flag.Bool("agent", false, "be the agent that is measured")
	tls := flag.Bool("tls", false, "with -agent, watch TLS")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *agent {
		err = runAgent(ctx, *tls)
	} else {
		err = measure(ctx, *rounds, *scale, *cpu)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nodebench:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, rounds int, scale float64, cpu bool) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("measuring the kernel side needs root")
	}
	unmount, err := mountTracefs()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	runtime.LockOSThread() // both ends of every connection in one thread: nothing waits for another
	runtime.GC()
	loops, err := newLoops(scale)
	if err != nil {
		return err
	}
	defer loops.close()
	watchers := []watcher{nothing{},
		&command{name: "Ambit", args: []string{"/proc/self/exe", "-agent", "-tls"}, ready: "ready", settle: 4 * time.Second}, // it still attaches
		&command{name: "without TLS", args: []string{"/proc/self/exe", "-agent"}, ready: "ready", settle: time.Second},
		&hooks{name: "empty hooks"}, &hooks{name: "for packets", packets: true},
	}
	for _, tool := range []string{"tcplife", "tcpstates"} {
		w, err := findTool(tool)
		if err != nil {
			return err
		}
		watchers = append(watchers, w)
	}
	ratios := map[string]map[string][]float64{} // loop, watcher
	base := map[string][]float64{}
	for _, l := range loops.all {
		ratios[l.name] = map[string][]float64{}
		l.run() // warm
	}
	for round := range rounds {
		progress("round %d of %d", round+1, rounds)
		for _, w := range watchers {
			before, err := timeAll(loops.all, cpu)
			if err != nil {
				return err
			}
			if err := w.start(ctx); err != nil {
				return err
			}
			with, err := timeAll(loops.all, cpu)
			if err := errors.Join(err, w.stop()); err != nil {
				return err
			}
			after, err := timeAll(loops.all, cpu)
			if err != nil {
				return err
			}
			for i, l := range loops.all {
				without := (before[i] + after[i]) / 2
				base[l.name] = append(base[l.name], without)
				ratios[l.name][w.String()] = append(ratios[l.name][w.String()], with[i]/without)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	progress("")
	print(loops.all, watchers, base, ratios, rounds)
	return printCosts(loops.all)
}

func timeAll(loops []*loop, cpu bool) ([]float64, error) {
	took := make([]float64, len(loops))
	clock := int32(unix.CLOCK_MONOTONIC)
	if cpu {
		clock = unix.CLOCK_THREAD_CPUTIME_ID
	}
	for i, l := range loops {
		var start, end unix.Timespec
		err := unix.ClockGettime(clock, &start)
		if err == nil {
			err = l.run()
		}
		if err == nil {
			err = unix.ClockGettime(clock, &end)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		took[i] = float64(end.Nano()-start.Nano()) / float64(l.times)
	}
	return took, nil
}

func print(loops []*loop, watchers []watcher, base map[string][]float64, ratios map[string]map[string][]float64, rounds int) {
	fmt.Printf("Time with / time without, median [quartiles] of %d pairs; below 1.00 is noise.\n\n", rounds)
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "loop\twithout, ns")
	for _, w := range watchers {
		fmt.Fprintf(t, "\t%s", w)
	}
	fmt.Fprintln(t)
	for _, l := range loops {
		fmt.Fprintf(t, "%s\t%.0f", l.name, quantile(base[l.name], .5))
		for _, w := range watchers {
			r := ratios[l.name][w.String()]
			fmt.Fprintf(t, "\t%.3f [%.2f %.2f]", quantile(r, .5), quantile(r, .25), quantile(r, .75))
		}
		fmt.Fprintln(t)
	}
	t.Flush()
}

// printCosts loads the kernel side once more and lets the kernel measure each program, which itself costs: these figures are not in the ratios.
func printCosts(loops []*loop) error {
	mount, err := workload.FindMount()
	if err != nil {
		return err
	}
	k, err := bpf.Load(bpf.Config{CgroupRoot: mount.Path, Hellos: true})
	if err != nil {
		return err
	}
	defer k.Close()
	if _, err := k.LoadTLS(); err != nil {
		return err
	}
	if err := k.Tick(); err != nil {
		return err
	}
	measuring, err := bpf.MeasureCost()
	if err != nil {
		return err
	}
	defer measuring.Close()
	fmt.Printf("\nThe kernel's own figures: ns a run (of which some 50 are the measuring) x runs for each operation; instructions verified\n\n")
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "program\tinstructions")
	var columns [][]bpf.ProgramCost
	for _, l := range loops {
		fmt.Fprintf(t, "\t%s", l.name)
		before, err := k.Costs()
		if err != nil {
			return err
		}
		if err := l.run(); err != nil {
			return err
		}
		after, err := k.Costs()
		if err != nil {
			return err
		}
		for i := range after {
			after[i].Runs -= before[i].Runs
			after[i].RunTime -= before[i].RunTime
		}
		columns = append(columns, after)
	}
	fmt.Fprintln(t)
	for i, p := range columns[0] {
		fmt.Fprintf(t, "%s\t%d", p.Name, p.Instructions)
		for c, l := range loops {
			x := columns[c][i]
			if x.Runs == 0 {
				fmt.Fprint(t, "\t-")
				continue
			}
			fmt.Fprintf(t, "\t%d x %.2f", x.RunTime.Nanoseconds()/int64(x.Runs), float64(x.Runs)/float64(l.times))
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

func quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[int(q*float64(len(v)-1)+.5)]
}

// progress overwrites its line on a terminal, and is silent elsewhere.
func progress(format string, args ...any) {
	if st, err := os.Stderr.Stat(); err != nil || st.Mode()&os.ModeCharDevice == 0 {
		return
	}
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(os.Stderr, "\r%s%s\r", text, strings.Repeat(" ", max(0, 40-len(text))))
}
