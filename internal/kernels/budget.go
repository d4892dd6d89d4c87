package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// A size is what a kernel's verifier says of a program: instructions that it walked, and states that it kept.
type size struct {
	Program      string `json:"program"`
	Instructions int    `json:"instructions"`
	States       int    `json:"states"`
}

var sizeLine = regexp.MustCompile(`(?m)verified (\w+): (\d+) instructions, (\d+) states`)

// sizesIn finds the sizes that a test tells in its output.
func sizesIn(output string) (sizes []size) {
	for _, m := range sizeLine.FindAllStringSubmatch(output, -1) {
		instructions, _ := strconv.Atoi(m[2]) // digits
		states, _ := strconv.Atoi(m[3])
		sizes = append(sizes, size{m[1], instructions, states})
	}
	return sizes
}

// A budget holds the sizes of programs by kernel release: "6.1.176".
type budget map[string]map[string]size

const budgetHead = `# What each kernel's verifier walks for each program: instructions/states. make test-kernels fails where one grew by more than 10 %;
# make test-kernels ARGS=-update writes this file anew.
`

// checkBudget compares the sizes with the file, or writes it. It gives a line for each growth of more than a tenth, and for what is in one of the two
// alone, unless only some tests ran.
func checkBudget(file string, columns []column, update, all bool) ([]string, error) {
	b, err := os.ReadFile(file)
	if err != nil && !(update && errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	old, err := parseBudget(string(b))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if update {
		return nil, os.WriteFile(file, []byte(old.with(columns).String()), 0o644)
	}
	var lines []string
	for _, c := range columns {
		if all || len(c.sizes) > 0 {
			lines = append(lines, old.compare(c)...)
		}
	}
	return lines, nil
}

// of finds the release of a series, and its sizes.
func (b budget) of(series string) (release string, sizes map[string]size) {
	for release, sizes := range b {
		if inSeries(release, series) {
			return release, sizes
		}
	}
	return "", nil
}

func (b budget) compare(c column) (lines []string) {
	const remedy = "make it smaller, or take it with make test-kernels ARGS=-update"
	then, had := b.of(c.run.kernel.series)
	now := c.run.kernel.release()
	measured := map[string]bool{}
	for _, s := range c.sizes {
		measured[s.Program] = true
		h, known := had[s.Program]
		if !known {
			lines = append(lines, fmt.Sprintf("verifier: %s on %s has %d instructions, %d states, and is not in %s: make test-kernels ARGS=-update", s.Program, now, s.Instructions, s.States, budgetFile))
			continue
		}
		for _, what := range []struct {
			name     string
			had, has int
		}{{"instructions", h.Instructions, s.Instructions}, {"states", h.States, s.States}} {
			if what.has*10 > what.had*11 {
				lines = append(lines, fmt.Sprintf("verifier: %s on %s has %d %s, %d before (on %s): %s", s.Program, now, what.has, what.name, what.had, then, remedy))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(had)) {
		if !measured[name] {
			lines = append(lines, fmt.Sprintf("verifier: %s on %s was not measured, though it is in %s: if it is gone, make test-kernels ARGS=-update", name, now, budgetFile))
		}
	}
	return lines
}

// with replaces what the columns measured, and drops programs that they no longer have.
func (b budget) with(columns []column) budget {
	b = maps.Clone(b)
	for _, c := range columns {
		if len(c.sizes) == 0 {
			continue
		}
		then, _ := b.of(c.run.kernel.series)
		delete(b, then)
		sizes := map[string]size{}
		for _, s := range c.sizes {
			sizes[s.Program] = s
		}
		b[c.run.kernel.release()] = sizes
	}
	return b
}

func (b budget) String() string {
	releases := slices.SortedFunc(maps.Keys(b), func(a, c string) int { return slices.Compare(majorMinor(a), majorMinor(c)) })
	programs := map[string]bool{}
	for _, sizes := range b {
		for name := range sizes {
			programs[name] = true
		}
	}
	var out strings.Builder
	out.WriteString(budgetHead)
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "program\t%s\n", strings.Join(releases, "\t"))
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		cells := []string{name}
		for _, r := range releases {
			cell := "-"
			if s, ok := b[r][name]; ok {
				cell = fmt.Sprintf("%d/%d", s.Instructions, s.States)
			}
			cells = append(cells, cell)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	w.Flush()
	return out.String()
}

func parseBudget(text string) (budget, error) {
	b := budget{}
	var releases []string
	for line := range strings.Lines(text) {
		cells := strings.Fields(line)
		switch {
		case len(cells) == 0 || cells[0] == "#":
		case releases == nil:
			releases = cells[1:]
			for _, r := range releases {
				b[r] = map[string]size{}
			}
		case len(cells) != len(releases)+1:
			return nil, fmt.Errorf("%d cells in line %q, want %d", len(cells), strings.TrimSpace(line), len(releases)+1)
		default:
			for i, cell := range cells[1:] {
				if cell == "-" {
					continue
				}
				s := size{Program: cells[0]}
				if _, err := fmt.Sscanf(cell, "%d/%d", &s.Instructions, &s.States); err != nil {
					return nil, fmt.Errorf("%s of %s: %w", cell, cells[0], err)
				}
				b[releases[i]][cells[0]] = s
			}
		}
	}
	return b, nil
}
