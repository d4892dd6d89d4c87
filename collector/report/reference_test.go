package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// minutes judges each minute of a window by itself: what report does with spans, done slowly.
type minutes struct {
	boots  []store.Watched
	gaps   []store.Gap
	window int
}

func (m *minutes) node(name string) (watched, identified []bool) {
	watched, identified = make([]bool, m.window), make([]bool, m.window)
	var heard time.Time
	for _, b := range m.boots {
		if b.Node == name && b.Until.After(heard) {
			heard = b.Until
		}
	}
	for i := range watched {
		at := ago(time.Duration(m.window-i) * time.Minute)
		for _, b := range m.boots {
			until := b.Until
			if until.Equal(heard) && noon.Sub(until) <= quiet {
				until = noon
			}
			if b.Node == name && !at.Before(b.From) && at.Before(until) {
				watched[i] = true
			}
		}
		identified[i] = watched[i]
		for _, g := range m.gaps {
			if g.Node != name || at.Before(g.From) || !at.Before(g.Until) {
				continue
			}
			switch g.Cause {
			case "spool-full", "stream", "nobody-knows-it":
				watched[i], identified[i] = false, false
			case "api-away":
				identified[i] = false
			}
		}
	}
	return watched, identified
}

func sum(of []bool) (n int) {
	for _, b := range of {
		if b {
			n++
		}
	}
	return n
}

// share is the percentage of minutes, rounded down; only all of them are 100.
func (m *minutes) share(counted, of int) float64 {
	if counted == of {
		return 100
	}
	return min(math.Floor(float64(counted)/float64(of)*10_000)/100, 99.99)
}

func drawMinutes(r *rapid.T) *minutes {
	m := &minutes{window: rapid.IntRange(1, 300).Draw(r, "window")}
	at := func(name string) time.Duration {
		return time.Duration(rapid.IntRange(0, 400).Draw(r, name)) * time.Minute
	}
	node := rapid.SampledFrom([]string{"a", "b", "c"})
	for i := range rapid.IntRange(0, 8).Draw(r, "boots") {
		x, y := at("boot from"), at("boot until")
		b := store.Watched{Node: node.Draw(r, "node"), Boot: fmt.Sprint(i), From: ago(max(x, y)), Until: ago(min(x, y))}
		if min(x, y) < time.Duration(m.window)*time.Minute { // the store gives only what reaches into the window
			m.boots = append(m.boots, b)
		}
	}
	for range rapid.IntRange(0, 8).Draw(r, "gaps") {
		x, y := at("gap from"), at("gap until")
		m.gaps = append(m.gaps, store.Gap{Node: node.Draw(r, "node"), Gap: event.Gap{
			Cause: rapid.SampledFrom([]string{"spool-full", "stream", "nobody-knows-it", "api-away", "dns-evicted"}).Draw(r, "cause"),
			From:  ago(max(x, y)), Until: ago(min(x, y)), Lost: rapid.Uint64Range(0, 9).Draw(r, "lost")}})
	}
	return m
}

// TestCoverAgainstReference: whatever spans, gaps and window, minute by minute the same is watched, and the shares are the same.
func TestCoverAgainstReference(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := drawMinutes(r)
		window := time.Duration(m.window) * time.Minute
		nodes := cover(m.boots, m.gaps, ago(window), noon)
		var names []string
		for _, b := range m.boots {
			names = append(names, b.Node)
		}
		slices.Sort(names)
		names = slices.Compact(names)
		if len(nodes) != len(names) {
			r.Fatalf("%d nodes, want %q", len(nodes), names)
		}
		allWatched, allIdentified := 0, 0
		for k := range nodes {
			n := &nodes[k]
			watched, identified := m.node(names[k])
			allWatched += sum(watched)
			allIdentified += sum(identified)
			if n.Watched != m.share(sum(watched), m.window) || n.Identified != m.share(sum(identified), m.window) {
				r.Fatalf("%s: %v%% and %v%% of %d minutes, want %d and %d: %+v", n.Node, n.Watched, n.Identified, m.window, sum(watched), sum(identified), n)
			}
			for i := range watched {
				at := ago(time.Duration(m.window-i) * time.Minute)
				in := func(from, until time.Time) bool { return !at.Before(from) && at.Before(until) }
				spans, blind := 0, 0
				for _, s := range n.Spans {
					if in(s.From, s.Until) {
						spans++
					}
				}
				for _, g := range n.Gaps {
					if g.Concerns == ConcernConnections && in(g.From, g.Until) {
						blind++
					}
				}
				if (spans == 1) != watched[i] || spans > 1 || (blind > 0) == watched[i] {
					r.Fatalf("%s at %s: in %d spans and %d gaps, watched %v: %+v", n.Node, at, spans, blind, watched[i], n)
				}
			}
			if !slices.IsSortedFunc(n.Gaps, func(a, b Gap) int { return a.From.Compare(b.From) }) || n.GapCount != len(n.Gaps) {
				r.Fatalf("gaps are not in order: %+v", n.Gaps)
			}
		}
		s := summarize(nodes, 0, &Attribution{}, ago(window), noon)
		if len(nodes) > 0 && (s.Watched != m.share(allWatched, m.window*len(nodes)) || s.Identified != m.share(allIdentified, m.window*len(nodes))) {
			r.Fatalf("all: %v%% and %v%%, want %d and %d of %d", s.Watched, s.Identified, allWatched, allIdentified, m.window*len(nodes))
		}
		if s.Complete && (s.Watched < 100 || s.Identified < 100) {
			r.Fatalf("complete, but watched for %v%%", s.Watched)
		}
	})
}

// TestVerdictAgainstReference: an identity is unused only if those who could have seen it used did look.
func TestVerdictAgainstReference(t *testing.T) {
	names := []string{"a", "b", "c"}
	rapid.Check(t, func(r *rapid.T) {
		m := drawMinutes(r)
		window := time.Duration(m.window) * time.Minute
		nodes := cover(m.boots, m.gaps, ago(window), noon)
		ran := rapid.Bool().Draw(r, "ran")
		u := &store.Member{
			Identity: account(t, "x"), Evidence: rapid.SampledFrom([]event.Evidence{event.EvidenceKubernetes, event.EvidenceSVID}).Draw(r, "evidence"),
			LastSeen: ago(window + time.Minute),
		}
		if rapid.Bool().Draw(r, "bound") {
			u.Identity = unit(t, "a")
		}
		u.Lived = []string{rapid.SampledFrom(names).Draw(r, "last")}
		if ran {
			u.LastSeen = noon
			u.Lived = rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID[string]).Draw(r, "lived")
		}
		verdict, reason, watched := newWitness(nodes, window).judge(u, ago(window))

		minutesOf := func(name string) int {
			watched, identified := m.node(name)
			if u.Evidence == event.EvidenceKubernetes {
				return sum(identified)
			}
			return sum(watched)
		}
		want, total, fleet := VerdictUnused, 0, 0
		for _, name := range u.Lived {
			total += minutesOf(name)
			if m.share(minutesOf(name), m.window) < enough {
				want = VerdictCannotTell
			}
		}
		for i := range nodes {
			fleet += minutesOf(nodes[i].Node)
		}
		if !ran && u.Identity == account(t, "x") && (len(nodes) == 0 || m.share(fleet, m.window*len(nodes)) < enough) {
			want = VerdictCannotTell
		}
		if verdict != want || (reason == "") != (want == VerdictUnused) || watched != m.share(total, m.window*len(u.Lived)) {
			r.Fatalf("%s %q %v%%, want %s with %d of %d minutes: %+v", verdict, reason, watched, want, total, m.window*len(u.Lived), u)
		}
	})
}

// TestUnion compares with a set of minutes.
func TestUnion(t *testing.T) {
	const most = 60
	draw := func(r *rapid.T, name string) (spans []Span, set [most]bool) {
		for range rapid.IntRange(0, 6).Draw(r, name) {
			x, y := rapid.IntRange(0, most).Draw(r, "from"), rapid.IntRange(0, most).Draw(r, "until")
			spans = append(spans, Span{noon.Add(time.Duration(x) * time.Minute), noon.Add(time.Duration(y) * time.Minute)})
			for i := x; i < y; i++ {
				set[i] = true
			}
		}
		return spans, set
	}
	check := func(r *rapid.T, what string, spans []Span, want func(i int) bool) {
		for i := range most {
			at, in := noon.Add(time.Duration(i)*time.Minute), 0
			for _, s := range spans {
				if !at.Before(s.From) && at.Before(s.Until) {
					in++
				}
			}
			if in > 1 || (in == 1) != want(i) {
				r.Fatalf("%s: minute %d is in %d of %v", what, i, in, spans)
			}
		}
		if !slices.IsSortedFunc(spans, func(a, b Span) int { return cmp.Or(a.From.Compare(b.From)) }) || slices.ContainsFunc(spans, Span.empty) {
			r.Fatalf("%s: %v", what, spans)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		a, inA := draw(r, "a")
		b, inB := draw(r, "b")
		a, b = union(a), union(b)
		check(r, "union", a, func(i int) bool { return inA[i] })
		check(r, "difference", subtract(a, b), func(i int) bool { return inA[i] && !inB[i] })
	})
}
