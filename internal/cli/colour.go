package cli

import (
	"bytes"
	"io"
	"slices"
	"strings"
)

// coloured are the columns of tables whose words have colours: what is said of how bad something is, and how it stands.
var coloured = []string{"SEVERITY", "STATUS", "STATE", "VERDICT", "CLASS", "INVENTORY"}

var colours = map[string]string{
	"critical": red, "high": red, "medium": yellow,
	"new": bold, "resolved": green,
	"stable": green, "unstable": yellow,
	"retired-but-active": red, "orphaned": yellow, "unused": yellow, "active": red,
	"never-reviewed": yellow, "overdue": yellow, "reviewed": green, "remove": red, "change": yellow, "keep": green,
	"failed": red, "declared and seen": green, "seen, undeclared": yellow, "gap": yellow, "watched": green,
}

// paintTable colours words of a table that was laid out already, since a layout would count what steers the terminal as letters. Its first line are the heads.
func paintTable(w io.Writer, table []byte, heads []string) error {
	lines := strings.SplitAfter(string(table), "\n")
	head := []rune(lines[0])
	type span struct{ from, until int }
	var spans []span
	at := 0
	for i, name := range heads {
		from := at + slices.Index(head[at:], []rune(name)[0])
		at = from + len([]rune(name))
		until := 0 // the end of the line
		if i+1 < len(heads) {
			until = at + slices.Index(head[at:], []rune(heads[i+1])[0])
		}
		if slices.Contains(coloured, name) {
			spans = append(spans, span{from, until})
		}
	}
	var out bytes.Buffer
	out.WriteString(lines[0])
	for _, line := range lines[1:] {
		runes := []rune(line)
		done := 0
		for _, s := range spans {
			if s.from >= len(runes) {
				break
			}
			until := s.until
			if until == 0 || until > len(runes) {
				until = len(runes)
			}
			word := strings.TrimRight(string(runes[s.from:until]), " \n")
			out.WriteString(string(runes[done:s.from]))
			out.WriteString(paint(colours[word] != "").in(colours[word], word))
			done = s.from + len([]rune(word))
		}
		out.WriteString(string(runes[done:]))
	}
	_, err := w.Write(out.Bytes())
	return err
}
