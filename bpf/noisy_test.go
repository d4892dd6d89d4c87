package bpf

import "testing"

// A cgroup that makes edges without end leaves room for the others: for edges that they have, and for new ones. What it makes above
// its quota is counted as its own.
func TestKernelNoisyCgroup(t *testing.T) {
	w := watch(t, testConfig(t))
	quiet, noisy := start(t, "on demand"), start(t, "on demand")
	const quota, last = 4096, 20_000
	var want []string
	for port := 1; port <= 20; port++ {
		want = append(want, refusedAt(port, 2))
	}
	quiet.do("refuse", 1, 20, 1)
	noisy.do("refuse", 1, last, 1)
	quiet.do("refuse", 1, 20, 1)
	for port := 100; port < 200; port++ {
		want = append(want, refusedAt(port, 1))
	}
	quiet.do("refuse", 100, 199, 1)
	quiet.end()
	noisy.end()
	w.expect(quiet, want...)

	edges, overflow, opened := w.edgesOf(noisy.cgroup.ID()), uint64(0), uint64(0)
	for _, e := range edges {
		opened += e.Opened
		if e.Overflow {
			overflow += e.Opened
		}
	}
	if len(edges) != quota+1 || opened != last || overflow != last-quota {
		t.Errorf("the noisy cgroup has %d edges, %d connections, %d of them above its quota; want %d, %d and %d", len(edges), opened, overflow, quota+1, last, last-quota)
	}
	losses := w.losses()
	if losses["edges-full"] != 0 || losses["edge-quota"] < last-quota {
		t.Errorf("%d connections found no room, %d were above their quota, want none and %d", losses["edges-full"], losses["edge-quota"], last-quota)
	}
}
