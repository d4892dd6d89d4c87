package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

type outcome string

const (
	pass outcome = "pass"
	fail outcome = "FAIL"
	skip outcome = "skip"
)

// A row is a test on one kernel, judged.
type row struct {
	Package string  `json:"package"`
	Test    string  `json:"test"`
	Outcome outcome `json:"outcome"`
	Reason  string  `json:"reason,omitempty"` // of a skip, or of a failure that the test itself does not tell
	Seconds float64 `json:"seconds"`
	output  string
}

// A column is a kernel, with all tests that it had to run.
type column struct {
	run     guestRun
	rows    []row
	ran     map[testName]bool // subtests too
	sizes   []size
	trouble []string // each is a failure
}

type testName struct{ pkg, test string }

func expectedOf(tests []binary) (names []testName) {
	for _, b := range tests {
		for _, t := range b.tests {
			names = append(names, testName{b.pkg, t})
		}
	}
	return names
}

// judge holds what a guest did against what it had to do. Subtests stand for themselves only where they did not pass.
func judge(r guestRun, expected []testName) column {
	c := column{run: r, ran: map[testName]bool{}, trouble: slices.Clone(r.trouble)}
	if r.death != "" {
		c.trouble = append(c.trouble, "the guest died twice: "+r.death)
	}
	var failed []string // packages with a failed test
	for _, t := range r.tests {
		if t.name == "" {
			continue
		}
		c.ran[testName{t.pkg, t.name}] = true
		judged := judgeTest(t, r.kernel.release())
		if judged.Outcome == fail {
			failed = append(failed, t.pkg)
		}
		if judged.Outcome != pass || !strings.Contains(t.name, "/") {
			c.rows = append(c.rows, judged)
		}
		c.sizes = append(c.sizes, sizesIn(t.output)...)
	}
	for _, e := range expected {
		if !c.ran[e] {
			c.rows = append(c.rows, row{Package: e.pkg, Test: e.test, Outcome: fail, Reason: "did not run"})
			failed = append(failed, e.pkg)
		}
	}
	for _, t := range r.tests {
		if t.name == "" && t.outcome != "pass" && !slices.Contains(failed, t.pkg) {
			c.trouble = append(c.trouble, "tests of "+t.pkg+" failed as a whole: "+strings.TrimSpace(t.output))
		}
	}
	return c
}

func judgeTest(t testRun, release string) row {
	r := row{Package: t.pkg, Test: t.name, Seconds: t.seconds, output: t.output}
	switch t.outcome {
	case "pass":
		r.Outcome = pass
	case "skip":
		r.Outcome, r.Reason = judgeSkip(t.output, release)
	case "fail":
		r.Outcome = fail
	default:
		r.Outcome, r.Reason = fail, "did not end"
	}
	return r
}

var needs = regexp.MustCompile(`(?m)skip: needs (.+), Linux >= (\d+\.\d+)\s*$`)

// judgeSkip accepts a skip only if it names a feature, and this kernel is older than that.
func judgeSkip(output, release string) (o outcome, reason string) {
	m := needs.FindStringSubmatch(output)
	if m == nil {
		return fail, "skips, but not in the words 'skip: needs <feature>, Linux >= X.Y'"
	}
	reason = fmt.Sprintf("needs %s, Linux >= %s", m[1], m[2])
	if !older(release, m[2]) {
		return fail, fmt.Sprintf("skips: %s, and this is %s", reason, release)
	}
	return skip, reason
}

// older compares the first two numbers of two versions.
func older(a, b string) bool { return slices.Compare(majorMinor(a), majorMinor(b)) < 0 }

func majorMinor(version string) []int {
	var numbers []int
	for _, part := range strings.SplitN(version, ".", 3)[:min(2, strings.Count(version, ".")+1)] {
		n, _ := strconv.Atoi(strings.TrimRightFunc(part, func(r rune) bool { return r < '0' || r > '9' }))
		numbers = append(numbers, n)
	}
	return numbers
}

// inSeries says whether a version such as "7.2.13-1" belongs to a series such as "7.x" or "6.12".
func inSeries(version, series string) bool {
	return strings.HasPrefix(version, strings.TrimSuffix(series, "x")) &&
		(strings.HasSuffix(series, "x") || strings.HasPrefix(version, series+"."))
}

func totals(columns []column) (passed, failed, skipped int) {
	for _, c := range columns {
		failed += len(c.trouble)
		for _, r := range c.rows {
			switch r.Outcome {
			case pass:
				passed++
			case fail:
				failed++
			case skip:
				skipped++
			}
		}
	}
	return passed, failed, skipped
}
