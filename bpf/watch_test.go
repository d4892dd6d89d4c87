package bpf

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// A scenario is traffic and every edge that comes of it.
type scenario struct {
	name    string
	traffic func()
	want    []string // as watcher.lines says it; PORT stands for the port that the child printed
}

// A watcher is a loaded kernel side and the edges that it announced so far.
type watcher struct {
	*Kernel
	t       testing.TB
	numbers map[Number]bool
}

// watch loads the kernel side for a test.
func watch(t testing.TB, cfg Config) *watcher {
	t.Helper()
	testenv.RequireKernel(t)
	spec, err := newSpec(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return watchSpec(t, cfg, spec)
}

// on is the watcher for a subtest.
func (w *watcher) on(t *testing.T) *watcher { return &watcher{w.Kernel, t, map[Number]bool{}} }

// scan looks for edges whose announcements were lost.
func (w *watcher) scan() {
	w.t.Helper()
	for n, err := range w.Living() {
		if err != nil {
			w.t.Fatal(err)
		}
		w.numbers[n] = true
	}
}

func (w *watcher) poll() {
	w.t.Helper()
	for n, err := range w.NewEdges() {
		if err != nil {
			w.t.Fatal(err)
		}
		w.numbers[n] = true
	}
}

type observed struct {
	Edge
	Counters
	Turned
}

// edgesOf gives the edges of a cgroup.
func (w *watcher) edgesOf(cgroup uint64) []observed {
	w.t.Helper()
	w.poll()
	var out []observed
	for n := range w.numbers {
		e, ok, err := w.Edge(n)
		if err != nil {
			w.t.Fatal(err)
		}
		if !ok || e.Cgroup != cgroup {
			continue
		}
		c, err := w.Kernel.Counters(n)
		if err != nil {
			w.t.Fatal(err)
		}
		t, err := w.Kernel.Turned(n)
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, observed{e, c, t})
	}
	return out
}

// lines says what a child's edges are, in order. What is as expected of all of them is left out: that the child's own executable made it.
func (w *watcher) lines(c *child) []string {
	w.t.Helper()
	var out []string
	for _, e := range w.edgesOf(c.cgroup.ID()) {
		line := describe(e)
		path, named := w.ExecutablePath(e.Process.File)
		switch {
		case e.Process.File == 0:
			line += " by ?"
		case !named:
			line += " by a file without name"
		case path != executable(w.t):
			line += " by " + filepath.Base(path)
		case e.Process.TGID != c.pid():
			line += fmt.Sprintf(" by process %d", e.Process.TGID)
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

func describe(e observed) string {
	direction, protocol := "out", fmt.Sprint(e.Protocol)
	if e.Inbound {
		direction = "in"
	}
	switch e.Protocol {
	case unix.IPPROTO_TCP:
		protocol = "tcp"
	case unix.IPPROTO_UDP:
		protocol = "udp"
	}
	peer := fmt.Sprint(e.Address, " ", e.Port)
	if e.Overflow {
		peer = "overflow"
	}
	line := fmt.Sprintf("%s %s %s:", direction, protocol, peer)
	for _, n := range []struct {
		name  string
		value uint64
	}{{"opened", e.Opened}, {"inherited", e.Inherited}, {"failed", e.Failed}, {"closed", e.Closed}, {"sent", e.Sent}, {"received", e.Received}} {
		if n.value > 0 {
			line += fmt.Sprintf(" %s=%d", n.name, n.value)
		}
	}
	if e.Error != 0 {
		line += " " + unix.ErrnoName(e.Error)
	}
	if e.Dialled.IsValid() {
		line += fmt.Sprint(" dialled ", e.Dialled)
	}
	if e.Local.IsValid() {
		line += fmt.Sprint(" from ", e.Local)
	}
	return line
}

// expect waits until a child's edges are as wanted: the last of a connection may happen after the process is gone.
func (w *watcher) expect(c *child, want ...string) {
	w.t.Helper()
	want = slices.Clone(want)
	slices.Sort(want)
	var got []string
	if !eventually(func() bool {
		got = w.lines(c)
		return slices.Equal(got, want)
	}) {
		w.t.Fatalf("edges are\n\t%s\nwant\n\t%s\nlosses: %v", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"), w.losses())
	}
}

func (w *watcher) losses() map[string]uint64 {
	w.t.Helper()
	l, err := w.Losses()
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// run plays scenarios one after the other and compares every edge.
func (w *watcher) run(t *testing.T, scenarios []scenario) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			w := w.on(t)
			c := start(t, s.name)
			port := c.end()
			want := slices.Clone(s.want)
			for i := range want {
				want[i] = strings.ReplaceAll(want[i], "PORT", port)
			}
			w.expect(c, want...)
		})
	}
}

// eventually asks until the answer is yes, for a few seconds.
func eventually(yes func() bool) bool {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if yes() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}
