package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// phase is something done to the node, and what it did to the agent.
type phase struct {
	name  string
	group string // of the cgroups it happens in; empty if nothing happens
	do    func() (made, error)

	made   made
	told   counts
	took   time.Duration // the doing
	cpu    time.Duration // of the agent meanwhile
	rest   time.Duration // until all was told
	after  time.Duration // of the agent in that time
	usage  usage         // at the end
	lost   map[string]uint64
	gauges map[string]uint64
}

func (s *stage) run(p *phase) error {
	before, told := s.told.last(), s.told.of(p.group) // nothing of the stage's has happened since
	pid := s.agent.Process.Pid
	if err := resetPeak(pid); err != nil {
		return err
	}
	begin, err := readUsage(pid)
	if err != nil {
		return err
	}
	start := time.Now()
	if p.made, err = p.do(); err != nil {
		return err
	}
	p.took = time.Since(start)
	done, err := readUsage(pid)
	if err != nil {
		return err
	}
	after, err := s.told.settle(s.ctx)
	if err != nil {
		return err
	}
	p.rest = time.Since(start) - p.took
	if p.usage, err = readUsage(pid); err != nil {
		return err
	}
	p.cpu, p.after = done.cpu-begin.cpu, p.usage.cpu-done.cpu
	now := s.told.of(p.group)
	p.told = counts{now.tried - told.tried, now.accepted - told.accepted}
	p.gauges, p.lost = after.Gauges, difference(before, after)
	return nil
}

// difference is what was lost between two heartbeats.
func difference(before, after *event.Heartbeat) map[string]uint64 {
	d := maps.Clone(after.Lost)
	if before.Boot == after.Boot {
		for cause, n := range before.Lost {
			d[cause] -= min(n, d[cause])
		}
	}
	maps.DeleteFunc(d, func(_ string, n uint64) bool { return n == 0 })
	return d
}

func (p *phase) missing() (tried, accepted int64) {
	return int64(p.made.connections - p.told.tried), int64(p.made.accepted - p.told.accepted)
}

// counted is how many connections the counters say are told nowhere. One that found no room counts as edges-full at its begin and again at its end,
// but as tag-lost only at its end; other programs of this machine count as well.
func (p *phase) counted() uint64 {
	var n uint64
	for _, cause := range []string{"tag-lost", "recursion", "publish-queue-full", "publish-refused", "publish-unencodable"} {
		n += p.lost[cause]
	}
	return n
}

func (p *phase) load() float64 { return 100 * p.cpu.Seconds() / p.took.Seconds() }
func (p *phase) rate() float64 { return float64(p.made.connections) / p.made.took.Seconds() }

const mib = 1 << 20

func report(phases []*phase) (ok bool) {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "phase\ttook\tRSS\tpeak\tanonymous\tof files\theap\theld\tCPU\tof a core\tuntil told\tedges\tconnections\tper s\ttold\taccepted\ttold\t")
	for _, p := range phases {
		fmt.Fprintf(t, "%s\t%.1fs\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.2fs\t%.2f%%\t%.2fs\t%d\t", p.name, p.took.Seconds(), float64(p.usage.rss)/mib, float64(p.usage.peak)/mib,
			float64(p.usage.anonymous)/mib, float64(p.usage.file)/mib, float64(p.gauges["heap-bytes"])/mib, float64(p.gauges["heap-held-bytes"])/mib,
			p.cpu.Seconds(), p.load(), p.after.Seconds(), p.gauges["edges"])
		if p.group == "" {
			fmt.Fprintln(t, "\t\t\t\t\t")
			continue
		}
		fmt.Fprintf(t, "%d\t%.0f\t%d\t%d\t%d\t\n", p.made.connections, p.rate(), p.told.tried, p.made.accepted, p.told.accepted)
	}
	t.Flush()
	fmt.Println("\nRSS, peak and its parts, and the heap (living, and held of the kernel) in MiB. Counted as lost in each phase:")
	for _, p := range phases {
		var lost []string
		for _, cause := range slices.Sorted(maps.Keys(p.lost)) {
			lost = append(lost, fmt.Sprintf("%s %d", cause, p.lost[cause]))
		}
		if len(lost) > 0 {
			fmt.Printf("  %s: %s\n", p.name, strings.Join(lost, ", "))
		}
	}
	fmt.Println()
	return verdict(phases)
}

func verdict(phases []*phase) bool {
	var steady, peak uint64
	var uncounted, known, slowest float64
	var atFive, tidying float64
	for i, p := range phases {
		peak = max(peak, p.usage.peak)
		if p.group == "known" && i < 3 {
			steady = max(steady, p.usage.rss)
		}
		tried, accepted := p.missing()
		gap := max(tried, -tried) + max(accepted, -accepted)
		uncounted += max(0, float64(gap)-float64(p.counted()))
		if p.group == "known" {
			known += float64(gap)
		}
		switch {
		case p.group == "known" && i > 2:
			tidying = p.load()
		case strings.HasPrefix(p.name, "5,000/s"):
			atFive = p.load()
		case strings.HasPrefix(p.name, "20,000/s"):
			slowest = p.rate()
		}
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
	row("RSS with known edges", "at most 64 MiB", fmt.Sprintf("%.1f MiB", float64(steady)/mib), steady <= 64*mib)
	row("RSS at its peak", "at most 128 MiB", fmt.Sprintf("%.1f MiB", float64(peak)/mib), peak <= 128*mib)
	row("CPU at 5,000 connections/s", "at most 2 % of a core", fmt.Sprintf("%.2f %%", atFive), atFive <= 2)
	fmt.Fprintf(t, "the same, while it lets go of what the churn left\t\t%.2f %%\t\n", tidying)
	row("losses that no counter tells", "none", fmt.Sprintf("%.0f", uncounted), uncounted == 0)
	row("rate of the workers on known edges", "about 20,000/s", fmt.Sprintf("%.0f/s", slowest), slowest >= 19_000)
	row("losses on known edges", "none", fmt.Sprintf("%.0f", known), known == 0)
	t.Flush()
	return all
}
