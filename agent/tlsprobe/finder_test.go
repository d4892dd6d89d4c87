package tlsprobe

import (
	"bufio"
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
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// attachment is what a recorder was asked to attach to.
type attachment struct {
	target bpf.Target
	inode  fileID
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
	a := &attachment{target: target, inode: fileID{st.Dev, st.Ino}, size: st.Size}
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
func (r *recorder) of(inode fileID) (some []attachment) {
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
func (r *recorder) open(inodes ...fileID) (n int) {
	for _, inode := range inodes {
		for _, a := range r.of(inode) {
			if !a.closed {
				n++
			}
		}
	}
	return n
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
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not come", what)
		}
	}
}

// fileID tells files of all file systems apart.
type fileID struct {
	device, inode uint64
}

func inodeOf(t testing.TB, path string) fileID {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return fileID{st.Dev, st.Ino}
}

// usesEnv makes the test binary be a process that has code of some files mapped, until its input ends: their names, after the folder that is its root.
const usesEnv = "AMBIT_USES"

func usesMain() {
	words := strings.Split(os.Getenv(usesEnv), ":")
	err := syscall.Chroot(words[0])
	for _, path := range words[1:] {
		fd := -1
		if err == nil {
			fd, err = unix.Open(path, unix.O_RDONLY, 0)
		}
		if err == nil {
			_, err = unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}

// uses starts a process in mounts and a root of its own that has code of some files mapped.
func uses(t testing.TB, root string, paths ...string) (pid int, stop func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{usesEnv + "=" + strings.Join(append([]string{root}, paths...), ":")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
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
		in.Close()
		cmd.Wait()
	})
	t.Cleanup(stop)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the process says %q, %v", line, err)
	}
	return cmd.Process.Pid, stop
}

// The whole life of libraries in containers: attached once, thoroughly when asked, anew when replaced or when somebody comes back, else left alone.
func TestKernelFinderContainers(t *testing.T) {
	testenv.RequireKernel(t)
	r := &recorder{}
	f := run(t, quick(r), r)
	if m := f.Missing(); slices.ContainsFunc(m, func(s string) bool { return strings.Contains(s, "no news") }) {
		t.Fatalf("%q", m)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "libssl.so.3")
	ssl, crypto := tlsLibrary(t, path, false), tlsLibrary(t, filepath.Join(dir, "libcrypto.so.3"), true)
	start := func() func() {
		_, stop := uses(t, dir, "/libssl.so.3", "/libcrypto.so.3")
		return stop
	}
	stop1 := start()
	waitFor(t, "the attachment to both libraries", func() bool { return r.open(ssl) == 1 && r.open(crypto) == 1 })
	stop2 := start()
	number := r.of(ssl)[0].target.Number
	waitFor(t, "the version of libssl", func() bool { return f.Stack(number) == "openssl-3.0.17" })
	f.Unbound(number)
	waitFor(t, "the dear functions", func() bool { return r.open(ssl) == 2 && r.open(crypto) == 2 })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	next := tlsLibrary(t, path, false)
	stop3 := start()
	waitFor(t, "the attachment to the new library", func() bool { return r.open(next) == 1 })
	stop1()
	stop2()
	waitFor(t, "the end of the old library", func() bool { return r.open(ssl) == 0 })
	if r.open(next) != 1 || r.open(crypto) != 2 {
		t.Error("a library that is in use was detached")
	}
	stop3()
	waitFor(t, "the end of the new library", func() bool { return r.open(next, crypto) == 0 })
	start()
	waitFor(t, "the attachment to a library that came back", func() bool { return r.open(next) == 1 })
	if n := len(r.of(ssl)); n != 2 {
		t.Errorf("libssl was attached to %d times", n)
	}
}

// tlsLibrary writes a small library with the functions of libssl, or of libcrypto, and gives its inode.
func tlsLibrary(t testing.TB, path string, crypto bool) (inode fileID) {
	t.Helper()
	b := builtELF{soname: "libssl.so.3", exported: []string{"SSL_do_handshake", "SSL_free", "SSL_read", "SSL_write"}}
	if crypto {
		b = builtELF{soname: "libcrypto.so.3", exported: []string{"d2i_X509", "i2d_X509", "BIO_write"}, constant: "OpenSSL 3.0.17 1 Jul 2025"}
	}
	if err := os.WriteFile(path, b.bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	return inodeOf(t, path)
}

// mapLibraries maps code of new libraries in this process.
func mapLibraries(t testing.TB, n int) (inodes []fileID) {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		path := filepath.Join(dir, fmt.Sprintf("lib%d.so", i))
		inodes = append(inodes, tlsLibrary(t, path, false))
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

// Eighty new libraries at once are attached one after the other, at the rate that is set.
func TestKernelFinderRate(t *testing.T) {
	testenv.RequireKernel(t)
	r := &recorder{}
	cfg := quick(r)
	cfg.Attaches, cfg.Burst = 100, 10
	run(t, cfg, r)
	began := time.Now()
	inodes := mapLibraries(t, 80)
	waitFor(t, "the attachment to all", func() bool { return r.open(inodes...) == len(inodes) })
	least := time.Duration(float64(len(inodes)-cfg.Burst) / cfg.Attaches * float64(time.Second))
	if took := time.Since(began); took < least {
		t.Errorf("%d attachments in %v, at least %v are due", len(inodes), took, least)
	}
}

// What does not fit is counted and told.
func TestKernelFinderFull(t *testing.T) {
	testenv.RequireKernel(t)
	r := &recorder{}
	cfg := quick(r)
	cfg.MaxTargets = 3
	f := run(t, cfg, r)
	mapLibraries(t, 10)
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
	testenv.RequireKernel(t)
	r := &recorder{}
	cfg := quick(r)
	cfg.Recheck = time.Millisecond
	run(t, cfg, r)
	path := filepath.Join(t.TempDir(), "lib.so")
	inode := tlsLibrary(t, path, false)
	mapFile(t, path)
	waitFor(t, "the attachment", func() bool { return r.open(inode) == 1 })
	if tlsLibrary(t, path, true) != inode {
		t.Fatal("another inode")
	}
	waitFor(t, "the attachment to the new content", func() bool {
		all := r.of(inode)
		return len(all) > 1 && r.open(inode) == 1 && len(all[len(all)-1].target.Functions[bpf.D2IX509]) == 1
	})
}

// Where the kernel gives no news, looks through processes find files.
func TestKernelFinderScan(t *testing.T) {
	testenv.RequireKernel(t)
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
	inodes := mapLibraries(t, 3)
	waitFor(t, "the attachment", func() bool { return r.open(inodes...) == 3 })
	if m := f.Missing(); len(m) == 0 || !strings.Contains(m[0], "no news of mappings (permission denied)") {
		t.Errorf("missing %q", m)
	}
}
