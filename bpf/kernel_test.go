package bpf

import (
	"errors"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

func TestKernelTakesEveryHook(t *testing.T) {
	w := watch(t, testConfig(t))
	for _, m := range w.Missing() {
		t.Errorf("%s (%s): %v", m.Name, m.Purpose, m.Err)
	}
	status := Probe()
	if len(status) != len(hooks) {
		t.Errorf("%d hooks were probed, want %d", len(status), len(hooks))
	}
	for _, s := range status {
		if s.Err != nil {
			t.Errorf("probe %s: %+v", s.Name, s.Err)
		}
	}
}

// What the kernel refuses is left out, with the reason; the rest works.
func TestKernelLeavesOutWhatIsRefused(t *testing.T) {
	cfg := testConfig(t)
	spec, err := newSpec(cfg)
	if err != nil {
		t.Fatal(err)
	}
	spec.Programs["packet_out"].AttachTo, spec.Programs["packet_out"].Type = "no_such_function", ebpf.Tracing
	w := watchSpec(t, cfg, spec)
	missing := w.Missing()
	if len(missing) != 1 || missing[0].Name != "cgroup_skb/egress" || missing[0].Err == nil {
		t.Fatalf("missing are %v", missing)
	}
	c := start(t, "nobody listens")
	c.end()
	w.expect(c, refusedAt(1, 1))
}

func TestKernelNeedsTCP(t *testing.T) {
	cfg := testConfig(t)
	spec, err := newSpec(cfg)
	if err != nil {
		t.Fatal(err)
	}
	spec.Programs["tcp_state"].AttachTo = "no_such_tracepoint"
	before := bpfFiles(t)
	k, err := load(spec, cfg)
	if err == nil {
		k.Close()
		t.Fatal("it loads without TCP")
	}
	if !strings.HasPrefix(err.Error(), "load tp_btf/inet_sock_set_state: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error is %q", err)
	}
	if after := bpfFiles(t); after != before {
		t.Errorf("%d files of the kernel side are open, %d before", after, before)
	}
}

// Two agents on a machine do not disturb each other.
func TestKernelTwice(t *testing.T) {
	cfg := testConfig(t)
	one, two := watch(t, cfg), watch(t, cfg)
	c := start(t, "client closes first")
	c.end()
	for _, w := range []*watcher{one, two} {
		w.expect(c,
			"out tcp 127.0.0.1 1000: opened=1 closed=1 sent=1000 received=5000",
			"in tcp 127.0.0.1 1000: opened=1 closed=1 sent=5000 received=1000",
		)
	}
}

func TestKernelClose(t *testing.T) {
	cfg := testConfig(t)
	before := bpfFiles(t)
	k, err := Load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var programs []ebpf.ProgramID
	for _, p := range k.collection.Programs {
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, ok := info.ID()
		if !ok {
			t.Fatal("a program without ID")
		}
		programs = append(programs, id)
	}
	var links []link.ID
	for _, l := range k.links {
		info, err := l.Info()
		if err != nil {
			t.Fatal(err)
		}
		links = append(links, info.ID)
	}
	if len(programs) != len(hooks) || len(links) != len(hooks)-2-len(k.waiting) {
		t.Errorf("%d programs and %d links for %d hooks, of which %d wait", len(programs), len(links), len(hooks), len(k.waiting))
	}
	for range 2 {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, id := range programs {
		if !eventually(func() bool { // the kernel frees a program after those that may run it
			p, err := ebpf.NewProgramFromID(id)
			if err == nil {
				p.Close()
			}
			return errors.Is(err, os.ErrNotExist)
		}) {
			t.Errorf("program %d is still loaded", id)
		}
	}
	for _, id := range links {
		if !eventually(func() bool {
			l, err := link.NewFromID(id)
			if err == nil {
				l.Close()
			}
			return errors.Is(err, os.ErrNotExist)
		}) {
			t.Errorf("link %d is still attached", id)
		}
	}
	if after := bpfFiles(t); after != before {
		t.Errorf("%d files of the kernel side are open, %d before", after, before)
	}
	k = nil
	if !eventually(func() bool {
		runtime.GC() // unmaps
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return !strings.Contains(string(maps), "bpf-map")
	}) {
		t.Error("maps of the kernel side are still mapped")
	}
}

func TestKernelFailedStart(t *testing.T) {
	cfg := testConfig(t)
	spec, err := newSpec(cfg)
	if err != nil {
		t.Fatal(err)
	}
	spec.Maps["unused"].MaxEntries = 10 // the start fails halfway
	before := bpfFiles(t)
	k, err := load(spec, cfg)
	if err == nil {
		k.Close()
		t.Fatal("it starts with room for ten numbers")
	}
	if !strings.HasPrefix(err.Error(), "give edge 10 to the kernel: ") {
		t.Errorf("error is %q", err)
	}
	if after := bpfFiles(t); after != before {
		t.Errorf("%d files of the kernel side are open, %d before", after, before)
	}
}

// bpfFiles counts what this process holds of the kernel side: programs, maps, links, and what waits for a ring.
func bpfFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		to, err := os.Readlink("/proc/self/fd/" + f.Name())
		if err == nil && (strings.Contains(to, "bpf") || strings.Contains(to, "eventpoll") || strings.Contains(to, "eventfd")) {
			n++
		}
	}
	return n
}

func TestKernelTick(t *testing.T) {
	w := watch(t, testConfig(t))
	c := start(t, "on demand")
	c.do("refuse", 1, 1, 1)
	e := w.edgesOf(c.cgroup.ID())[0]
	now, err := Monotonic()
	if err != nil {
		t.Fatal(err)
	}
	if e.FirstMonotonic > now || e.FirstMonotonic < now-time.Minute {
		t.Errorf("the edge is of %v, now is %v", e.FirstMonotonic, now)
	}
	if err := w.Tick(); err != nil {
		t.Fatal(err)
	}
	c.do("refuse", 1, 1, 1)
	c.end()
	if e := w.edgesOf(c.cgroup.ID())[0]; e.Last < now {
		t.Errorf("the edge was last used at %v, before the tick at %v", e.Last, now)
	}
}

// The kernel side must fit the kernel's limits with room: it verifies a million instructions of a program at most. What is said here is held against
// verifier.txt by make test-kernels.
func TestKernelProgramSizes(t *testing.T) {
	spec, err := newSpec(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	programSizes(t, spec, hooks)
}

func programSizes(t *testing.T, spec *ebpf.CollectionSpec, hooks []hook) {
	t.Helper()
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, h := range hooks {
		log := c.Programs[h.program].VerifierLog
		m := verified.FindStringSubmatch(log)
		if m == nil {
			t.Errorf("%s: the verifier does not tell what it did: %q", h.program, log)
			continue
		}
		t.Logf("verified %s: %s instructions, %s states", h.program, m[1], m[2])
		if n, err := strconv.Atoi(m[1]); err != nil || n > 100_000 {
			t.Errorf("%s: %s instructions were verified", h.program, m[1])
		}
	}
}

var verified = regexp.MustCompile(`processed (\d+) insns .*total_states (\d+)`)
