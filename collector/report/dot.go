package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/ambit-nhi/ambit/collector/store"
)

// plain makes one line of a text that a workload may have chosen.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// quoteDOT writes a string of the DOT language. Within quotes only the quote itself ends it; a backslash would begin an escape of labels.
func quoteDOT(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(plain(s)) + `"`
}

// WriteDOT writes a graph in the language of Graphviz. Edges go from who reaches to what is reached, whichever way was followed.
func (g *Graph) WriteDOT(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "digraph ambit {\n  rankdir=LR;\n  label=%s;\n  node [shape=box, style=filled, fillcolor=white, fontname=\"Helvetica\"];\n", quoteDOT(g.caption()))
	edge := func(from, to, label string) {
		fmt.Fprintf(out, "  %s -> %s [label=%s];\n", quoteDOT(from), quoteDOT(to), quoteDOT(label))
	}
	if len(g.Items) == 0 || g.Items[0].Depth > 0 {
		fmt.Fprintf(out, "  %s [shape=ellipse];\n", quoteDOT(g.Start))
	}
	for i := range g.Items {
		n := &g.Items[i]
		fmt.Fprintf(out, "  %s [fillcolor=%s, tooltip=%s];\n", quoteDOT(n.Identity), quoteDOT(colour(n.Weight, n.Depth)), quoteDOT(strings.Join(n.Why, ", ")))
		switch label := strings.Join(n.Services, " "); {
		case n.Via == "":
		case g.Way == store.Backward:
			edge(n.Identity, n.Via, label)
		default:
			edge(n.Via, n.Identity, label)
		}
	}
	for i := range g.Leaves {
		l := &g.Leaves[i]
		fmt.Fprintf(out, "  %s [shape=ellipse, fillcolor=%s, tooltip=%s];\n", quoteDOT(l.Resource), quoteDOT(colour(l.Weight, l.Depth)), quoteDOT(l.Why))
		edge(l.Via, l.Resource, "")
	}
	fmt.Fprintln(out, "}")
	return out.Flush()
}

// caption says in a line what a graph shows.
func (g *Graph) caption() string {
	said := fmt.Sprintf("what %s can reach", g.Start)
	if g.Way == store.Backward {
		said = fmt.Sprintf("what can reach %s", g.Start)
	}
	said = fmt.Sprintf("%s within %s: %s, %s, score %d", said, count(uint64(g.Depth), "step"), identities(g.Identities), count(uint64(g.Resources), "other resource"), g.Score)
	if g.Truncated {
		said += "; there is more than is shown"
	}
	return said
}

func identities(n int) string {
	if n == 1 {
		return "1 identity"
	}
	return fmt.Sprintf("%d identities", n)
}

// colour of a node: the start is grey, the rest goes from white to red with its weight.
func colour(weight, depth int) string {
	switch {
	case depth == 0:
		return "#d9d9d9"
	case weight >= weightHigh:
		return "#f4a6a0"
	case weight >= weightMedium:
		return "#fbd9a5"
	}
	return "#ffffff"
}
