package workload

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func realPath(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKernelRunning(t *testing.T) {
	testenv.RequireKernel(t)
	service := testenv.Cgroup(t, "ambit-running.slice/one-*.service")
	mixed := testenv.Cgroup(t, "ambit-running.slice/two-*.service")
	session := testenv.Cgroup(t, "ambit-running.slice/session-*.scope")
	empty := testenv.Cgroup(t, "ambit-running.slice/empty-*.service")
	sleep, cat := realPath(t, "sleep"), realPath(t, "cat")
	start := func(c *testenv.TestCgroup, name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		if _, err := cmd.StdinPipe(); err != nil { // keeps cat waiting
			t.Fatal(err)
		}
		c.Start(cmd)
	}
	start(service, sleep, "1000")
	start(service, sleep, "1001")
	start(mixed, sleep, "1000")
	start(mixed, cat)
	start(session, sleep, "1000")
	start(session, cat)

	td, _ := event.ParseTrustDomain("shop.example")
	r, err := New(Config{TrustDomain: td, Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Running(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	executables := map[string][]string{}
	for _, w := range got {
		executables[w.Cgroup] = append(executables[w.Cgroup], w.Executable)
		if w.Cgroup == service.Path() && (w.Evidence != event.EvidenceSystemd || "/ambit-running.slice/"+w.Unit != service.Path()) {
			t.Errorf("service: %+v", w)
		}
		if w.Cgroup == session.Path() && w.Evidence != event.EvidenceProcess {
			t.Errorf("session: %+v", w)
		}
	}
	f := func(c *testenv.TestCgroup, want ...string) {
		t.Helper()
		if got := executables[c.Path()]; strings.Join(got, " ") != strings.Join(want, " ") || len(got) != len(want) {
			t.Errorf("%s runs %q, want %q", c.Path(), got, want)
		}
	}
	f(service, sleep)
	f(mixed, "")
	f(session, sleep, cat)
	f(empty)
	if own, _ := os.Executable(); !strings.Contains(strings.Join(executables["/"], " "), own) {
		t.Logf("this test is not in the root cgroup: %q", executables["/"])
	}
	if again, err := r.Running(t.Context()); err != nil || len(again) < len(executables) {
		t.Errorf("second time: %d workloads, %v", len(again), err)
	}

	bounded, err := New(Config{TrustDomain: td, Node: "n1", MaxRunning: 2})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := bounded.Running(t.Context()); err != nil || len(got) != 2 || bounded.Counters()["sighting-overflow"] == 0 {
		t.Errorf("bounded: %d workloads, %v, %v", len(got), err, bounded.Counters())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Running(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestKernelRunningPods(t *testing.T) {
	testenv.RequireKernel(t)
	base := "ambit-running-pods-" + strconv.Itoa(os.Getpid())
	first := testenv.Cgroup(t, fill(base+"/kubepods/burstable/pod<U>/<X>"))
	second := testenv.Cgroup(t, fill(base+"/kubepods.slice/kubepods-pod<v>.slice/cri-containerd-<Y>.scope"))
	unknown := testenv.Cgroup(t, base+"/kubepods/besteffort/pod5/"+idA)
	sleep := realPath(t, "sleep")
	for _, c := range []*testenv.TestCgroup{first, second, second, unknown} {
		c.Start(exec.Command(sleep, "1000"))
	}
	k := testKubernetes(t, KubernetesConfig{})
	k.ReplacePods([]Pod{testPod(uidA, "a", PodContainer{Name: "server", ID: idA}), testPod(uidB, "b")})
	r, err := New(Config{TrustDomain: k.cfg.TrustDomain, Node: "n1", Sources: []Source{k}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Running(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string][]event.Workload{}
	for _, w := range got {
		seen[w.Cgroup] = append(seen[w.Cgroup], w)
	}
	f := func(c *testenv.TestCgroup, want event.Workload) {
		t.Helper()
		want.Cgroup, want.Executable = c.Path(), sleep
		if got := seen[c.Path()]; len(got) != 1 || got[0] != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	pod := func(account, container string) event.Workload {
		return event.Workload{
			Identity: event.KubernetesIdentity(k.cfg.TrustDomain, "shop", account), Evidence: event.EvidenceKubernetes, Namespace: "shop", Pod: account + "-7c9f",
			Container: container, ServiceAccount: account, Owner: "Deployment/" + account,
		}
	}
	f(first, pod("a", "server"))
	f(second, pod("b", ""))
	f(unknown, event.Workload{
		Identity: event.CgroupIdentity(k.cfg.TrustDomain, "n1", unknown.Path()), Evidence: event.EvidenceCgroup, Unattributed: event.UnattributedPod,
	})
}

func TestProcReaders(t *testing.T) {
	if uid := realUser([]byte("Name:\tx\nUmask:\t0022\nUid:\t1000\t0\t0\t0\nGid:\t1\n")); uid != 1000 {
		t.Errorf("uid %d", uid)
	}
	f := func(stat string, want bool) {
		t.Helper()
		if got := hasTerminal([]byte(stat)); got != want {
			t.Errorf("hasTerminal(%q) = %v", stat, got)
		}
	}
	f("7 (sh) S 1 7 7 34816 7 4194304", true)
	f("7 (a ) 1 2 (x) S 1 7 7 0 -1 4194304", false)
	f("", false)
}

func BenchmarkRunning(b *testing.B) {
	td, _ := event.ParseTrustDomain("shop.example")
	r, err := New(Config{TrustDomain: td, Node: "n1"})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		got, err := r.Running(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(got)), "workloads")
	}
}
