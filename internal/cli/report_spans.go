package cli

import (
	"cmp"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/collector/report"
)

// shownWhys bounds the kinds of gaps that a row of a table names.
const shownWhys = 3

// gapWhys are the kinds of a node's gaps, each once, by their length in all.
func gapWhys(n *report.NodeCoverage) []string {
	sums := map[string]time.Duration{}
	var whys []string
	for i := range n.Gaps {
		g := &n.Gaps[i]
		if _, known := sums[g.Why]; !known {
			whys = append(whys, g.Why)
		}
		sums[g.Why] += g.Until.Sub(g.From)
	}
	slices.SortStableFunc(whys, func(a, b string) int { return cmp.Compare(sums[b], sums[a]) })
	return whys
}

func newCoverageReport() *cobra.Command {
	var spans bool
	cmd := newReport("coverage", "Say which nodes were watched when, what was lost, and what was seen of TLS", view[report.NodeCoverage]{
		columns: coverageColumns,
		print: func(w io.Writer, form output, answer *report.List[report.NodeCoverage]) (bool, error) {
			if !spans || form == outputJSON { // which has them all
				return false, nil
			}
			rows := spanRows(answer.Items)
			return true, print(w, form, answer, rows, spanColumns())
		},
		more: printTLS,
	})
	cmd.Flags().BoolVar(&spans, "spans", false, "list the spans of time of each node: watched, or why not")
	return cmd
}

// spanRow is a span of time of a node: watched, or a gap.
type spanRow struct {
	report.Gap
	watched bool
}

// spanRows are what nodes tell, in the order of time. Gaps may overlap spans, where something else than connections was lost, and each other.
func spanRows(nodes []report.NodeCoverage) []spanRow {
	var rows []spanRow
	for i := range nodes {
		n := &nodes[i]
		first := len(rows)
		for _, s := range n.Spans {
			rows = append(rows, spanRow{report.Gap{Node: n.Node, From: s.From, Until: s.Until}, true})
		}
		for _, g := range n.Gaps {
			rows = append(rows, spanRow{g, false})
		}
		slices.SortStableFunc(rows[first:], func(a, b spanRow) int { return a.From.Compare(b.From) })
	}
	return rows
}

func spanColumns() []column[spanRow] {
	type row = spanRow
	node := func(r *row) string { return r.Node }
	from, until := func(r *row) string { return stamp(&r.From) }, func(r *row) string { return stamp(&r.Until) }
	state := func(r *row) string {
		if r.watched {
			return "watched"
		}
		return "gap"
	}
	why := func(r *row) string { return r.Why }
	unknown := func(r *row) string { return string(r.Concerns) }
	cause := func(r *row) string { return r.Cause }
	lost := func(r *row) string {
		if r.Lost == 0 {
			return ""
		}
		return strconv.FormatUint(r.Lost, 10)
	}
	shown := func(f func(*row) string) func(*row) string {
		return func(r *row) string { return cmp.Or(f(r), "-") }
	}
	return []column[row]{
		{"NODE", node, "node", node},
		{"FROM", from, "from", from},
		{"UNTIL", until, "until", until},
		{"", nil, "seconds", func(r *row) string { return strconv.FormatFloat(r.Until.Sub(r.From).Seconds(), 'f', -1, 64) }},
		{"LASTED", func(r *row) string { return span(r.Until.Sub(r.From)) }, "", nil},
		{"STATE", state, "state", state},
		{"WHY", shown(why), "why", why},
		{"UNKNOWN", shown(unknown), "concerns", unknown},
		{"CAUSE", shown(cause), "cause", cause},
		{"LOST", shown(lost), "lost", lost},
		{Name: "by_the_hour", Value: func(r *row) string { return strconv.FormatBool(r.Hourly) }},
	}
}
