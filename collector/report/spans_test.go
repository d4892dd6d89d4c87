package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/collector/store"
)

// noon is when the tests happen.
var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// ago is a time before noon.
func ago(d time.Duration) time.Time { return noon.Add(-d) }

func boot(node string, from, until time.Duration) store.Watched {
	return store.Watched{Node: node, Boot: fmt.Sprint(from), From: ago(from), Until: ago(until)}
}

func TestCover(t *testing.T) {
	const h = time.Hour
	f := func(name, want string, boots ...store.Watched) {
		t.Helper()
		var b strings.Builder
		for _, n := range cover(boots, nil, ago(10*h), noon) {
			fmt.Fprintf(&b, "%s %.2f", n.Node, n.Watched)
			for _, s := range n.Spans {
				fmt.Fprintf(&b, " +%s-%s", noon.Sub(s.From), noon.Sub(s.Until))
			}
			for _, g := range n.Gaps {
				fmt.Fprintf(&b, " %s:%s-%s", g.Why, noon.Sub(g.From), noon.Sub(g.Until))
			}
			b.WriteString(";")
		}
		if b.String() != want {
			t.Errorf("%s:\n got %s\nwant %s", name, b.String(), want)
		}
	}
	f("nobody", "")
	f("all the time", "a 100.00 +10h0m0s-0s;", boot("a", 20*h, 0))
	f("heard of a moment ago", "a 100.00 +10h0m0s-0s;", boot("a", 10*h, time.Minute))
	f("a clock ahead", "a 100.00 +10h0m0s-0s;", boot("a", 10*h, -h))
	f("started a moment ago", "a 0.16 +1m0s-0s before:10h0m0s-1m0s;", boot("a", time.Minute, time.Minute))
	f("restarted a moment ago", "a 99.91 +10h0m0s-50s +20s-0s agent-down:50s-20s;", boot("a", 10*h, 50*time.Second), boot("a", 20*time.Second, 10*time.Second))
	f("new", "a 20.00 +2h0m0s-0s before:10h0m0s-2h0m0s;", boot("a", 2*h, 0))
	f("gone", "a 20.00 +10h0m0s-8h0m0s silent:8h0m0s-0s;", boot("a", 12*h, 8*h))
	f("restarted", "a 99.99 +10h0m0s-5h0m0s +4h59m59s-0s agent-down:5h0m0s-4h59m59s;", boot("a", 10*h, 5*h), boot("a", 5*h-time.Second, 0))
	f("two agents at once", "a 100.00 +10h0m0s-0s;", boot("a", 11*h, 3*h), boot("a", 7*h, 5*h), boot("a", 4*h, 0))
	f("two nodes, in no order", "a 100.00 +10h0m0s-0s;b 50.00 +5h0m0s-0s before:10h0m0s-5h0m0s;", boot("b", 5*h, 0), boot("a", 4*h, 0), boot("a", 10*h, 4*h))
	f("a blink less than all", "a 99.99 +9h59m59.999999999s-0s before:10h0m0s-9h59m59.999999999s;", boot("a", 10*h-1, 0))
}

// TestCoverAddsUp: spans and gaps are in order, touch, and fill the window.
func TestCoverAddsUp(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		const window = 1000 * time.Minute
		var boots []store.Watched
		for range rapid.IntRange(1, 12).Draw(r, "boots") {
			from := rapid.Int64Range(1, 1500).Draw(r, "from")
			until := rapid.Int64Range(0, from).Draw(r, "until")
			if until < 1000 { // the store gives only what lies in the window
				boots = append(boots, boot(rapid.SampledFrom([]string{"a", "b"}).Draw(r, "node"), time.Duration(from)*time.Minute, time.Duration(until)*time.Minute))
			}
		}
		nodes := cover(boots, nil, ago(window), noon)
		for _, n := range nodes {
			var spans, gaps time.Duration
			at := ago(window)
			s, g := n.Spans, n.Gaps
			for len(s)+len(g) > 0 {
				switch {
				case len(s) > 0 && s[0].From.Equal(at):
					spans += s[0].Until.Sub(s[0].From)
					at, s = s[0].Until, s[1:]
				case len(g) > 0 && g[0].From.Equal(at):
					gaps += g[0].Until.Sub(g[0].From)
					at, g = g[0].Until, g[1:]
				default:
					r.Fatalf("nothing starts at %s: %+v", at, n)
				}
			}
			if !at.Equal(noon) || spans+gaps != window || spans != n.watched || (n.Watched == 100) != (gaps == 0) {
				r.Fatalf("spans %s and gaps %s of %s: %+v", spans, gaps, window, n)
			}
			// Any minute is in a span if and only if some boot covers it.
			minute := ago(time.Duration(rapid.Int64Range(1, 1000).Draw(r, "minute")) * time.Minute)
			seen, told := false, false
			for _, b := range boots {
				stillWatched := b.Until.Equal(n.LastTime) && noon.Sub(b.Until) <= quiet
				seen = seen || b.Node == n.Node && !minute.Before(b.From) && (minute.Before(b.Until) || stillWatched)
			}
			for _, x := range n.Spans {
				told = told || !minute.Before(x.From) && minute.Before(x.Until)
			}
			if seen != told {
				r.Fatalf("%s is watched %v, told %v: %+v", minute, seen, told, n)
			}
		}
	})
}

func TestWindow(t *testing.T) {
	f := func(s string, want time.Duration, back string) {
		t.Helper()
		d, err := ParseWindow(s)
		if err != nil || d != want || FormatWindow(d) != back {
			t.Errorf("%q: %s %q %v, want %s %q", s, d, FormatWindow(d), err, want, back)
		}
	}
	f("90d", 90*day, "90d")
	f("2w", 14*day, "14d")
	f("36h", 36*time.Hour, "36h")
	f("24h", day, "1d")
	f("20s", 20*time.Second, "20s")
	f("1h30m", 90*time.Minute, "1h30m")
	f("10m", 10*time.Minute, "10m")
	f("90m20s", 90*time.Minute+20*time.Second, "1h30m20s")
	for _, s := range []string{"", "d", "0d", "-1h", "-1d", "401d", "65536d", "1y", "90", "9e9h", "1d2h"} {
		if d, err := ParseWindow(s); err == nil {
			t.Errorf("%q: %s, want an error", s, d)
		}
	}
}

func FuzzWindow(f *testing.F) {
	f.Add("90d")
	f.Add("1h30m")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseWindow(s)
		if err != nil {
			return
		}
		if again, err := ParseWindow(FormatWindow(d)); err != nil || again != d {
			t.Errorf("%q is %s, written %q, read %s %v", s, d, FormatWindow(d), again, err)
		}
	})
}
