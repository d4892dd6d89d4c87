package bpf

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// without does something while a program is not attached, as if the kernel had skipped it.
func (w *watcher) without(program string, do func()) {
	w.t.Helper()
	want, err := w.collection.Programs[program].Info()
	if err != nil {
		w.t.Fatal(err)
	}
	id, _ := want.ID()
	for i, l := range w.links {
		info, err := l.Info()
		if err != nil {
			w.t.Fatal(err)
		}
		if ebpf.ProgramID(info.Program) != id {
			continue
		}
		if err := l.Close(); err != nil {
			w.t.Fatal(err)
		}
		do()
		for _, h := range hooks {
			if h.program == program {
				if w.links[i], err = h.attach(w.collection.Programs[program], w.cfg); err != nil {
					w.t.Fatal(err)
				}
			}
		}
		return
	}
	w.t.Fatalf("%s is not attached", program)
}

// A begin that the kernel skipped is made up for as soon as the connection moves on, if no other connection took the place of its word meanwhile.
func TestKernelSkippedBegin(t *testing.T) {
	w := watch(t, testConfig(t))
	f := func(name, move, errno string, want, late []string) {
		t.Run(name, func(t *testing.T) {
			for range 10 {
				w := w.on(t)
				c := start(t, "on demand")
				c.do("listen-short", 1000)
				w.without("tcp_state", func() { c.do("begin", 1000) })
				if e := c.do(move, 1000); e != errno {
					t.Fatalf("connect: errno %s", e)
				}
				slices.Sort(want)
				slices.Sort(late)
				if w.expectEither(c, want, late) {
					c.end()
					return
				}
				c.end()
			}
			t.Fatal("other connections of this machine took the place each time")
		})
	}
	// The other connection is the one that filled the queue: it was not seen to begin, either, but had done so.
	f("established", "room", "0",
		[]string{"out tcp 127.0.0.1 1000: opened=1", "out tcp 127.0.0.1 1000: closed=1 by ?", "in tcp 127.0.0.1 1000: opened=1 closed=1"},
		[]string{"out tcp 127.0.0.1 1000: closed=1 by ?", "in tcp 127.0.0.1 1000: opened=1 closed=1"})
	refused := fmt.Sprint(int(unix.ECONNREFUSED))
	f("refused", "leave", refused,
		[]string{"out tcp 127.0.0.1 1000: opened=1 failed=1 ECONNREFUSED", "out tcp 127.0.0.1 1000: closed=1 by ?", "in tcp 127.0.0.1 1000: closed=1"},
		[]string{"out tcp 127.0.0.1 1000: failed=1 closed=1 ECONNREFUSED by ?", "in tcp 127.0.0.1 1000: closed=1"})
	if _, err := w.Census(); err != nil { // from now on none is older than we are
		t.Fatal(err)
	}
	f("told at the end", "leave", refused,
		[]string{"out tcp 127.0.0.1 1000: opened=1 failed=1 ECONNREFUSED", "out tcp 127.0.0.1 1000: opened=1 closed=1 by ?", "in tcp 127.0.0.1 1000: opened=1 closed=1"},
		[]string{"out tcp 127.0.0.1 1000: opened=2 failed=1 closed=1 ECONNREFUSED by ?", "in tcp 127.0.0.1 1000: opened=1 closed=1"})
}

// expectEither waits for one of two outcomes, and says whether it was the first.
func (w *watcher) expectEither(c *child, first, second []string) bool {
	w.t.Helper()
	var got []string
	if !eventually(func() bool {
		got = w.lines(c)
		return slices.Equal(got, first) || slices.Equal(got, second)
	}) {
		w.t.Fatalf("edges are\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(first, "\n\t"))
	}
	return slices.Equal(got, first)
}
