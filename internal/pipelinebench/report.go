package main

import (
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
	"time"
)

// throughput runs the rounds, and says whether all targets were met.
func throughput(s *stage, z sizes) (bool, error) {
	say := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
	}
	say("codec and detector")
	r, err := measureRates(z)
	if err != nil {
		return false, err
	}
	fmt.Print("Bytes an observation on the wire, by the edges that a node uses in an interval:")
	for _, active := range []int{50, 500, 1000, 3000, 5000, 10_000} {
		bytes, err := wireBytes(active)
		if err != nil {
			return false, err
		}
		fmt.Printf(" %.1f at %d;", bytes, active)
	}
	fmt.Print("\n\n")
	n := z.observations / z.rounds
	say("rows for clickhouse-go alone")
	made, err := blocks(n, z)
	if err != nil {
		return false, err
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "round\twhole way\trows/s\tpublished in\tcollector\tpeak RSS\tengine\tNATS\tpublishers\tbytes/observation\tclickhouse-go alone\trows/s\tclient\tengine\tratio\t")
	var whole []wholeRun
	var ratios, speeds []float64
	for i := range z.rounds {
		var w wholeRun
		var b bareRun
		run := []func() error{
			func() (err error) {
				say("round %d: the whole way", i+1)
				w, err = s.whole(i, n, z)
				return err
			},
			func() (err error) {
				say("round %d: clickhouse-go alone", i+1)
				b, err = s.bare(i, made)
				return err
			},
		}
		if i%2 == 1 {
			slices.Reverse(run)
		}
		for _, step := range run {
			if err := step(); err != nil {
				return false, err
			}
		}
		whole = append(whole, w)
		ratios, speeds = append(ratios, w.rate()/b.rate()), append(speeds, w.rate())
		fmt.Fprintf(t, "%d\t%.1fs\t%.0f\t%.1fs\t%.1fs\t%.0f MiB\t%.1fs\t%.1fs\t%.1fs\t%.1f\t%.1fs\t%.0f\t%.1fs\t%.1fs\t%.2f\t\n", i+1, w.took.Seconds(), w.rate(), w.Seconds,
			w.collector.Seconds(), float64(w.peak)/mib, w.engine.Seconds(), w.nats.Seconds(), w.CPU, float64(w.Bytes)/float64(w.Observations),
			b.took.Seconds(), b.rate(), b.cpu.Seconds(), b.engine.Seconds(), w.rate()/b.rate())
	}
	t.Flush()
	fmt.Printf("\nCollector, engine, NATS, publishers and client in seconds of a processor. Each round has %d observations of %d nodes; rows and connections in the engine, and in reach, are those that were published.\n\n", n, z.publishers)
	return verdict(r, whole, ratios, speeds), nil
}

const mib = 1 << 20

func verdict(r rates, whole []wholeRun, ratios, speeds []float64) bool {
	var peak uint64
	var bytes, observations, cpu float64
	for _, w := range whole {
		peak = max(peak, w.peak)
		bytes, observations, cpu = bytes+float64(w.Bytes), observations+float64(w.Observations), cpu+w.collector.Seconds()
	}
	all := true
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "what\ttarget\tmeasured\t")
	row := func(what, target, measured string, ok bool) {
		word := "ok"
		if !ok {
			word, all = "NOT MET", false
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", what, target, measured, word)
	}
	fmt.Fprintf(t, "sustained, the whole way\t\t%s rows/s\t\n", spread(speeds, "%.0f"))
	row("the same, to clickhouse-go alone", "at least 0.7", spread(ratios, "%.2f"), median(ratios) >= 0.7)
	row("encode", "at least 1,000,000 /s and core", fmt.Sprintf("%.0f", r.encode), r.encode >= 1e6)
	row("decode and detect", "at least 500,000 /s and core", fmt.Sprintf("%.0f", r.detect), r.detect >= 500e3)
	row("on the wire", "at most 24 bytes an observation", fmt.Sprintf("%.1f", bytes/observations), bytes/observations <= 24)
	row("collector's RSS, without the engine", "at most 400 MiB", fmt.Sprintf("%.0f MiB", float64(peak)/mib), peak <= 400*mib)
	fmt.Fprintf(t, "collector\t\t%.0f observations/s and core\t\n", observations/cpu)
	t.Flush()
	return all
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// spread is the median with the least and the most.
func spread(values []float64, format string) string {
	return fmt.Sprintf(format+" ("+format+" to "+format+")", median(values), slices.Min(values), slices.Max(values))
}
