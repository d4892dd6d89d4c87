package tlsprobe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/bpf"
)

// attachment is what a recorder was asked to attach to.
type attachment struct {
	at     time.Time
	target bpf.Target
	inode  uint64
	size   int64
	closed bool
}

// recorder takes the place of the kernel's probes.
type recorder struct {
	mu  sync.Mutex
	all []*attachment
}

func (r *recorder) attach(path string, target bpf.Target) (io.Closer, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := &attachment{at: time.Now(), target: target, inode: st.Ino, size: st.Size}
	r.all = append(r.all, a)
	return closer(func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if a.closed {
			return errors.New("closed twice")
		}
		a.closed = true
		return nil
	}), nil
}

type closer func() error

func (c closer) Close() error { return c() }

// of gives what was attached to a file, until now.
func (r *recorder) of(inode uint64) (some []attachment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.all {
		if a.inode == inode {
			some = append(some, *a)
		}
	}
	return some
}

// open says how many are attached to files of some inodes.
func (r *recorder) open(inodes ...uint64) (n int) {
	for _, inode := range inodes {
		for _, a := range r.of(inode) {
			if !a.closed {
				n++
			}
		}
	}
	return n
}

func requireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		required(t, "needs root, to see the mappings of other processes")
	}
}

// quick is a Config that does not wait long for anything.
func quick(r *recorder) Config {
	cfg := Default()
	cfg.Attach = r.attach
	cfg.Delay, cfg.Interval, cfg.Linger = 50*time.Millisecond, 300*time.Millisecond, 0
	cfg.Attaches, cfg.Burst = 1000, 1000
	return cfg
}

// run starts a Finder and ends it with the test, when nothing may be attached any more.
func run(t testing.TB, cfg Config, r *recorder) *Finder {
	t.Helper()
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, a := range r.all {
			if !a.closed {
				t.Errorf("target %d is still attached", a.target.Number)
			}
		}
		if after := descriptors(t); after > before {
			t.Errorf("%d descriptors are open, %d were", after, before)
		}
		if t.Failed() {
			t.Logf("missing: %q, counters: %v, gauges: %v", f.Missing(), f.Counters(), f.Gauges())
		}
	})
	waitFor(t, "the first look through processes", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.rounds > 0
	})
	return f
}

func descriptors(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range names {
		to, err := os.Readlink("/proc/self/fd/" + name.Name())
		if err == nil && !strings.HasPrefix(to, "pipe:") { // those are of commands that end by and by
			n++
		}
	}
	return n
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not come", what)
		}
	}
}

func copyFile(t testing.TB, from, to string) (inode uint64) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return inodeOf(t, to)
}

func inodeOf(t testing.TB, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// tree is a root file system with openssl and all it needs.
type tree struct {
	root              string
	libssl, libcrypto string
}

func newTree(t testing.TB, root string) *tree {
	t.Helper()
	x := &tree{root: root}
	copyFile(t, program(t, "openssl"), root+"/bin/openssl")
	out, err := exec.Command("ldd", root+"/bin/openssl").Output()
	if err != nil {
		t.Fatalf("ldd: %v", err)
	}
	for _, word := range strings.Fields(string(out)) {
		if !strings.HasPrefix(word, "/") {
			continue
		}
		to := root + "/lib/" + filepath.Base(word)
		if strings.HasPrefix(filepath.Base(word), "ld-linux") {
			to = root + word
		}
		copyFile(t, word, to)
	}
	x.libssl, x.libcrypto = root+"/lib/libssl.so.3", root+"/lib/libcrypto.so.3"
	for _, path := range []string{x.libssl, x.libcrypto} {
		if _, err := os.Stat(path); err != nil {
			required(t, "openssl is not linked to %s", filepath.Base(path))
		}
	}
	return x
}

// start runs the tree's openssl until stop is called or the test ends. It has its libraries mapped when start returns.
func (x *tree) start(t testing.TB, contained bool) (pid int, stop func()) {
	t.Helper()
	cmd := exec.Command(x.root+"/bin/openssl", "enc", "-base64")
	cmd.Env = []string{"LD_LIBRARY_PATH=" + x.root + "/lib"}
	if contained {
		cmd = exec.Command("/bin/openssl", "enc", "-base64")
		cmd.Env = []string{"LD_LIBRARY_PATH=/lib"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: x.root, Cloneflags: syscall.CLONE_NEWNS}
		cmd.Dir = "/"
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	t.Cleanup(stop)
	// A whole line is written when enough was read: then all libraries are there.
	if _, err := in.Write(make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 64)); err != nil {
		t.Fatalf("openssl says nothing: %v", err)
	}
	return cmd.Process.Pid, stop
}

func TestKernelFinderLibraries(t *testing.T) {
	requireRoot(t)
	r := &recorder{}
	f := run(t, quick(r), r)
	if m := f.Missing(); slices.ContainsFunc(m, func(s string) bool { return strings.Contains(s, "no news") }) {
		t.Fatalf("%q", m)
	}
	x := newTree(t, t.TempDir())
	ssl, crypto := inodeOf(t, x.libssl), inodeOf(t, x.libcrypto)

	_, stop1 := x.start(t, false)
	waitFor(t, "the attachment to both libraries", func() bool { return r.open(ssl) == 1 && r.open(crypto) == 1 })
	_, stop2 := x.start(t, true) // the same files by other names
	lean, libcrypto := r.of(ssl)[0].target, r.of(crypto)[0].target
	if lean.Number == 0 || lean.Number == libcrypto.Number || len(lean.Callers) == 0 || len(libcrypto.Callers) != 0 {
		t.Errorf("targets %v, %v", lean, libcrypto)
	}
	for function := range lean.Functions {
		if dear[function] {
			t.Errorf("%v is attached at once", function)
		}
	}
	if got := lean.Functions[bpf.SSLDoHandshake]; !slices.Equal(got, []uint64{symbolOffset(t, x.libssl, "SSL_do_handshake")}) {
		t.Errorf("SSL_do_handshake at %x", got)
	}
	waitFor(t, "the version of libssl", func() bool {
		s := f.Stack(lean.Number)
		return strings.HasPrefix(s, "openssl-3.") && s == f.Stack(libcrypto.Number)
	})
	if f.Gauges()["tls-stack:"+f.Stack(lean.Number)] < 2 {
		t.Errorf("gauges %v", f.Gauges())
	}

	f.Unbound(lean.Number)
	waitFor(t, "the dear functions", func() bool { return r.open(ssl) == 2 && r.open(crypto) == 2 })
	more := r.of(ssl)[1].target
	if more.Number != lean.Number || len(more.Functions[bpf.SSLRead]) != 4 || len(more.Functions[bpf.SSLWrite]) != 2 || len(more.Functions) != 2 {
		t.Errorf("target %v", more)
	}
	if more := r.of(crypto)[1].target; len(more.Functions) != 1 || len(more.Functions[bpf.BIOWrite]) != 2 {
		t.Errorf("target %v", more)
	}
	f.Unbound(lean.Number)
	f.Unbound(1 << 31) // nobody's

	// A replaced library is another one, and the old one stays while somebody has it.
	if err := os.Remove(x.libssl); err != nil {
		t.Fatal(err)
	}
	next := copyFile(t, library(t, "libssl.so.3"), x.libssl)
	_, stop3 := x.start(t, false)
	waitFor(t, "the attachment to the new library", func() bool { return r.open(next) == 1 })
	stop1()
	stop2()
	waitFor(t, "the end of the old library", func() bool { return r.open(ssl) == 0 })
	if r.open(next) != 1 || r.open(crypto) != 2 {
		t.Error("a library that is in use was detached")
	}
	stop3()
	waitFor(t, "the end of the new library", func() bool { return r.open(next, crypto) == 0 })
	if f.Stack(lean.Number) != "" {
		t.Errorf("stack %s of a target that is no more", f.Stack(lean.Number))
	}
	if n := len(r.of(crypto)); n != 2 {
		t.Errorf("libcrypto was attached to %d times", n)
	}

	// Who comes again is attached to again.
	x.start(t, false)
	waitFor(t, "the attachment to a library that came back", func() bool { return r.open(next) == 1 })
}

// A process that stays wire-only has all of its libraries watched.
func TestKernelFinderBlind(t *testing.T) {
	requireRoot(t)
	r := &recorder{}
	f := run(t, quick(r), r)
	x := newTree(t, t.TempDir())
	pid, _ := x.start(t, true)
	ssl, crypto := inodeOf(t, x.libssl), inodeOf(t, x.libcrypto)
	waitFor(t, "the attachment", func() bool { return r.open(ssl) == 1 && r.open(crypto) == 1 })
	waitFor(t, "the dear functions", func() bool {
		f.Blind(uint32(pid))
		return r.open(ssl) == 2 && r.open(crypto) == 2
	})
}

// Two containers of one image run the same file of the kernel's, whatever their overlays call it.
func TestKernelFinderOverlay(t *testing.T) {
	requireRoot(t)
	dir := t.TempDir()
	lower := newTree(t, filepath.Join(dir, "lower"))
	r := &recorder{}
	run(t, quick(r), r)
	size := func() int64 { // of no other file
		b, err := os.OpenFile(lower.libssl, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if _, err := b.Write(make([]byte, 4096+os.Getpid()%4096)); err != nil {
			t.Fatal(err)
		}
		at, err := b.Seek(0, io.SeekEnd)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}()
	ssl := inodeOf(t, lower.libssl)
	var pids []int
	for i := range 2 {
		root := func(name string) string {
			path := filepath.Join(dir, fmt.Sprintf("%s%d", name, i))
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
			return path
		}
		merged := root("merged")
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower.root, root("upper"), root("work"))
		if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
			required(t, "overlayfs: %v", err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(merged, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		pid, _ := (&tree{root: merged}).start(t, true)
		pids = append(pids, pid)
	}
	attached := func() (n int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, a := range r.all {
			if a.inode == ssl && a.size == size {
				n++
			}
		}
		return n
	}
	waitFor(t, "the attachment", func() bool { return attached() > 0 })
	// A third container's own file comes after those of the others.
	x := newTree(t, filepath.Join(dir, "other"))
	x.start(t, true)
	waitFor(t, "the attachment to another file", func() bool { return r.open(inodeOf(t, x.libcrypto)) == 1 })
	if n := attached(); n != 1 {
		t.Errorf("attached %d times for processes %v", n, pids)
	}
}

// mapCopies maps code of files of this process's own, and gives their inodes.
func mapCopies(t testing.TB, from string, n int) (inodes []uint64) {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		path := filepath.Join(dir, fmt.Sprintf("lib%d.so", i))
		inodes = append(inodes, copyFile(t, from, path))
		mapFile(t, path)
	}
	return inodes
}

func mapFile(t testing.TB, path string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	b, err := unix.Mmap(int(file.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
}

// Two hundred new libraries at once are attached one after the other, at the rate that is set.
func TestKernelFinderRate(t *testing.T) {
	requireRoot(t)
	r := &recorder{}
	cfg := quick(r)
	cfg.Attaches, cfg.Burst = 100, 10
	run(t, cfg, r)
	inodes := mapCopies(t, library(t, "libssl.so.3"), 200)
	waitFor(t, "the attachment to all", func() bool { return r.open(inodes...) == len(inodes) })
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, a := range r.all {
		for j, b := range r.all[i+1:] {
			if d := b.at.Sub(a.at) + 20*time.Millisecond; float64(j+1) > float64(cfg.Burst)+cfg.Attaches*d.Seconds() {
				t.Fatalf("%d attachments in %v", j+2, d)
			}
		}
	}
}

// What does not fit is counted and told.
func TestKernelFinderFull(t *testing.T) {
	requireRoot(t)
	r := &recorder{}
	cfg := quick(r)
	cfg.MaxTargets = 3
	f := run(t, cfg, r)
	mapCopies(t, library(t, "libssl.so.3"), 10)
	waitFor(t, "what did not fit", func() bool { return f.Counters()[lostTargets] >= 7 })
	if n := f.Gauges()["tls-targets"]; n != 3 {
		t.Errorf("%d are attached", n)
	}
	if !slices.ContainsFunc(f.Missing(), func(s string) bool { return strings.Contains(s, "more than 3 programs") }) {
		t.Errorf("missing %q", f.Missing())
	}
}

// A library that is written into in its place is another one.
func TestKernelFinderWritten(t *testing.T) {
	requireRoot(t)
	r := &recorder{}
	cfg := quick(r)
	cfg.Recheck = time.Millisecond
	run(t, cfg, r)
	path := filepath.Join(t.TempDir(), "lib.so")
	inode := copyFile(t, library(t, "libssl.so.3"), path)
	mapFile(t, path)
	waitFor(t, "the attachment", func() bool { return r.open(inode) == 1 })
	if copyFile(t, library(t, "libcrypto.so.3"), path) != inode {
		t.Fatal("another inode")
	}
	waitFor(t, "the attachment to the new content", func() bool {
		all := r.of(inode)
		return len(all) > 1 && r.open(inode) == 1 && len(all[len(all)-1].target.Functions[bpf.D2IX509]) == 1
	})
}

// Where the kernel gives no news, looks through processes find files.
func TestKernelFinderScan(t *testing.T) {
	requireRoot(t)
	r := &recorder{}
	cfg := quick(r)
	cfg.ScanInterval = 200 * time.Millisecond
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.refused(unix.EACCES)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.follow(ctx, nil) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	inodes := mapCopies(t, library(t, "libssl.so.3"), 3)
	waitFor(t, "the attachment", func() bool { return r.open(inodes...) == 3 })
	if m := f.Missing(); len(m) == 0 || !strings.Contains(m[0], "no news of mappings (permission denied)") {
		t.Errorf("missing %q", m)
	}
}
