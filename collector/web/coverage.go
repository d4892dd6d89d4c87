package web

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/report"
)

// maxCoverageNodes bounds the nodes of a page: those that were watched worst come first.
const maxCoverageNodes = 200

type coverageView struct {
	Window  string
	Windows []string
	Node    string // only this one; empty: all
	Summary *report.Summary
	Lost    []lost
	Nodes   []nodeView
	More    int // nodes that are not shown
}

type lost struct {
	Cause string
	Count uint64
}

type nodeView struct {
	*report.NodeCoverage
	Marks []mark
	Lost  []lost
}

// mark is a piece of a node's line of time, in thousandths of the window.
type mark struct {
	Kind  string // seen, gap-connections, gap-identities, gap-details
	X, W  float64
	Title string
}

func (s *Site) coveragePages() {
	s.page("coverage", "/coverage", Reader, func(r *http.Request, _ Viewer) (any, error) {
		text, d, err := window(r, "7d")
		if err != nil {
			return nil, err
		}
		list, err := s.Reports.Coverage(r.Context(), s.now(), d, report.Paging{Limit: 10_000})
		if err != nil {
			return nil, err
		}
		v := coverageView{Window: text, Windows: windows, Node: r.URL.Query().Get("node"), Summary: list.Coverage, Lost: losses(list.Coverage.Lost)}
		nodes := list.Items
		slices.SortStableFunc(nodes, func(a, b report.NodeCoverage) int { return cmp.Compare(a.Watched, b.Watched) })
		for i := range nodes {
			n := &nodes[i]
			if v.Node != "" && n.Node != v.Node {
				continue
			}
			if len(v.Nodes) == maxCoverageNodes {
				v.More++
				continue
			}
			v.Nodes = append(v.Nodes, nodeView{n, marks(n, list.Coverage.From, list.Coverage.Until), losses(n.Lost)})
		}
		if v.Node != "" && len(v.Nodes) == 0 {
			return nil, faultf(http.StatusNotFound, "No node %s was watched in the last %s.", v.Node, text)
		}
		return v, nil
	})
}

func losses(of map[string]uint64) (out []lost) {
	for _, cause := range slices.Sorted(maps.Keys(of)) {
		out = append(out, lost{cause, of[cause]})
	}
	slices.SortStableFunc(out, func(a, b lost) int { return cmp.Compare(b.Count, a.Count) })
	return out
}

// leastMark is how wide a piece is at least, so that a short gap is seen.
const leastMark = 3

// marks draws what was watched, and over it the gaps, the gravest last.
func marks(n *report.NodeCoverage, from, until time.Time) (out []mark) {
	whole := until.Sub(from).Seconds()
	put := func(kind string, a, b time.Time, title string) {
		a, b = laterOf(a, from), earlierOf(b, until)
		if whole <= 0 || !b.After(a) {
			return
		}
		x, w := a.Sub(from).Seconds()/whole*1000, b.Sub(a).Seconds()/whole*1000
		if kind != "seen" && w < leastMark {
			x, w = min(x, 1000-leastMark), leastMark
		}
		out = append(out, mark{kind, x, w, title})
	}
	for _, span := range n.Spans {
		put("seen", span.From, span.Until, "")
	}
	for _, concern := range []report.Concern{report.ConcernDetails, report.ConcernIdentities, report.ConcernConnections} {
		for _, g := range n.Gaps {
			if g.Concerns == concern {
				put("gap-"+string(concern), g.From, g.Until, strings.Join([]string{g.From.Format(time.DateTime), g.Until.Format(time.DateTime) + " UTC:", report.Why(g.Why)}, " "))
			}
		}
	}
	return out
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlierOf(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
