package bpf

import (
	"os/exec"
	"strings"
	"testing"
)

// Sockets that are older than the agent, in our network namespace and in another.
func TestKernelInventory(t *testing.T) {
	cfg := testConfig(t)
	children := map[string]*child{
		"own network namespace":   start(t, "on demand", shared),
		"other network namespace": start(t, "on demand"),
	}
	ports, udp := map[*child]string{}, map[*child]string{}
	for _, c := range children {
		port := c.do("listen", 0)
		ports[c], udp[c] = port, c.do("serve", 0)
		c.do("open", port)
		c.do("open", port)
		c.do("open6", port)
		c.do("say", port, 100, 200)
	}
	w := watch(t, cfg)
	for name, c := range children {
		t.Run(name, func(t *testing.T) {
			w := w.on(t)
			w.scan() // the other subtest may have read the ring
			expect := func(lines ...string) {
				t.Helper()
				for i := range lines {
					lines[i] = strings.NewReplacer("PORT", ports[c], "SERVICE", udp[c]).Replace(lines[i])
				}
				w.expect(c, lines...)
			}
			expect(
				"out tcp 127.0.0.1 PORT: inherited=2",
				"in tcp 127.0.0.1 PORT: inherited=2",
				"out tcp ::1 PORT: inherited=1",
				"in tcp ::1 PORT: inherited=1",
			)
			c.do("say", ports[c], 10, 20)
			c.do("open", ports[c])
			c.do("datagram", udp[c], 50)
			c.do("close", ports[c])
			c.end()
			expect(
				"out tcp 127.0.0.1 PORT: opened=1 inherited=2 closed=3 sent=220 received=440",
				"in tcp 127.0.0.1 PORT: opened=1 inherited=2 closed=3 sent=440 received=220",
				"out tcp ::1 PORT: inherited=1 closed=1 sent=110 received=220",
				"in tcp ::1 PORT: inherited=1 closed=1 sent=220 received=110",
				"out udp 127.0.0.1 SERVICE: opened=1 sent=50",
				"in udp 127.0.0.1 SERVICE: opened=1 received=50", // its process from the inventory
			)
		})
	}
}

// Without the inventory the end of a connection still counts, without who made it.
func TestKernelWithoutInventory(t *testing.T) {
	cfg := testConfig(t)
	c := start(t, "on demand")
	c.do("listen", 1000)
	c.do("open", 1000)
	c.do("say", 1000, 100, 200)
	spec, err := newSpec(cfg)
	if err != nil {
		t.Fatal(err)
	}
	delete(spec.Programs, "open_sockets")
	w := watchSpec(t, cfg, spec)
	c.do("close", 1000)
	c.end()
	w.expect(c,
		"out tcp 127.0.0.1 1000: closed=1 sent=100 received=200 by ?",
		"in tcp 127.0.0.1 1000: closed=1 sent=200 received=100 by ?",
	)
	if n := w.losses()["tag-lost"]; n < 2 {
		t.Errorf("%d connections were counted as without tag, want 2", n)
	}
	if open, err := w.Census(); err != nil || len(open) > 0 {
		t.Errorf("a census without its program gives %v, %v", open, err)
	}
}

func TestKernelCensus(t *testing.T) {
	w := watch(t, testConfig(t))
	if _, err := exec.LookPath("cat"); err != nil {
		t.Fatal(err)
	}
	c := start(t, "on demand")
	c.do("listen", 1000)
	for range 3 {
		c.do("open", 1000)
	}
	c.do("share", 1000)
	census := func(want uint64) {
		t.Helper()
		open, err := w.Census()
		if err != nil {
			t.Fatal(err)
		}
		edges := w.edgesOf(c.cgroup.ID())
		if len(edges) != 2 {
			t.Fatalf("%d edges, want two", len(edges))
		}
		for _, e := range edges {
			if open[e.Number] != want || e.Open() != want {
				t.Errorf("%s: %d sockets are open, and %d by the counters, want %d", describe(e), open[e.Number], e.Open(), want)
			}
			if e.Inherited > 0 {
				t.Errorf("%s: a census took known sockets for inherited ones", describe(e))
			}
		}
	}
	census(3)
	c.do("unshare")
	c.do("close", 1000)
	w.expect(c, "out tcp 127.0.0.1 1000: opened=3 closed=3", "in tcp 127.0.0.1 1000: opened=3 closed=3")
	census(0)
	c.end()
}
