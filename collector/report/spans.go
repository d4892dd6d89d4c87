package report

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
)

// Gap is a time in which a node was not watched, or in which something was lost. It may overlap others.
type Gap struct {
	Node     string    `json:"node"`
	From     time.Time `json:"from"`
	Until    time.Time `json:"until"`
	Why      string    `json:"why"`                   // one of the Why words
	Concerns Concern   `json:"concerns"`              // what is unknown of this time
	Cause    string    `json:"cause,omitempty"`       // of what was lost, as the agent or the collector names it
	Lost     uint64    `json:"lost,omitempty"`        // events, where their number is known
	Hourly   bool      `json:"by_the_hour,omitempty"` // it happened somewhere within
}

// quiet is how long a watched node may not be heard of before that is a gap: several intervals of the agent.
const quiet = time.Minute

// NodeCoverage is how one node was watched.
//
// A moment is watched when an agent was running and nothing that was lost then concerns connections. Watched is the share of such moments in the
// window; a node that came later was not watched before. A moment is identified when it was watched and nothing that was lost then concerns
// identities either. Gaps that concern details take nothing from either.
type NodeCoverage struct {
	Node       string            `json:"node"`
	Version    string            `json:"version,omitempty"` // of the agent, the latest
	Kernel     string            `json:"kernel,omitempty"`
	Watched    float64           `json:"watched"`    // percent of the window, rounded down
	Identified float64           `json:"identified"` // likewise
	LastTime   time.Time         `json:"last_time"`  // when it was last heard of
	Spans      []Span            `json:"spans"`      // that were watched, in order; the latest [MaxNodeSpans]
	Gaps       []Gap             `json:"gaps"`       // by beginning; the latest [MaxNodeSpans]
	GapCount   int               `json:"gap_count"`
	Lost       map[string]uint64 `json:"lost"`          // events, by cause
	Missing    []string          `json:"missing"`       // what it could not watch at some time in the window
	TLS        *NodeTLS          `json:"tls,omitempty"` // nil where its agent tells nothing of TLS

	watched, identified time.Duration
}

// MaxNodeSpans bounds the spans and gaps that are told of one node.
const MaxNodeSpans = 1000

// cover judges how nodes were watched in a window, from what every start of their agents watched and the gaps, in any order. Nodes with nothing but
// gaps are left out: nobody watched them.
func cover(watched []store.Watched, gaps []store.Gap, from, until time.Time) []NodeCoverage {
	watched = slices.Clone(watched)
	slices.SortStableFunc(watched, func(a, b store.Watched) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), a.From.Compare(b.From))
	})
	losses := map[string][]store.Gap{}
	for _, g := range gaps {
		losses[g.Node] = append(losses[g.Node], g)
	}
	var out []NodeCoverage
	for len(watched) > 0 {
		n := 1
		for n < len(watched) && watched[n].Node == watched[0].Node {
			n++
		}
		out = append(out, coverNode(watched[:n], losses[watched[0].Node], from, until))
		watched = watched[n:]
	}
	return out
}

func coverNode(boots []store.Watched, losses []store.Gap, from, until time.Time) NodeCoverage {
	n := NodeCoverage{Node: boots[0].Node, Gaps: []Gap{}, Lost: map[string]uint64{}, Missing: []string{}}
	for i := range boots {
		n.LastTime = last(n.LastTime, boots[i].Until)
	}
	var running []Span
	for i := range boots {
		b := &boots[i]
		for cause, lost := range b.Lost {
			n.Lost[cause] += lost
		}
		n.Missing = append(n.Missing, b.Missing...)
		end := b.Until
		if end.Equal(n.LastTime) {
			n.Version, n.Kernel = b.Version, b.Kernel
			// A node that was heard of a moment ago is still being watched.
			if until.Sub(end) <= quiet {
				end = until
			}
		}
		running = append(running, Span{b.From, end}.clip(from, until))
	}
	running = union(running)
	slices.Sort(n.Missing)
	n.Missing = slices.Compact(n.Missing)
	n.TLS = nodeTLS(boots, n.Missing)
	n.pause(running, from, until)
	unseen, unknown := n.lose(within(losses, boots), from, until)
	n.Spans = append([]Span{}, subtract(running, unseen)...)
	n.watched, n.identified = length(n.Spans), length(subtract(n.Spans, unknown))
	window := until.Sub(from)
	n.Watched = percent(float64(window-n.watched), float64(window))
	n.Identified = percent(float64(window-n.identified), float64(window))
	slices.SortStableFunc(n.Gaps, func(a, b Gap) int { return a.From.Compare(b.From) })
	n.GapCount = len(n.Gaps)
	return n
}

// pause notes the gaps in which no agent ran.
func (n *NodeCoverage) pause(running []Span, from, until time.Time) {
	gap := func(from, until time.Time, why string) {
		if until.After(from) {
			n.Gaps = append(n.Gaps, Gap{Node: n.Node, From: from, Until: until, Why: why, Concerns: ConcernConnections})
		}
	}
	at, why := from, WhyBefore
	for _, s := range running {
		gap(at, s.From, why)
		at, why = s.Until, WhyAgentDown
	}
	if len(running) > 0 {
		why = WhySilent
	}
	gap(at, until, why)
}

// lose notes the gaps in which something was lost, and gives when connections are missing, and when it is not known whose they are.
func (n *NodeCoverage) lose(losses []store.Gap, from, until time.Time) (unseen, unknown []Span) {
	for _, g := range joinGaps(losses) {
		s := Span{g.From, g.Until}.clip(from, until)
		if s.Until.Before(s.From) || s.empty() && g.Lost == 0 {
			continue
		}
		m := meaningOf(g.Cause)
		n.Gaps = append(n.Gaps, Gap{n.Node, s.From, s.Until, m.why, m.concerns, g.Cause, g.Lost, g.Hourly})
		switch m.concerns {
		case ConcernConnections:
			unseen = append(unseen, s)
		case ConcernIdentities:
			unknown = append(unknown, s)
		}
	}
	return union(unseen), union(unknown)
}

// within cuts gaps that are only known by the hour to when the agent ran that they happened to.
func within(gaps []store.Gap, boots []store.Watched) []store.Gap {
	gaps = slices.Clone(gaps)
	for i := range gaps {
		g := &gaps[i]
		if k := slices.IndexFunc(boots, func(b store.Watched) bool { return b.Boot == g.Boot }); g.Hourly && k >= 0 {
			g.From, g.Until = last(g.From, boots[k].From), first(g.Until, boots[k].Until)
		}
	}
	return gaps
}

// joinGaps makes one gap of those of the same cause that overlap or touch. One that lies within another was part of it already, so its losses are
// not added.
func joinGaps(gaps []store.Gap) []store.Gap {
	gaps = slices.Clone(gaps)
	slices.SortFunc(gaps, func(a, b store.Gap) int {
		return cmp.Or(cmp.Compare(a.Cause, b.Cause), a.From.Compare(b.From), b.Until.Compare(a.Until), cmp.Compare(b.Lost, a.Lost))
	})
	out := gaps[:0]
	for _, g := range gaps {
		k := len(out) - 1
		switch {
		case k < 0 || out[k].Cause != g.Cause || g.From.After(out[k].Until):
			out = append(out, g)
		case g.Until.After(out[k].Until):
			out[k].Until = g.Until
			out[k].Lost += g.Lost
			out[k].Hourly = out[k].Hourly || g.Hourly
		case g.Hourly: // of another start
			out[k].Lost += g.Lost
		default:
			out[k].Lost = max(out[k].Lost, g.Lost)
		}
	}
	return out
}

// trim bounds what is told of a node.
func (n *NodeCoverage) trim() {
	n.Spans = n.Spans[max(len(n.Spans)-MaxNodeSpans, 0):]
	n.Gaps = n.Gaps[max(len(n.Gaps)-MaxNodeSpans, 0):]
}

// percent of a whole, rounded down to two digits; only what lacks nothing is 100.
func percent(lacking, whole float64) float64 {
	if lacking <= 0 {
		return 100
	}
	return min(math.Floor((whole-lacking)/whole*10_000)/100, 99.99)
}

// watchedTime and identifiedTime are two readings of a node's coverage.
func watchedTime(n *NodeCoverage) time.Duration    { return n.watched }
func identifiedTime(n *NodeCoverage) time.Duration { return n.identified }

// share is the percentage of the nodes' time that counts, in floating point: 10,000 nodes over a year are longer than a Duration.
func share(nodes []NodeCoverage, time func(*NodeCoverage) time.Duration, window time.Duration) float64 {
	if len(nodes) == 0 {
		return 0
	}
	var lacking float64
	for i := range nodes {
		lacking += float64(window - time(&nodes[i]))
	}
	return percent(lacking, float64(window)*float64(len(nodes)))
}
