package main

import (
	"fmt"
	"math"
)

// The targets.
const (
	leastFound  = .95 // of all attacks
	leastFamily = .80 // of a family's
	mostDelay   = 1.  // median, in intervals
	mostPerDay  = 9.  // alerts of medium or higher, of 1,000 identities
	leastRatio  = 8.  // false ones of first-seen to ours
)

// row is a target and what was measured.
type row struct {
	what, target, measured string
	ok                     bool
}

// spread is a mean over the seeds, and how far they lie apart.
type spread struct{ mean, deviation, least, most float64 }

func (r *results) over(f func(*run) float64) spread {
	s := spread{least: math.Inf(1), most: math.Inf(-1)}
	n := float64(len(r.runs))
	for _, x := range r.runs {
		v := f(x)
		s.mean += v / n
		s.least, s.most = min(s.least, v), max(s.most, v)
	}
	if n > 1 {
		for _, x := range r.runs {
			s.deviation += (f(x) - s.mean) * (f(x) - s.mean) / (n - 1)
		}
		s.deviation = math.Sqrt(s.deviation)
	}
	return s
}

func (s spread) text(format string) string {
	return fmt.Sprintf(format+" ± "+format+" ("+format+" to "+format+")", s.mean, s.deviation, s.least, s.most)
}

// family gives the share that a contestant found of a family, of all seeds together.
func (r *results) family(c int, name string) (share float64, of int) {
	placed, found := 0, 0
	for _, x := range r.runs {
		n := x.scores[c].families()[name]
		placed, found = placed+n[0], found+n[1]
	}
	return float64(found) / float64(max(placed, 1)), placed
}

func (r *results) familyNames() []string {
	all := map[string]bool{}
	for _, x := range r.runs {
		for name := range x.scores[0].families() {
			all[name] = true
		}
	}
	return sortedKeys(all)
}

// ratio is how many false alerts the plain rule tells for each of a contestant's. One that tells none is taken to tell one.
func (x *run) ratio(c int) float64 {
	return float64(x.scores[theFirstSeen].falses) / float64(max(x.scores[c].falses, 1))
}

func (r *results) targets() []row {
	us := func(f func(*score) float64) spread {
		return r.over(func(x *run) float64 { return f(x.scores[theDetector]) })
	}
	found, perDay, ratio := us((*score).share), us((*score).perDay), r.over(func(x *run) float64 { return x.ratio(theDetector) })
	delay := us(func(s *score) float64 { return quantile(s.delays(), .5) })
	worst, worstShare := "", 2.
	for _, name := range r.familyNames() {
		if share, _ := r.family(theDetector, name); share < worstShare {
			worst, worstShare = name, share
		}
	}
	rows := []row{
		{"attacks found", fmt.Sprintf("at least %.0f %%", 100*leastFound), found.times(100).text("%.1f %%"), found.mean >= leastFound},
		{"the worst family: " + worst, fmt.Sprintf("at least %.0f %%", 100*leastFamily), fmt.Sprintf("%.0f %%", 100*worstShare), worstShare >= leastFamily},
		{"median delay, intervals of 10 s", fmt.Sprintf("at most %.0f", mostDelay), delay.text("%.1f"), delay.mean <= mostDelay},
		{"findings of medium or higher a day, of 1,000 identities", fmt.Sprintf("at most %.0f", mostPerDay), perDay.text("%.1f"), perDay.mean <= mostPerDay},
		{"false ones of first-seen for each of ours", fmt.Sprintf("at least %.0f", leastRatio), ratio.text("%.1f"), ratio.mean >= leastRatio},
	}
	for _, t := range r.traces {
		n := len(t.told[theDetector])
		rows = append(rows, row{"findings of medium or higher on the fault day of " + t.system, "none", fmt.Sprint(n), n == 0})
	}
	return rows
}

func (s spread) times(f float64) spread {
	return spread{s.mean * f, s.deviation * f, s.least * f, s.most * f}
}

func (r *results) met() bool {
	for _, row := range r.targets() {
		if !row.ok {
			return false
		}
	}
	return true
}
