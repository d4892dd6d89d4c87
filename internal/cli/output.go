package cli

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

// output is the form in which a command prints.
type output string

const (
	outputTable output = "table"
	outputJSON  output = "json"
	outputCSV   output = "csv"
)

// String, Set and Type implement pflag.Value.
func (o *output) String() string { return string(*o) }
func (o *output) Type() string   { return "table|json|csv" }

func (o *output) Set(s string) error {
	switch output(s) {
	case outputTable, outputJSON, outputCSV:
		*o = output(s)
		return nil
	}
	return fmt.Errorf("%q is not table, json or csv", s)
}

func outputFlag(cmd *cobra.Command) *output {
	o := outputTable
	cmd.Flags().VarP(&o, "output", "o", "form of the output; in CSV, a cell that a spreadsheet would take for a formula begins with '")
	return &o
}

// column is one column of a table (Head, in capitals, and Cell for people) and of CSV (Name and Value for programs). One without Head is
// only in the CSV, one without Name only in the table.
type column[T any] struct {
	Head  string
	Cell  func(*T) string
	Name  string
	Value func(*T) string
}

// print writes items in the form that was asked for; whole is what JSON shows.
func print[T any](w io.Writer, form output, whole any, items []T, columns []column[T]) error {
	switch form {
	case outputJSON:
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(whole)
	case outputCSV:
		return printCSV(w, items, columns)
	}
	return printTable(w, items, columns)
}

func printTable[T any](w io.Writer, items []T, columns []column[T]) error {
	var heads []string
	for _, c := range columns {
		if c.Head != "" {
			heads = append(heads, c.Head)
		}
	}
	if !bool(paintOf(w)) || !slices.ContainsFunc(heads, func(h string) bool { return slices.Contains(coloured, h) }) {
		return layTable(w, items, columns)
	}
	var table bytes.Buffer
	if err := layTable(&table, items, columns); err != nil {
		return err
	}
	return paintTable(w, table.Bytes(), heads)
}

// layTable writes a table without colours. Every line has all cells, or those behind one that lacks its last would stand elsewhere.
func layTable[T any](w io.Writer, items []T, columns []column[T]) error {
	var laid bytes.Buffer
	t := tabwriter.NewWriter(&laid, 0, 0, 2, ' ', 0)
	row := func(cell func(column[T]) string) {
		var cells []string
		for _, c := range columns {
			if c.Head != "" {
				cells = append(cells, oneLineText(cell(c)))
			}
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	row(func(c column[T]) string { return c.Head })
	for i := range items {
		row(func(c column[T]) string { return c.Cell(&items[i]) })
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(laid.String()) {
		if _, err := io.WriteString(w, strings.TrimRight(line, " \n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

func printCSV[T any](w io.Writer, items []T, columns []column[T]) error {
	out := csv.NewWriter(w)
	row := func(cell func(column[T]) string) error {
		var cells []string
		for _, c := range columns {
			if c.Name != "" {
				cells = append(cells, csvText(cell(c)))
			}
		}
		return out.Write(cells)
	}
	if err := row(func(c column[T]) string { return c.Name }); err != nil {
		return err
	}
	for i := range items {
		if err := row(func(c column[T]) string { return c.Value(&items[i]) }); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// oneLineText keeps what workloads chose (names, paths) from steering the terminal or breaking the table.
func oneLineText(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// csvText keeps what workloads chose from steering what reads the CSV: a terminal, or a spreadsheet, which computes what begins like a formula.
func csvText(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t", rune(s[0])) {
		s = "'" + s
	}
	return oneLineText(s)
}

// oneLine makes one line of an error that may join several.
func oneLine(err error) string {
	return oneLineText(strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
}

// ago says how long ago t was, roughly.
func ago(t *time.Time, now time.Time) string {
	if t == nil || t.IsZero() {
		return "never"
	}
	return span(now.Sub(*t)) + " ago"
}

// span writes a duration in its largest unit.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// size writes bytes in their largest unit.
func size(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	f, u := float64(n)/1024, 0
	for f >= 1024 && u < len(units)-1 {
		f, u = f/1024, u+1
	}
	return fmt.Sprintf("%.1f%ciB", f, units[u])
}

// stamp is a time for programs; nil and zero are empty.
func stamp(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
