package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// A testRun is a test, or a subtest, on one kernel.
type testRun struct {
	pkg     string
	name    string // as go test says it: TestKernelTCP/IPv6
	outcome string // pass, fail, skip; empty if it never ended
	seconds float64
	output  string
}

// readGuest reads what a guest says on its second port until it ends: lines of its own, and the tests' lines between them, which go test's own
// converter understands.
func readGuest(ctx context.Context, from io.Reader, log io.Writer, r *guestRun, p *progress) error {
	r.ended = map[string]bool{}
	lines := bufio.NewReader(io.TeeReader(from, log))
	var c *converter
	finish := func() error {
		if c == nil {
			return nil
		}
		tests, err := c.close()
		r.tests = append(r.tests, tests...)
		c = nil
		return err
	}
	for {
		line, err := lines.ReadString('\n')
		said, ours := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "@ambit ")
		words := strings.Fields(said)
		switch {
		case ours && len(words) == 2 && words[0] == "boot":
			r.uname = words[1]
		case ours && len(words) == 2 && words[0] == "begin":
			if err := finish(); err != nil {
				return err
			}
			var err error
			if c, err = convert(ctx, words[1], func(t testRun) { p.test(r.kernel.series, t) }); err != nil {
				return err
			}
		case ours && len(words) == 3 && words[0] == "end":
			if err := finish(); err != nil {
				return err
			}
			r.ended[words[1]] = true
			if words[2] != "0" && !anyFailed(r.tests, words[1]) {
				r.trouble = append(r.trouble, fmt.Sprintf("tests of %s ended with exit code %s, though none failed", words[1], words[2]))
			}
		case ours && said == "done":
			r.done = true
		case c != nil:
			if _, err := io.WriteString(c.in, line); err != nil {
				return errors.Join(fmt.Errorf("convert output of tests: %w", err), finish())
			}
		}
		if err != nil {
			return finish()
		}
	}
}

func anyFailed(tests []testRun, pkg string) bool {
	for _, t := range tests {
		if t.pkg == pkg && t.outcome != "pass" && t.outcome != "skip" {
			return true
		}
	}
	return false
}

// A converter is `go tool test2json` on the output of one package's tests.
type converter struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	tests chan []testRun
}

type event struct {
	Action  string
	Test    string
	Elapsed float64
	Output  string
}

// convert starts a converter. It tells told of each test that ends.
func convert(ctx context.Context, pkg string, told func(testRun)) (*converter, error) {
	c := &converter{cmd: exec.CommandContext(ctx, "go", "tool", "test2json", "-t", "-p", pkg), tests: make(chan []testRun, 1)}
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start go tool test2json: %w", err)
	}
	go func() { c.tests <- collect(out, pkg, told) }()
	return c, nil
}

func (c *converter) close() ([]testRun, error) {
	c.in.Close()
	tests := <-c.tests
	if err := c.cmd.Wait(); err != nil {
		return tests, fmt.Errorf("run go tool test2json: %w", err)
	}
	return tests, nil
}

// collect gathers the events of each test, in the order in which they began. The package itself is the test without a name.
func collect(from io.Reader, pkg string, told func(testRun)) []testRun {
	tests := []testRun{{pkg: pkg}}
	index := map[string]int{"": 0}
	for d := json.NewDecoder(from); ; {
		var e event
		if err := d.Decode(&e); err != nil {
			_, _ = io.Copy(io.Discard, from) // lets the converter end
			return tests
		}
		i, known := index[e.Test]
		if !known {
			i = len(tests)
			index[e.Test] = i
			tests = append(tests, testRun{pkg: pkg, name: e.Test})
		}
		t := &tests[i]
		switch e.Action {
		case "output":
			t.output += e.Output
		case "pass", "fail", "skip":
			t.outcome, t.seconds = e.Action, e.Elapsed
			told(*t)
		}
	}
}
