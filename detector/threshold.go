package detector

import (
	"math"
	"slices"
)

// threshold says from which surprise on something is worth a person's time, so that an alert budget is kept whatever the traffic is like. It is SPOT
// (Siffer et al., KDD 2017): what lies above a high quantile of the surprises so far follows a generalised Pareto distribution, whose tail gives the
// value that is exceeded with a given probability. The distribution is fitted by the method of moments, which needs no search and cannot diverge.
type threshold struct {
	sample []float64 // while it is gathered
	peaks  []float64 // excesses over base, the oldest first
	base   float64
	seen   float64 // surprises, faded like rate
	over   float64 // those above base, likewise
	rate   novelty // surprises a day
}

const (
	thresholdSample = 200  // surprises before it is fitted
	thresholdBase   = 0.70 // quantile above which the tail begins
	thresholdPeaks  = 500
	thresholdStart  = 0.0  // before it is fitted
	thresholdLow    = -1.0 // it never falls below, however quiet: nothing is learned from waking people for nothing
	thresholdHigh   = 2.5  // nor rises above, however noisy: what is blatant is told
)

// note takes in a surprise.
func (t *threshold) note(x float64, at int64) {
	t.rate.note(at)
	if t.sample != nil || t.seen == 0 {
		t.sample = append(t.sample, x)
		t.seen++
		if len(t.sample) == thresholdSample {
			t.begin()
		}
		return
	}
	const fade = 1 - 1.0/(20*thresholdSample)
	t.seen, t.over = t.seen*fade+1, t.over*fade
	if x > t.base {
		t.over++
		t.peaks = append(t.peaks, x-t.base)
		if len(t.peaks) > thresholdPeaks {
			t.peaks = slices.Delete(t.peaks, 0, 1)
		}
	}
}

func (t *threshold) begin() {
	slices.Sort(t.sample)
	t.base = t.sample[int(thresholdBase*thresholdSample)]
	for _, x := range t.sample {
		if x > t.base {
			t.peaks = append(t.peaks, x-t.base)
		}
	}
	t.over = float64(len(t.peaks))
	t.sample = nil
}

// at gives the surprise that is exceeded as often as the budget allows, in alerts a day.
func (t *threshold) at(now int64, budget float64) float64 {
	if t.sample != nil || t.seen == 0 || len(t.peaks) < 10 {
		return thresholdStart
	}
	rate := t.rate.expected(now)
	q := budget / rate // of a surprise
	share := t.over / t.seen
	if q >= share {
		return clamp(t.base, thresholdLow, thresholdHigh)
	}
	mean, variance := moments(t.peaks)
	if mean <= 0 {
		return clamp(t.base, thresholdLow, thresholdHigh)
	}
	// Hosking and Wallis 1987: shape and scale from mean and variance of the excesses.
	ratio := mean * mean / max(variance, 1e-12)
	shape, scale := 0.5*(1-ratio), 0.5*mean*(1+ratio)
	var z float64
	if math.Abs(shape) < 1e-6 {
		z = t.base - scale*math.Log(q/share)
	} else {
		z = t.base + scale/shape*(math.Pow(q/share, -shape)-1)
	}
	return clamp(z, thresholdLow, thresholdHigh)
}

func clamp(x, low, high float64) float64 { return min(max(x, low), high) }

func moments(xs []float64) (mean, variance float64) {
	for _, x := range xs {
		mean += x
	}
	mean /= float64(len(xs))
	for _, x := range xs {
		variance += (x - mean) * (x - mean)
	}
	return mean, variance / float64(max(len(xs)-1, 1))
}
