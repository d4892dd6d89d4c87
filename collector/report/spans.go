package report

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
)

// Span is a time in which a node was watched.
type Span struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
}

// Gap is a time in which a node was not watched.
type Gap struct {
	Node  string    `json:"node"`
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	Why   string    `json:"why"` // before: not watched yet; restart: between two starts of the agent; silent: not heard of since
}

// quiet is how long a watched node may not be heard of before that is a gap: several intervals of the agent.
const quiet = time.Minute

// NodeCoverage is how one node was watched.
type NodeCoverage struct {
	Node     string            `json:"node"`
	Version  string            `json:"version,omitempty"` // of the agent, the latest
	Kernel   string            `json:"kernel,omitempty"`
	Watched  float64           `json:"watched"`   // percent of the window, rounded down
	LastTime time.Time         `json:"last_time"` // when it was last heard of
	Spans    []Span            `json:"spans"`
	Gaps     []Gap             `json:"gaps"`
	Lost     map[string]uint64 `json:"lost"`          // events, by cause
	Missing  []string          `json:"missing"`       // what it could not watch at some time in the window
	TLS      *NodeTLS          `json:"tls,omitempty"` // nil where its agent tells nothing of TLS

	watched time.Duration
}

// cover judges how nodes were watched in a window, from what every start of their agents watched, in any order.
func cover(watched []store.Watched, from, until time.Time) []NodeCoverage {
	watched = slices.Clone(watched)
	slices.SortStableFunc(watched, func(a, b store.Watched) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), a.From.Compare(b.From))
	})
	var out []NodeCoverage
	for len(watched) > 0 {
		n := 1
		for n < len(watched) && watched[n].Node == watched[0].Node {
			n++
		}
		out = append(out, coverNode(watched[:n], from, until))
		watched = watched[n:]
	}
	return out
}

func coverNode(boots []store.Watched, from, until time.Time) NodeCoverage {
	n := NodeCoverage{Node: boots[0].Node, Spans: []Span{}, Gaps: []Gap{}, Lost: map[string]uint64{}, Missing: []string{}}
	for i := range boots {
		n.LastTime = last(n.LastTime, boots[i].Until)
	}
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
		if end.After(until) {
			end = until
		}
		n.add(Span{last(b.From, from), end})
	}
	slices.Sort(n.Missing)
	n.Missing = slices.Compact(n.Missing)
	n.TLS = nodeTLS(boots, n.Missing)
	at, why := from, "before"
	for _, s := range n.Spans {
		n.gap(at, s.From, why)
		n.watched += s.Until.Sub(s.From)
		at, why = s.Until, "restart"
	}
	if len(n.Spans) > 0 {
		why = "silent"
	}
	n.gap(at, until, why)
	window := until.Sub(from)
	n.Watched = percent(float64(window-n.watched), float64(window))
	return n
}

// add adds a span that starts not earlier than those before it; overlapping ones become one.
func (n *NodeCoverage) add(s Span) {
	if !s.Until.After(s.From) {
		return
	}
	if k := len(n.Spans); k > 0 && !s.From.After(n.Spans[k-1].Until) {
		n.Spans[k-1].Until = last(n.Spans[k-1].Until, s.Until)
		return
	}
	n.Spans = append(n.Spans, s)
}

func (n *NodeCoverage) gap(from, until time.Time, why string) {
	if until.After(from) {
		n.Gaps = append(n.Gaps, Gap{n.Node, from, until, why})
	}
}

// last is the later of times.
func last(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// percent of a whole, rounded down to two digits; only what lacks nothing is 100.
func percent(lacking, whole float64) float64 {
	if lacking <= 0 {
		return 100
	}
	return min(math.Floor((whole-lacking)/whole*10_000)/100, 99.99)
}

// share is the percentage of the nodes' time that was watched, in floating point: 10,000 nodes over a year are longer than a Duration.
func share(nodes []NodeCoverage, window time.Duration) float64 {
	if len(nodes) == 0 {
		return 0
	}
	var lacking float64
	for i := range nodes {
		lacking += float64(window - nodes[i].watched)
	}
	return percent(lacking, float64(window)*float64(len(nodes)))
}
