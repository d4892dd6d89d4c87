package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/internal/sim"
)

// page is the report in Markdown.
func (r *results) page() string {
	var b strings.Builder
	p := &r.params
	fmt.Fprintf(&b, "# The detector, measured\n\n")
	fmt.Fprintf(&b, "Made by `go run ./internal/detectbench -seed %d -seeds %d -identities %d -days %d -repeat %d`. All but the times is the same whenever it is run on the same kind of processor.\n\n", p.Seed, len(r.runs), p.Identities, p.Days, p.Repeat)
	r.method(&b)
	r.verdict(&b)
	r.compare(&b)
	r.families(&b)
	r.scenarios(&b)
	r.falseOnes(&b)
	r.realTraces(&b)
	return b.String()
}

func table(b *strings.Builder, head []string, rows [][]string) {
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, row := range rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
	b.WriteString("\n")
}

func (r *results) method(b *strings.Builder) {
	p := &r.params
	observations := r.over(func(x *run) float64 { return float64(x.observations) })
	attacks := 0
	for _, x := range r.runs {
		attacks += len(x.attacks)
	}
	fmt.Fprintf(b, `## What was done

A simulated cluster (package internal/sim, parameters there) of %d identities runs for %d days, once for each of the seeds %d to %d. It tells what agents would tell: %.0f
observations in a run. What is normal is told by the hour, an edge's first use by a pod at its very time, attacks at the agents' interval of 10 s. Things change by deploys, jobs from
hourly to monthly, replaced nodes, restarted agents, outages, renamed services and rotating addresses, handshakes that were missed, identities that come, rest and go, people who
debug. Into it %d attacks were placed, of %d scenarios, at most %d of each in a run.

An attack is found by an alert of medium or higher that is told between its beginning and an hour after its end, is about its identity, and names a resource that it
reached or is of a rule meant for it. All other alerts are false. An alert counts when it is told first, not when it is told again. The delay is from when the first observation of
the attack is told. Alerts are counted from day %.0f on, when the plain rule has its history.

The detector runs with its defaults, through what it exports, as the collector drives it: it is told what was watched, which workloads run, what an inventory declares (since when an
account exists, and since when not any more), and observations. Two scenarios rest on the inventory and are marked so below; without one, an account that was deleted looks like one
that is silent, and one that was never used like one that is new. The plain rules: *first-seen* tells of each resource that an identity has not reached before, once the identity is known for 14 days; it
never forgets. The *container profile* learns for 24 h what an image reaches, exempts private addresses, and begins anew with a new image.

`, p.Identities, p.Days, p.Seed, p.Seed+uint64(len(r.runs))-1, observations.mean, attacks, len(sim.Scenarios()), p.Repeat, settled(p).Hours()/24)
}

func (r *results) verdict(b *strings.Builder) {
	b.WriteString("## Targets\n\nMean ± standard deviation of the seeds (least to most).\n\n")
	var rows [][]string
	for _, t := range r.targets() {
		word := "met"
		if !t.ok {
			word = "**not met**"
		}
		rows = append(rows, []string{t.what, t.target, t.measured, word})
	}
	table(b, []string{"what", "target", "measured", ""}, rows)
	if len(r.traces) == 0 {
		b.WriteString("The real traces were not run: no folder was given (`-nezha` or `AMBIT_NEZHA`).\n\n")
	}
}

func (r *results) compare(b *strings.Builder) {
	b.WriteString("## Beside plain rules\n\n![findings a day](findings.svg)\n\n")
	line := func(what, format string, f func(*run, *score, int) float64) []string {
		row := []string{what}
		for c := range contestants {
			row = append(row, r.over(func(x *run) float64 { return f(x, x.scores[c], c) }).text(format))
		}
		return row
	}
	rows := [][]string{
		line("attacks found, %", "%.1f", func(_ *run, s *score, _ int) float64 { return 100 * s.share() }),
		line("found, but below medium, %", "%.1f", func(_ *run, s *score, _ int) float64 { return 100 * s.lowShare() }),
		line("median delay, intervals", "%.1f", func(_ *run, s *score, _ int) float64 { return quantile(s.delays(), .5) }),
		line("90th percentile of delay, intervals", "%.0f", func(_ *run, s *score, _ int) float64 { return quantile(s.delays(), .9) }),
		line("alerts a day, of 1,000 identities", "%.1f", func(_ *run, s *score, _ int) float64 { return s.perDay() }),
		line("the same before they count", "%.1f", func(_ *run, s *score, _ int) float64 { return s.earlyPerDay() }),
		line("true alerts in a run", "%.0f", func(_ *run, s *score, _ int) float64 { return float64(s.trues) }),
		line("false alerts in a run", "%.0f", func(_ *run, s *score, _ int) float64 { return float64(s.falses) }),
		line("precision, %", "%.1f", func(_ *run, s *score, _ int) float64 {
			return 100 * float64(s.trues) / float64(max(s.trues+s.falses, 1))
		}),
		line("false ones of first-seen for each", "%.2f", func(x *run, _ *score, c int) float64 { return x.ratio(c) }),
		line("the same without wide identities and pipelines", "%.2f", func(x *run, s *score, _ int) float64 {
			return float64(x.scores[theFirstSeen].quietFalses()) / float64(max(s.quietFalses(), 1))
		}),
		line("thousand observations a second of processor time", "%.0f", func(x *run, s *score, _ int) float64 {
			return float64(x.observations) / max(s.elapsed.Seconds(), 1e-6) / 1000
		}),
	}
	table(b, append([]string{""}, names[:]...), rows)
	fmt.Fprintf(b, "Making the records took %.1f s of processor time in a run. The detector's tables at the end of the last one:", r.over(func(x *run) float64 { return x.made.Seconds() }).mean)
	last := r.runs[len(r.runs)-1]
	for _, name := range sortedKeys(last.gauges) {
		fmt.Fprintf(b, " %s %d,", name, last.gauges[name])
	}
	refused := uint64(0)
	for _, name := range sortedKeys(last.counters) {
		refused += last.counters[name]
		fmt.Fprintf(b, " refused (%s) %d,", name, last.counters[name])
	}
	fmt.Fprintf(b, " refused in all %d.", refused)
	b.WriteString("\n\n")
}

// lowShare is the share of attacks that were told of below medium only.
func (s *score) lowShare() float64 {
	n := 0
	for i := range s.found {
		if s.found[i].low && !s.found[i].ok {
			n++
		}
	}
	return float64(n) / float64(max(len(s.found), 1))
}

func (r *results) families(b *strings.Builder) {
	b.WriteString("## Families\n\n![families](families.svg)\n\n")
	var rows [][]string
	for _, name := range r.familyNames() {
		_, of := r.family(0, name)
		row := []string{name, fmt.Sprint(of)}
		for c := range contestants {
			share, _ := r.family(c, name)
			row = append(row, fmt.Sprintf("%.0f %%", 100*share))
		}
		rows = append(rows, row)
	}
	table(b, append([]string{"family", "attacks"}, names[:]...), rows)
}

// outcome sums up one scenario over the seeds.
type outcome struct {
	placed int
	found  [contestants]int
	delays []float64      // the detector's, intervals
	rules  map[string]int // that found it
}

func (r *results) outcomes() map[string]*outcome {
	all := map[string]*outcome{}
	for _, x := range r.runs {
		for i := range x.attacks {
			name := x.attacks[i].Scenario.Name
			o := all[name]
			if o == nil {
				o = &outcome{rules: map[string]int{}}
				all[name] = o
			}
			o.placed++
			for c := range contestants {
				if x.scores[c].found[i].ok {
					o.found[c]++
				}
			}
			switch f := x.scores[theDetector].found[i]; {
			case f.ok:
				o.delays = append(o.delays, float64(f.delay)/float64(interval))
				o.rules[f.rule]++
			case f.low:
				o.rules[f.rule+", below medium"]++
			}
		}
	}
	return all
}

func (r *results) scenarios(b *strings.Builder) {
	b.WriteString("## Scenarios\n\n![delays](delays.svg)\n\nHow many of those that were placed each found, and by which rule the detector did first.\n\n")
	all := r.outcomes()
	var rows [][]string
	for _, s := range sim.Scenarios() {
		o := all[s.Name]
		if o == nil {
			rows = append(rows, []string{s.Name, s.Family, s.Does, strings.Join(append(slices.Clone(s.OWASP), s.Attack...), " "), "0", "", "", "", "", "never placed"})
			continue
		}
		slices.Sort(o.delays)
		delay := ""
		if len(o.delays) > 0 {
			delay = time.Duration(quantile(o.delays, .5) * float64(interval)).Round(time.Second).String()
		}
		var rules []string
		for _, rule := range sortedKeys(o.rules) {
			rules = append(rules, fmt.Sprintf("%s (%d)", rule, o.rules[rule]))
		}
		name := s.Name
		if slices.Contains(s.Rules, "never-used") || slices.Contains(s.Rules, "undeclared-identity") {
			name += " (inventory)"
		}
		rows = append(rows, []string{
			name, s.Family, s.Does, strings.Join(append(slices.Clone(s.OWASP), s.Attack...), " "), fmt.Sprint(o.placed), fmt.Sprint(o.found[theDetector]), fmt.Sprint(o.found[theFirstSeen]),
			fmt.Sprint(o.found[theProfile]), delay, strings.Join(rules, ", "),
		})
	}
	table(b, []string{"scenario", "family", "what happens", "ids", "placed", "ambit", "first-seen", "profile", "median delay", "rule"}, rows)
}

func (r *results) falseOnes(b *strings.Builder) {
	b.WriteString("## What is false\n\nFalse alerts in all runs, by rule, by the kind of resource, and by what the simulation did when they were told. An alert that is told late, at the end of an hour,\ngoes by the last thing in it.\n\n")
	var rows [][]string
	for _, sort := range []struct {
		name string
		of   func(*score) map[string]int
	}{
		{"rule ", func(s *score) map[string]int { return s.byRule }},
		{"resource: ", func(s *score) map[string]int { return s.byKind }},
		{"cause: ", func(s *score) map[string]int { return s.byCause }},
	} {
		sums := map[string]*[contestants]int{}
		for _, x := range r.runs {
			for c := range contestants {
				for k, n := range sort.of(x.scores[c]) {
					k = cmp.Or(k, "none")
					if sums[k] == nil {
						sums[k] = &[contestants]int{}
					}
					sums[k][c] += n
				}
			}
		}
		for _, k := range sortedKeys(sums) {
			row := []string{sort.name + k}
			for c := range contestants {
				row = append(row, fmt.Sprint(sums[k][c]))
			}
			rows = append(rows, row)
		}
	}
	table(b, append([]string{""}, names[:]...), rows)
}

func (r *results) realTraces(b *strings.Builder) {
	if len(r.traces) == 0 {
		return
	}
	fmt.Fprintf(b, `## Real traces

Nezha (IntelligentDDS, MIT licence): calls of two systems on Kubernetes while faults were injected, which are no attacks. The few calm minutes are told every %.0f minutes for %.0f days
to learn from, then the day with faults follows. An alert is false here.

`, calmEvery.Minutes(), calmFor.Hours()/24)
	var rows [][]string
	for _, t := range r.traces {
		row := []string{t.system, fmt.Sprint(t.calm), fmt.Sprint(t.faults)}
		for c := range contestants {
			row = append(row, fmt.Sprint(len(t.told[c])))
		}
		rows = append(rows, row)
	}
	table(b, append([]string{"system", "calm observations", "on the fault day"}, names[:]...), rows)
	for _, t := range r.traces {
		for _, a := range t.told[theDetector] {
			fmt.Fprintf(b, "- %s: %s, %s: %s to %s\n", t.system, a.rule, a.severity, a.identity, a.resource)
		}
	}
}
