package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// progress says what happens while it happens. It is safe for concurrent use.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	began time.Time
}

func newProgress(out io.Writer) *progress { return &progress{out: out, began: time.Now()} }

func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "[%3.0f s] %s\n", time.Since(p.began).Seconds(), fmt.Sprintf(format, args...))
}

// test tells of tests that end, but not of each subtest.
func (p *progress) test(series string, t testRun) {
	if t.name != "" && !strings.Contains(t.name, "/") {
		p.say("%-4s %s %s %s (%.1f s)", series, t.outcome, t.pkg, t.name, t.seconds)
	}
}
