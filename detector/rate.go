package detector

import "math"

// novelty is how often an identity reaches something new, as a Gamma-Poisson model: with a prior of Gamma(shape, rate) and n events in t days, the
// expected number in a day is (shape+n)/(rate+t). Both n and t fade with a half-life, since services change.
type novelty struct {
	events   float64 // faded
	exposure float64 // days, faded
	at       int64   // of both, µs; 0: not yet
}

// The prior expects one new edge in four days, and is worth two days of watching.
const (
	noveltyShape    = 0.5
	noveltyRate     = 2.0
	noveltyHalfLife = 21.0 // days
)

func (n *novelty) fade(at int64) {
	if n.at == 0 {
		n.at = at
		return
	}
	if at <= n.at {
		return
	}
	days := float64(at-n.at) / float64(dayMicros)
	k := math.Ln2 / noveltyHalfLife
	f := math.Exp(-k * days)
	n.events *= f
	n.exposure = n.exposure*f + (1-f)/k
	n.at = at
}

// expected gives the number of new edges that a day should bring, as of a time.
func (n *novelty) expected(at int64) float64 {
	n.fade(at)
	return (noveltyShape + n.events) / (noveltyRate + n.exposure)
}

func (n *novelty) note(at int64) {
	n.fade(at)
	n.events++
}

// poissonTail is the probability of k or more events where mean are expected.
func poissonTail(k int, mean float64) float64 {
	if k <= 0 {
		return 1
	}
	term, sum := math.Exp(-mean), 0.0
	for i := range k {
		sum += term
		term *= mean / float64(i+1)
	}
	if rest := 1 - sum; rest > 1e-9 {
		return rest
	}
	// Far in the tail 1-sum is rounding; the tail itself is dominated by its first terms.
	tail := 0.0
	for i := k; i < k+64 && term > 0; i++ {
		tail += term
		term *= mean / float64(i+1)
	}
	return tail
}
