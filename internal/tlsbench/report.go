package main

import (
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"text/tabwriter"
	"time"
)

// Targets.
const (
	mostOpenSSL = 1.06     // processor time of handshakes with / without
	leastGo     = 0.94     // handshakes a second with / without
	mostNoise   = 0.01     // that a program without TLS may differ by, more only where the noise is more
	leastTold   = 0.99     // of handshakes, with certificates
	mostMemory  = 24 << 20 // RSS of the agent with all files attached, more than before
)

const mib = 1 << 20

func report(loads []*load, r *results, costs [][]cost, m many) bool {
	if r.rounds > 0 {
		reportRatios(loads, r)
	}
	reportCosts(loads, costs)
	return verdict(r, m, loads)
}

func reportRatios(loads []*load, r *results) {
	fmt.Printf("Processor time of both ends with / without, median [quartiles] of %d rounds; below 1.00 is noise, and so is what differs from 1.00 in the third column.\n\n", r.rounds)
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "load\talone\tnothing / nothing\tagent without TLS / none\tagent / none\tagent / agent without TLS\tagent / none, by the clock\tagent / agent without TLS, quickest quarters\t")
	for _, l := range loads {
		fmt.Fprintf(t, "%s\t%.2f µs a %s\t%s\t%s\t%s\t%s\t%s\t%.3f\t\n", l.name, quantile(r.cpu[l.name], .5)/1e3, l.unit,
			spread(r.control[l.name]), spread(r.off[l.name]), spread(r.on[l.name]), spread(r.tls[l.name]), spread(r.clock[l.name]), quantile(r.all[watching][l.name], .25)/quantile(r.all[plainly][l.name], .25))
	}
	t.Flush()
	fmt.Printf("\nThe agent itself took %.1f %% of a processor meanwhile without TLS, %.1f %% with; %.0f handshakes a second of OpenSSL alone, %.0f of Go.\n",
		100*quantile(r.agent[plainly], .5), 100*quantile(r.agent[watching], .5), quantile(r.rate[loadOpenSSL], .5), quantile(r.rate[loadGo], .5))
	fmt.Printf("Of %.0f ends of handshakes it told %.2f %%, %.2f %% with certificates.", r.made, 100*r.told/r.made, 100*r.full/r.made)
	maps.DeleteFunc(r.lost, func(_ string, n uint64) bool { return n == 0 })
	for _, cause := range slices.Sorted(maps.Keys(r.lost)) {
		fmt.Printf(" %s: %d.", cause, r.lost[cause])
	}
	fmt.Println()
}

func reportCosts(loads []*load, costs [][]cost) {
	fmt.Print("\nThe kernel's own figures of each program: ns a run (of which some 50 are the measuring) x runs for each operation. What the kernel takes to call a\nprogram is not in them: of those in programs, about a microsecond each.\n\n")
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for i, l := range loads {
		var sum float64
		for _, c := range costs[i] {
			sum += c.ns * c.runs
		}
		fmt.Fprintf(t, "%s\tall\t%.0f ns a %s\t\n", l.name, sum, l.unit)
		for _, c := range costs[i] {
			if c.runs >= .01 {
				fmt.Fprintf(t, "\t%s\t%.0f x %.2f\t\n", c.name, c.ns, c.runs)
			}
		}
	}
	t.Flush()
}

func verdict(r *results, m many, loads []*load) bool {
	all := true
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nwhat\ttarget\tmeasured\t")
	row := func(what, target, measured string, ok bool) {
		word := "ok"
		if !ok {
			word, all = "NOT MET", false
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", what, target, measured, word)
	}
	for _, x := range []struct {
		than   string
		ratios map[string][]float64
	}{{"no agent", r.on}, {"an agent without TLS", r.tls}} {
		if r.rounds == 0 {
			break
		}
		ssl, inverse := x.ratios[loadOpenSSL], inverted(x.ratios[loadGo])
		row("OpenSSL handshakes, processor time, than with "+x.than, fmt.Sprintf("at most %.2f", mostOpenSSL), spread(ssl), round(quantile(ssl, .5)) <= mostOpenSSL)
		row("Go handshakes per second of processor, than with "+x.than, fmt.Sprintf("at least %.2f", leastGo), spread(inverse), round(quantile(inverse, .5)) >= leastGo)
	}
	for _, l := range loads {
		if l.handshakes || r.rounds == 0 {
			continue
		}
		ratios, control := r.tls[l.name], r.control[l.name]
		noise := max(mostNoise, (quantile(control, .75)-quantile(control, .25))/2)
		row(l.name+", than with an agent without TLS", fmt.Sprintf("1.000 ± %.3f", noise), spread(ratios), quantile(ratios, .5) <= 1+noise)
	}
	if r.rounds > 0 {
		row("handshakes told with certificates", fmt.Sprintf("at least %.0f %%", 100*leastTold), fmt.Sprintf("%.2f %%", 100*r.full/r.made), r.full >= leastTold*r.made)
	}
	if m.targets > 0 {
		grown := func(from, to uint64) float64 { return (float64(to) - float64(from)) / mib }
		rss := grown(m.before.rss, m.after.rss)
		row(fmt.Sprintf("RSS of the agent with %d files attached (in %s), than before (%.1f MiB)", m.targets, m.took.Round(time.Second), float64(m.before.rss)/mib),
			fmt.Sprintf("at most +%d MiB", mostMemory/mib), fmt.Sprintf("%+.1f MiB; its peak %+.1f, anonymous %+.1f", rss,
				grown(m.before.rss, m.after.peak), grown(m.before.anonymous, m.after.anonymous)), grown(m.before.rss, m.after.peak) <= mostMemory/mib)
	}
	t.Flush()
	return all
}

// round is to what a target is stated.
func round(v float64) float64 { return math.Round(v*100) / 100 }

func inverted(v []float64) []float64 {
	out := make([]float64, len(v))
	for i := range v {
		out[i] = 1 / v[i]
	}
	return out
}

func spread(v []float64) string {
	return fmt.Sprintf("%.3f [%.3f %.3f]", quantile(v, .5), quantile(v, .25), quantile(v, .75))
}

func quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[int(q*float64(len(v)-1)+.5)]
}
