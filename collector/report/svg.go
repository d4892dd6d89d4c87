package report

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"strings"

	"github.com/ambit-nhi/ambit/collector/store"
)

// Measures of a picture, in pixels.
const (
	boxWidth    = 300
	boxHeight   = 34
	boxGap      = 12
	columnGap   = 110
	margin      = 24
	headHeight  = 64
	maxInColumn = 40 // more are told by their number
	maxLabel    = 42 // letters
)

// box is a node of a picture.
type box struct {
	name, detail, fill string
	round              bool
	via                string
	label              string // of the edge from via
	x, y               int
}

// WriteSVG draws a graph, one column a step. Of a column that is too long only the heaviest nodes are drawn, and the number of the others.
func (g *Graph) WriteSVG(w io.Writer) error {
	columns, more := g.columns()
	tallest := 1
	for i, c := range columns {
		n := len(c)
		if more[i] > 0 {
			n++
		}
		tallest = max(tallest, n)
	}
	width := 2*margin + len(columns)*boxWidth + max(len(columns)-1, 0)*columnGap
	height := headHeight + 2*margin + tallest*(boxHeight+boxGap)
	at := map[string]*box{}
	for i := range columns {
		top := headHeight + margin + (tallest-len(columns[i]))*(boxHeight+boxGap)/2
		for k := range columns[i] {
			b := &columns[i][k]
			b.x, b.y = margin+i*(boxWidth+columnGap), top+k*(boxHeight+boxGap)
			at[b.name] = b
		}
	}
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %[1]d %[2]d\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\">\n", width, height)
	fmt.Fprintf(out, "<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n", markup(g.caption()))
	fmt.Fprintf(out, "<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#666666\"/></marker></defs>\n")
	fmt.Fprintf(out, "<text x=\"%d\" y=\"26\" font-size=\"16\" font-weight=\"bold\">%s</text>\n", margin, markup(clipped(g.caption(), width/9)))
	if g.Coverage != nil {
		fmt.Fprintf(out, "<text x=\"%d\" y=\"46\" fill=\"#555555\">%s<title>%s</title></text>\n", margin, markup(clipped(g.Coverage.Statement, width/7)), markup(g.Coverage.Statement))
	}
	for i := range columns {
		for k := range columns[i] {
			b := &columns[i][k]
			if from := at[b.via]; from != nil && from != b {
				drawEdge(out, from, b, g.Way == store.Backward)
			}
		}
	}
	for i := range columns {
		for k := range columns[i] {
			drawBox(out, &columns[i][k])
		}
		if more[i] > 0 {
			y := headHeight + margin + (tallest+len(columns[i]))*(boxHeight+boxGap)/2 + boxHeight/2
			fmt.Fprintf(out, "<text x=\"%d\" y=\"%d\" fill=\"#555555\">and %d more</text>\n", margin+i*(boxWidth+columnGap), y, more[i])
		}
	}
	fmt.Fprintln(out, "</svg>")
	return out.Flush()
}

// columns puts nodes into columns by depth, and says how many of each are left out.
func (g *Graph) columns() ([][]box, []int) {
	columns, more := make([][]box, 1), make([]int, 1)
	add := func(depth int, b box) {
		for len(columns) <= depth {
			columns, more = append(columns, nil), append(more, 0)
		}
		if len(columns[depth]) >= maxInColumn {
			more[depth]++
			return
		}
		columns[depth] = append(columns[depth], b)
	}
	if len(g.Items) == 0 || g.Items[0].Depth > 0 {
		add(0, box{name: g.Start, fill: "#d9d9d9", round: true})
	}
	for i := range g.Items {
		n := &g.Items[i]
		detail := n.Why
		if n.Owner != "" {
			detail = append(detail[:len(detail):len(detail)], "owner "+n.Owner)
		}
		add(n.Depth, box{name: n.Identity, detail: strings.Join(detail, ", "), fill: colour(n.Weight, n.Depth), via: n.Via, label: strings.Join(n.Services, " ")})
	}
	for i := range g.Leaves {
		l := &g.Leaves[i]
		add(l.Depth, box{name: l.Resource, detail: l.Why, fill: colour(l.Weight, l.Depth), via: l.Via, round: true})
	}
	return columns, more
}

func drawEdge(w io.Writer, from, to *box, backward bool) {
	x1, y1, x2, y2 := from.x+boxWidth, from.y+boxHeight/2, to.x, to.y+boxHeight/2
	ends := "marker-end=\"url(#tip)\""
	if backward { // the arrow points at what is reached
		x1, y1, x2, y2 = x2, y2, x1, y1
	}
	middle := (x1 + x2) / 2
	fmt.Fprintf(w, "<path d=\"M%d %dC%d %d %d %d %d %d\" fill=\"none\" stroke=\"#999999\" %s/>\n", x1, y1, middle, y1, middle, y2, x2, y2, ends)
	if to.label != "" {
		fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\" font-size=\"10\" fill=\"#555555\">%s</text>\n", to.x-10, to.y+boxHeight/2-4, markup(clipped(to.label, 16)))
	}
}

func drawBox(w io.Writer, b *box) {
	radius := 3
	if b.round {
		radius = boxHeight / 2
	}
	full := b.name
	if b.detail != "" {
		full += ": " + b.detail
	}
	fmt.Fprintf(w, "<g><title>%s</title><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"%d\" fill=\"%s\" stroke=\"#444444\"/>", markup(full), b.x, b.y, boxWidth, boxHeight, radius, b.fill)
	y := b.y + 21
	if b.detail != "" {
		y = b.y + 15
		fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\" font-size=\"10\" fill=\"#555555\">%s</text>", b.x+12, b.y+28, markup(clipped(b.detail, 50)))
	}
	fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\">%s</text></g>\n", b.x+12, y, markup(tail(b.name)))
}

// tail keeps the end of a name, which tells names apart.
func tail(name string) string {
	name = strings.TrimPrefix(plain(name), "spiffe://")
	runes := []rune(name)
	if len(runes) <= maxLabel {
		return name
	}
	return "…" + string(runes[len(runes)-maxLabel+1:])
}

// clipped keeps the beginning of a text.
func clipped(text string, most int) string {
	runes := []rune(plain(text))
	if len(runes) <= max(most, 8) {
		return string(runes)
	}
	return string(runes[:max(most, 8)-1]) + "…"
}

// markup makes text of a document's.
func markup(s string) string { return html.EscapeString(plain(s)) }
