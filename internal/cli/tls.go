package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/event"
)

// Bounds of what a table shows of TLS; CSV and JSON show all.
const (
	shownKinds  = 2  // of handshakes, of a resource
	shownStacks = 6  // of a node
	shownBlind  = 20 // sentences
	shownNodes  = 3  // of a sentence
)

// tlsCell says in a few words how the way to a resource is protected, the most used way first.
func tlsCell(r *api.Reach) string {
	var kinds []string
	how := map[string][]string{} // they were seen
	for i := range r.TLS {
		t := &r.TLS[i]
		kind := tlsKind(t, r.Direction)
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
		if !slices.Contains(how[kind], t.Provenance) {
			how[kind] = append(how[kind], t.Provenance)
		}
	}
	for i, kind := range kinds {
		if seen := how[kind]; !slices.Equal(seen, []string{"full"}) {
			kinds[i] += " " + strings.Join(seen, "+")
		}
	}
	return shorten(kinds, shownKinds)
}

func tlsKind(t *api.ReachTLS, d event.Direction) string {
	said := []string{cmp.Or(t.Version, "TLS")}
	if t.Provenance == "wire-only" { // it does not show what the program made of the certificates
		return said[0]
	}
	if t.Mutual {
		said = append(said, "mutual")
	}
	switch {
	case t.Verified:
		said = append(said, "verified")
	case t.Provenance != "inferred" && (t.Mutual || d == event.Outbound): // else the peer showed no certificate, and there was nothing to verify
		said = append(said, "unverified")
	}
	return strings.Join(said, " ")
}

// shorten joins the first few.
func shorten(words []string, most int) string {
	if more := len(words) - most; more > 0 {
		return fmt.Sprintf("%s, +%d", strings.Join(words[:most], ", "), more)
	}
	return strings.Join(words, ", ")
}

func tlsConnections(r *api.Reach, count func(*api.ReachTLS) bool) (n uint64) {
	for i := range r.TLS {
		if count(&r.TLS[i]) {
			n += r.TLS[i].Connections
		}
	}
	return n
}

// tlsWords lists words of all handshakes of a resource, each once.
func tlsWords(of func(*api.ReachTLS) []string) func(*api.Reach) string {
	return func(r *api.Reach) string {
		var words []string
		for i := range r.TLS {
			for _, word := range of(&r.TLS[i]) {
				if word != "" && !slices.Contains(words, word) {
					words = append(words, word)
				}
			}
		}
		return strings.Join(words, " ")
	}
}

// printTLS prints what nodes saw of TLS, and what they were blind for. Where no agent tells of it, there is nothing to print.
func printTLS(w io.Writer, nodes []report.NodeCoverage) error {
	if !slices.ContainsFunc(nodes, func(n report.NodeCoverage) bool { return n.TLS != nil }) {
		return nil
	}
	fmt.Fprintln(w)
	if err := printTable(w, nodes, tlsColumns()); err != nil {
		return err
	}
	where := map[string][]string{}
	for i := range nodes {
		for _, what := range tlsOf(&nodes[i]).Blind {
			where[what] = append(where[what], nodes[i].Node)
		}
	}
	said := slices.SortedFunc(maps.Keys(where), func(a, b string) int { return cmp.Or(cmp.Compare(len(where[b]), len(where[a])), cmp.Compare(a, b)) })
	for i, what := range said[:min(len(said), shownBlind)] {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "Blind on %s: %s.\n", oneLineText(shorten(where[what], shownNodes)), oneLineText(strings.TrimSuffix(what, ".")))
	}
	if more := len(said) - shownBlind; more > 0 {
		fmt.Fprintf(w, "%d more are in the output of -o json.\n", more)
	}
	return nil
}

func tlsColumns() []column[report.NodeCoverage] {
	type row = report.NodeCoverage
	cell := func(f func(*report.NodeTLS) uint64) func(*row) string {
		count := tlsCount(f)
		return func(r *row) string { return cmp.Or(count(r), "-") }
	}
	return []column[row]{
		{Head: "NODE", Cell: func(r *row) string { return r.Node }},
		{Head: "CONNECTIONS", Cell: cell(func(t *report.NodeTLS) uint64 { return t.Connections })},
		{Head: "FULL", Cell: cell(func(t *report.NodeTLS) uint64 { return t.Full })},
		{Head: "RESUMED", Cell: cell(func(t *report.NodeTLS) uint64 { return t.Resumed })},
		{Head: "INFERRED", Cell: cell(func(t *report.NodeTLS) uint64 { return t.Inferred })},
		{Head: "WIRE-ONLY", Cell: cell(func(t *report.NodeTLS) uint64 { return t.WireOnly })},
		{Head: "FAILED", Cell: cell(func(t *report.NodeTLS) uint64 { return t.Failed })},
		{Head: "NONE", Cell: cell(func(t *report.NodeTLS) uint64 { return t.None })},
		{Head: "STACKS (FILES)", Cell: func(r *row) string {
			if r.TLS == nil {
				return "its agent does not watch TLS"
			}
			return tlsStacks(r.TLS, shownStacks)
		}},
	}
}

// tlsCount is empty where a node's agent tells nothing of TLS.
func tlsCount(f func(*report.NodeTLS) uint64) func(*report.NodeCoverage) string {
	return func(r *report.NodeCoverage) string {
		if r.TLS == nil {
			return ""
		}
		return strconv.FormatUint(f(r.TLS), 10)
	}
}

// tlsStacks lists the libraries of most files first.
func tlsStacks(t *report.NodeTLS, most int) string {
	if t == nil {
		return ""
	}
	names := slices.SortedFunc(maps.Keys(t.Stacks), func(a, b string) int { return cmp.Or(cmp.Compare(t.Stacks[b], t.Stacks[a]), cmp.Compare(a, b)) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%s (%d)", name, t.Stacks[name])
	}
	return shorten(names, most)
}

// tlsOf is what a node saw of TLS, which may be nothing.
func tlsOf(r *report.NodeCoverage) *report.NodeTLS {
	if r.TLS == nil {
		return &report.NodeTLS{}
	}
	return r.TLS
}
