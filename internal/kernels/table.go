package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// printTable prints tests by kernels. Skips carry the numbers of their reasons, which stand below.
func printTable(out io.Writer, columns []column) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	var reasons []string
	head := ""
	for _, c := range columns {
		head += "\t" + c.run.kernel.release()
	}
	fmt.Fprintln(w, "package\ttest"+head)
	for _, n := range namesOf(columns) {
		line := n.pkg + "\t" + n.test
		for _, c := range columns {
			line += "\t" + c.cell(n, &reasons)
		}
		fmt.Fprintln(w, line)
	}
	line := "\tseconds"
	for _, c := range columns {
		line += fmt.Sprintf("\t%.0f", c.run.took.Seconds())
	}
	fmt.Fprintln(w, line)
	w.Flush()
	for i, r := range reasons {
		fmt.Fprintf(out, "[%d] %s\n", i+1, r)
	}
	for _, c := range columns {
		if c.run.retries > 0 {
			fmt.Fprintf(out, "%s: the guest died once and was started again\n", c.run.kernel.release())
		}
	}
}

// namesOf gives all tests of all columns: packages in order, subtests behind their tests.
func namesOf(columns []column) (names []testName) {
	for _, c := range columns {
		for _, r := range c.rows {
			if n := (testName{r.Package, r.Test}); !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	slices.SortFunc(names, func(a, b testName) int {
		if a.pkg != b.pkg {
			return strings.Compare(a.pkg, b.pkg)
		}
		return strings.Compare(a.test, b.test)
	})
	return names
}

func (c column) cell(n testName, reasons *[]string) string {
	i := slices.IndexFunc(c.rows, func(r row) bool { return r.Package == n.pkg && r.Test == n.test })
	if i < 0 && c.ran[n] { // a subtest, named because it did not pass elsewhere
		return string(pass)
	}
	if i < 0 {
		return "-"
	}
	r := c.rows[i]
	if r.Outcome != skip {
		return string(r.Outcome)
	}
	number := slices.Index(*reasons, r.Reason)
	if number < 0 {
		number = len(*reasons)
		*reasons = append(*reasons, r.Reason)
	}
	return fmt.Sprintf("skip [%d]", number+1)
}

func printSizes(out io.Writer, columns []column) {
	b := budget{}.with(columns)
	if len(b) > 0 {
		fmt.Fprintf(out, "\nverifiers: instructions/states\n%s", strings.TrimPrefix(b.String(), budgetHead))
	}
}

func printFailures(out io.Writer, columns []column) {
	for _, c := range columns {
		release := c.run.kernel.release()
		for _, trouble := range c.trouble {
			fmt.Fprintf(out, "\n--- FAIL %s: %s\n", release, trouble)
		}
		for _, r := range c.rows {
			if r.Outcome != fail {
				continue
			}
			fmt.Fprintf(out, "\n--- FAIL %s %s %s", release, r.Package, r.Test)
			if r.Reason != "" {
				fmt.Fprintf(out, ": %s", r.Reason)
			}
			fmt.Fprintf(out, "\n%s", r.output)
		}
	}
}

type kernelReport struct {
	Series  string   `json:"series"`
	Version string   `json:"version"`
	Uname   string   `json:"uname"`
	Seconds float64  `json:"seconds"`
	Retries int      `json:"retries"`
	Trouble []string `json:"trouble,omitempty"`
	Tests   []row    `json:"tests"`
	Sizes   []size   `json:"verifier"`
}

func writeReport(file string, columns []column, growth []string, took time.Duration) error {
	var all struct {
		Seconds float64        `json:"seconds"`
		Growth  []string       `json:"growth,omitempty"`
		Kernels []kernelReport `json:"kernels"`
	}
	all.Seconds, all.Growth = took.Seconds(), growth
	for _, c := range columns {
		all.Kernels = append(all.Kernels, kernelReport{
			c.run.kernel.series, c.run.kernel.version, c.run.uname, c.run.took.Seconds(), c.run.retries, c.trouble, c.rows, c.sizes,
		})
	}
	b, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
