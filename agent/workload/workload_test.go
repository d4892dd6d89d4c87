package workload

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/ambit-nhi/ambit/event"
)

func testResolver(t testing.TB, cfg Config) *Resolver {
	t.Helper()
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	cfg.TrustDomain, cfg.Node = td, "n1"
	if cfg.CgroupRoot == "" {
		cfg.CgroupRoot = t.TempDir()
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// named are the names that the kernel side would know.
type named map[uint64]string

func (n named) CgroupPath(id uint64) (string, bool) { path, ok := n[id]; return path, ok }

func TestResolve(t *testing.T) {
	r := testResolver(t, Config{Names: named{
		1: "/",
		2: "/system.slice/nginx.service",
		3: "/box/0a1b",
		4: "/user.slice/user-1000.slice/session-3.scope",
		5: "/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service",
		6: "/bad\xff name",
	}})
	f := func(cgroup uint64, p Process, want event.Workload) {
		t.Helper()
		for range 2 { // asked and kept
			if got := *r.Resolve(cgroup, p); got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		}
	}
	id := func(path string) event.Identity {
		t.Helper()
		id, err := event.ParseIdentity("spiffe://shop.example/node/n1/" + path)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	f(1, Process{TGID: 7, UID: 1000, Executable: "/usr/bin/curl", Interactive: true}, event.Workload{
		Identity: id("uid/1000/exe/curl"), Evidence: event.EvidenceProcess, Executable: "/usr/bin/curl", UID: 1000, Interactive: true, Cgroup: "/"})
	f(1, Process{}, event.Workload{Identity: id("cgroup"), Evidence: event.EvidenceCgroup, Cgroup: "/", Unattributed: event.UnattributedProcess})
	f(1, Process{TGID: 2}, event.Workload{Identity: id("uid/0/exe/unknown"), Evidence: event.EvidenceProcess, Cgroup: "/"})
	f(4, Process{}, event.Workload{
		Identity: id("cgroup/user.slice/user-1000.slice/session-3.scope"), Evidence: event.EvidenceCgroup, Cgroup: "/user.slice/user-1000.slice/session-3.scope",
		Unattributed: event.UnattributedProcess})
	f(2, Process{UID: 33, Executable: "/usr/sbin/nginx"}, event.Workload{
		Identity: id("unit/nginx.service"), Evidence: event.EvidenceSystemd, Unit: "nginx.service", Executable: "/usr/sbin/nginx", UID: 33, Cgroup: "/system.slice/nginx.service"})
	f(3, Process{Executable: "/app"}, event.Workload{
		Identity: id("cgroup/box/0a1b"), Evidence: event.EvidenceCgroup, Executable: "/app", Cgroup: "/box/0a1b"})
	f(4, Process{UID: 1000, Executable: "/usr/bin/psql"}, event.Workload{
		Identity: id("uid/1000/exe/psql"), Evidence: event.EvidenceProcess, Executable: "/usr/bin/psql", UID: 1000, Cgroup: "/user.slice/user-1000.slice/session-3.scope"})
	f(99, Process{Executable: "/app"}, event.Workload{Identity: id("cgroup/unknown/99"), Evidence: event.EvidenceCgroup, Executable: "/app", Unattributed: event.UnattributedCgroup})

	if got := r.Resolve(5, Process{}); got.Identity == id("unit/nginx.service") || got.Unit != "user@1000.service/nginx.service" || got.Evidence != event.EvidenceSystemd {
		t.Errorf("user's unit: %+v", got)
	}
	if got := r.Resolve(6, Process{Executable: strings.Repeat("/x\xff", 2000)}); !utf8.ValidString(got.Cgroup) || !utf8.ValidString(got.Executable) || len(got.Executable) > 4*maxText {
		t.Errorf("names are not fit to travel: %+v", got)
	}
	red, bell := r.Resolve(1, Process{Executable: "/tmp/\x1b[31m"}), r.Resolve(1, Process{Executable: "/tmp/\x07[31m"})
	if red.Executable != "/tmp/\uFFFD[31m" || bell.Executable != red.Executable || bell.Identity == red.Identity {
		t.Errorf("names that steer terminals: %+v and %+v", red, bell)
	}
	if n := r.Counters()["cgroup-name-unknown"]; n != 1 {
		t.Errorf("unknown cgroups: %d, want 1", n)
	}
}

// sourceFunc is a source of the kind that comes with Kubernetes.
type sourceFunc func(c Cgroup, p Process) (event.Workload, bool)

func (f sourceFunc) Workload(c Cgroup, p Process) (event.Workload, bool) { return f(c, p) }
func (f sourceFunc) Generation() uint64                                  { return 0 }

func TestSourcesAreAskedFirst(t *testing.T) {
	r := testResolver(t, Config{
		Names: named{1: "/kubepods/pod1/0a1b", 2: "/system.slice/nginx.service"},
		Sources: []Source{sourceFunc(func(c Cgroup, p Process) (event.Workload, bool) {
			td, _ := event.ParseTrustDomain("shop.example")
			return event.Workload{Identity: event.KubernetesIdentity(td, "shop", "checkout"), Evidence: event.EvidenceKubernetes},
				strings.HasPrefix(c.Path, "/kubepods/")
		})},
	})
	if w := r.Resolve(1, Process{}); w.Evidence != event.EvidenceKubernetes || w.Cgroup != "/kubepods/pod1/0a1b" {
		t.Errorf("pod: %+v", w)
	}
	if w := r.Resolve(2, Process{}); w.Evidence != event.EvidenceSystemd {
		t.Errorf("unit: %+v", w)
	}
}

func TestNew(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("no error without trust domain")
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func TestScan(t *testing.T) {
	root, elsewhere := t.TempDir(), t.TempDir()
	mkdir := func(path string) uint64 {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(root, path), 0o755); err != nil {
			t.Fatal(err)
		}
		return inode(t, filepath.Join(root, path))
	}
	synctest.Test(t, func(t *testing.T) {
		first := mkdir("a/b")
		r := testResolver(t, Config{CgroupRoot: root})
		if err := r.Scan(); err != nil {
			t.Fatal(err)
		}
		// Moved, not removed: an ordinary file system would use its inode again, cgroups never do.
		if err := os.Rename(filepath.Join(root, "a"), filepath.Join(elsewhere, "a")); err != nil {
			t.Fatal(err)
		}
		second := mkdir("c")
		f := func(id uint64, want string) {
			t.Helper()
			if w := r.Resolve(id, Process{}); w.Cgroup != want {
				t.Errorf("cgroup %d is %q, want %q", id, w.Cgroup, want)
			}
		}
		f(inode(t, root), "/")
		f(first, "/a/b") // gone, but known
		f(second, "")    // scanned a moment ago
		time.Sleep(askAgain)
		f(second, "/c") // found, though it was unknown a moment ago
		if n := r.Counters()["cgroup-name-unknown"]; n != 1 {
			t.Errorf("unknown cgroups: %d, want 1", n)
		}
	})
}

func TestBounds(t *testing.T) {
	names := named{}
	for id := range uint64(100) {
		names[id] = "/box"
	}
	r := testResolver(t, Config{Names: names, MaxCgroups: 10, MaxWorkloads: 10})
	for id := range uint64(100) {
		r.Resolve(id, Process{})
	}
	if n := r.paths.known.Len() + r.workloads.Len(); n != 20 {
		t.Errorf("%d entries are kept, want 20", n)
	}
}

func TestRepeatedQuestionsDoNotAllocate(t *testing.T) {
	r := testResolver(t, Config{Names: named{2: "/system.slice/nginx.service"}})
	p := Process{TGID: 1, UID: 33, Executable: "/usr/sbin/nginx"}
	first := r.Resolve(2, p)
	if n := testing.AllocsPerRun(100, func() { r.Resolve(2, p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if again := r.Resolve(2, p); again != first {
		t.Error("the same workload is kept twice")
	}
}

func BenchmarkResolve(b *testing.B) {
	r := testResolver(b, Config{Names: named{2: "/system.slice/nginx.service"}})
	p := Process{TGID: 1, UID: 33, Executable: "/usr/sbin/nginx"}
	b.ReportAllocs()
	for b.Loop() {
		r.Resolve(2, p)
	}
}
