package report

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Summary is what a report rests on.
type Summary struct {
	Window      string            `json:"window"`
	From        time.Time         `json:"from"`
	Until       time.Time         `json:"until"`
	Nodes       int               `json:"nodes"`                  // that were watched in the window
	SilentNodes int               `json:"silent_nodes,omitempty"` // that were watched once, but not in the window
	Watched     float64           `json:"watched"`                // percent of the time of Nodes that was watched, rounded down; see [NodeCoverage]
	Identified  float64           `json:"identified"`             // percent of it in which it is also known whose connections there were
	Complete    bool              `json:"complete"`               // no gap, no loss, no blind spot
	Gaps        []Gap             `json:"gaps"`                   // those that leave most unknown, the longest first
	GapCount    int               `json:"gap_count"`
	Lost        map[string]uint64 `json:"lost"`    // events, by cause
	Missing     []BlindSpot       `json:"missing"` // what could not be watched
	Attribution *Attribution      `json:"attribution"`
	// When what is said of identities was read, where that was not at Until; see [Reporter.Reuse].
	IdentitiesAsOf time.Time `json:"identities_as_of,omitzero"`
	TLS            *TLS      `json:"tls,omitempty"` // nil where no agent tells of it
	Statement      string    `json:"statement"`
}

// BlindSpot is something that nodes could not watch.
type BlindSpot struct {
	What  string `json:"what"`
	Nodes int    `json:"nodes"`
}

var severity = map[Concern]int{ConcernConnections: 0, ConcernIdentities: 1, ConcernDetails: 2}

// maxGaps bounds the gaps that a summary lists.
const maxGaps = 20

// Coverage reports how every node was watched in the window that ends now, in the order of their names.
func (r *Reporter) Coverage(ctx context.Context, now time.Time, window time.Duration, paging Paging) (*List[NodeCoverage], error) {
	nodes, summary, err := r.coverage(ctx, now, window)
	if err != nil {
		return nil, err
	}
	out := &List[NodeCoverage]{Total: uint64(len(nodes)), Coverage: summary}
	if out.Items, out.Next, err = cut(nodes, func(n *NodeCoverage) place { return place{text: n.Node} }, paging); err != nil {
		return nil, err
	}
	for i := range out.Items {
		out.Items[i].trim()
	}
	return out, nil
}

func (r *Reporter) coverage(ctx context.Context, now time.Time, window time.Duration) ([]NodeCoverage, *Summary, error) {
	now = now.UTC()
	from := now.Add(-window)
	watched, err := r.store.Watched(ctx, from)
	if err != nil {
		return nil, nil, err
	}
	silent, err := r.store.SilentNodes(ctx, from)
	if err != nil {
		return nil, nil, err
	}
	gaps, err := r.store.Gaps(ctx, from, detailCauses)
	if err != nil {
		return nil, nil, err
	}
	nodes := cover(watched, gaps, from, now)
	if nodes == nil {
		nodes = []NodeCoverage{}
	}
	attributed, err := r.store.Attribution(ctx, from)
	if err != nil {
		return nil, nil, err
	}
	return nodes, summarize(nodes, silent, attribution(attributed), from, now), nil
}

func summarize(nodes []NodeCoverage, silent int, attributed *Attribution, from, until time.Time) *Summary {
	s := &Summary{
		Window: FormatWindow(until.Sub(from)), From: from, Until: until, Nodes: len(nodes), SilentNodes: silent,
		Gaps: []Gap{}, Lost: map[string]uint64{}, Missing: []BlindSpot{}, Attribution: attributed,
	}
	blind := map[string]int{}
	for i := range nodes {
		n := &nodes[i]
		s.Gaps = append(s.Gaps, n.Gaps...)
		for cause, lost := range n.Lost {
			s.Lost[cause] += lost
		}
		if n.TLS != nil {
			if s.TLS == nil {
				s.TLS = &TLS{}
			}
			s.TLS.join(&n.TLS.TLS)
		}
		for _, what := range n.Missing {
			blind[what]++
		}
	}
	for _, what := range slices.Sorted(maps.Keys(blind)) {
		s.Missing = append(s.Missing, BlindSpot{what, blind[what]})
	}
	s.Watched, s.Identified = share(nodes, watchedTime, until.Sub(from)), share(nodes, identifiedTime, until.Sub(from))
	slices.SortStableFunc(s.Gaps, func(a, b Gap) int {
		return cmp.Or(cmp.Compare(severity[a.Concerns], severity[b.Concerns]), cmp.Compare(b.Until.Sub(b.From), a.Until.Sub(a.From)))
	})
	s.GapCount = len(s.Gaps)
	s.Gaps = slices.Clip(s.Gaps[:min(len(s.Gaps), maxGaps)])
	s.Complete = len(nodes) > 0 && silent == 0 && s.GapCount == 0 && len(s.Lost) == 0 && len(s.Missing) == 0
	s.Statement = s.state()
	return s
}

// state says it in sentences, the worst first.
func (s *Summary) state() string {
	var b strings.Builder
	switch {
	case s.Nodes == 0:
		fmt.Fprintf(&b, "NOT COMPLETE: no node was watched in the last %s.", s.Window)
	case s.Complete:
		fmt.Fprintf(&b, "Complete: %s watched without a gap for the last %s; nothing was lost, and there was no blind spot.", count(s.Nodes, "node"), s.Window)
	default:
		fmt.Fprintf(&b, "NOT COMPLETE: %s watched for %.2f%% of the last %s; what happened unseen is not in this report.", count(s.Nodes, "node"), s.Watched, s.Window)
	}
	if s.SilentNodes > 0 {
		fmt.Fprintf(&b, " %s watched earlier, but not in this window.", count(s.SilentNodes, "node"))
	}
	if s.GapCount > 0 {
		g := s.Gaps[0]
		fmt.Fprintf(&b, " %s; the worst on %s from %s to %s (%s).", count(s.GapCount, "gap"), g.Node, g.From.Format(time.RFC3339), g.Until.Format(time.RFC3339), whys[g.Why])
	}
	if s.Identified < s.Watched {
		fmt.Fprintf(&b, " Whose connections there were was known for %.2f%%.", s.Identified)
	}
	if len(s.Lost) > 0 {
		var total uint64
		var causes []string
		for _, cause := range slices.Sorted(maps.Keys(s.Lost)) {
			total += s.Lost[cause]
			causes = append(causes, fmt.Sprintf("%s %d", cause, s.Lost[cause]))
		}
		fmt.Fprintf(&b, " %s lost: %s.", count(total, "event"), strings.Join(causes, ", "))
	}
	for _, m := range s.Missing {
		fmt.Fprintf(&b, " Blind spot on %s: %s.", count(m.Nodes, "node"), strings.TrimSuffix(m.What, "."))
	}
	b.WriteString(s.Attribution.state())
	b.WriteString(s.TLS.state())
	return b.String()
}

// read says when identities were read.
func (s *Summary) read(e *estate) {
	if !e.now.Equal(s.Until) {
		s.IdentitiesAsOf = e.now
	}
}

func count[N int | uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
