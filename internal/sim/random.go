package sim

import (
	"encoding/hex"
	"math"
	"math/rand/v2"
)

// dice are seeded random numbers. They are seeded anew for whatever is drawn by itself, so that one thing more or less changes nothing else.
type dice struct {
	*rand.Rand
	pcg rand.PCG
}

func newDice(a, b uint64) *dice {
	d := &dice{}
	d.pcg.Seed(a, b)
	d.Rand = rand.New(&d.pcg)
	return d
}

// mix makes one number of several that looks random (splitmix64).
func mix(h uint64, more ...uint64) uint64 {
	for _, v := range more {
		h += 0x9e3779b97f4a7c15 + v
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

// hashText is FNV-1a, mixed.
func hashText(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h, 0)
}

// share turns noise into a number from 0 to 1.
func share(h uint64) float64 { return float64(h>>11) / (1 << 53) }

// hexText is n bytes of noise in hex.
func hexText(h uint64, n int) string {
	b := make([]byte, 0, n+8)
	for i := uint64(0); len(b) < n; i++ {
		v := mix(h, i)
		b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24), byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56))
	}
	return hex.EncodeToString(b[:n])
}

func (d *dice) chance(p float64) bool { return d.Float64() < p }

func (d *dice) between(from, to float64) float64 { return from + (to-from)*d.Float64() }

// spread is log-normal around a median.
func (d *dice) spread(median, sigma float64) float64 { return median * math.Exp(sigma*d.NormFloat64()) }

// gamma draws with a shape and scale 1 (Marsaglia and Tsang 2000).
func (d *dice) gamma(shape float64) float64 {
	if shape < 1 {
		return d.gamma(shape+1) * math.Pow(1-d.Float64(), 1/shape)
	}
	m := shape - 1./3
	c := 1 / math.Sqrt(9*m)
	for {
		x := d.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v = v * v * v
		if math.Log(1-d.Float64()) < .5*x*x+m-m*v+m*math.Log(v) {
			return m * v
		}
	}
}

// poisson draws a count. Large ones come from the normal distribution, which nobody can tell apart from there.
func (d *dice) poisson(mean float64) uint64 {
	if mean > 60 {
		return uint64(max(0, math.Round(mean+math.Sqrt(mean)*d.NormFloat64())))
	}
	limit, p, n := math.Exp(-mean), 1., uint64(0)
	for {
		if p *= d.Float64(); p <= limit {
			return n
		}
		n++
	}
}

// count draws from the negative binomial distribution with a mean and a ratio of variance to mean.
func (d *dice) count(mean, dispersion float64) uint64 {
	if mean <= 0 {
		return 0
	}
	if dispersion <= 1 {
		return d.poisson(mean)
	}
	return d.poisson((dispersion - 1) * d.gamma(mean/(dispersion-1)))
}

// earliest is when the first of n things happens that happen at any time of a span of 1.
func (d *dice) earliest(n uint64) float64 {
	return 1 - math.Pow(1-d.Float64(), 1/float64(n))
}

// pick draws one of a list that is not empty.
func pick[T any](d *dice, list []T) T { return list[d.IntN(len(list))] }
