package report

import (
	"cmp"
	"slices"
	"time"
)

// Span is a time in which a node was watched.
type Span struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until"` // later than From
}

// clip gives what of a span lies in a window.
func (s Span) clip(from, until time.Time) Span {
	s.From, s.Until = last(s.From, from), first(s.Until, until)
	return s
}

func (s Span) empty() bool { return !s.Until.After(s.From) }

// union puts spans in order and joins those that overlap or touch. It may change its argument.
func union(spans []Span) []Span {
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Or(a.From.Compare(b.From), a.Until.Compare(b.Until)) })
	out := spans[:0]
	for _, s := range spans {
		switch n := len(out); {
		case s.empty():
		case n > 0 && !s.From.After(out[n-1].Until):
			out[n-1].Until = last(out[n-1].Until, s.Until)
		default:
			out = append(out, s)
		}
	}
	return out
}

// subtract gives what of a lies outside of b. Both are unions.
func subtract(a, b []Span) []Span {
	var out []Span
	for _, s := range a {
		for len(b) > 0 && !b[0].Until.After(s.From) {
			b = b[1:]
		}
		for _, hole := range b {
			if !hole.From.Before(s.Until) {
				break
			}
			if before := (Span{s.From, hole.From}); !before.empty() {
				out = append(out, before)
			}
			s.From = last(s.From, hole.Until)
		}
		if !s.empty() {
			out = append(out, s)
		}
	}
	return out
}

// length is the sum of the spans of a union.
func length(spans []Span) (sum time.Duration) {
	for _, s := range spans {
		sum += s.Until.Sub(s.From)
	}
	return sum
}

// last is the later of times.
func last(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// first is the earlier of times.
func first(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
