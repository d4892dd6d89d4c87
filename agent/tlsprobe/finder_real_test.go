package tlsprobe

import (
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

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/bpf"
)

func requireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		required(t, "needs root, to see the mappings of other processes")
	}
}

func copyFile(t testing.TB, from, to string) (inode fileID) {
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

func TestFinderLibraries(t *testing.T) {
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

// A process that stays wire-only has the library watched by which it speaks; what is below only where handshakes are not known to be on any socket, since
// all who use it pay for that.
func TestFinderBlind(t *testing.T) {
	requireRoot(t)
	r := &recorder{}
	f := run(t, quick(r), r)
	x := newTree(t, t.TempDir())
	pid, _ := x.start(t, true)
	ssl, crypto := inodeOf(t, x.libssl), inodeOf(t, x.libcrypto)
	waitFor(t, "the attachment", func() bool { return r.open(ssl) == 1 && r.open(crypto) == 1 })
	waitFor(t, "the dear functions", func() bool {
		f.Blind(uint32(pid))
		return r.open(ssl) == 2
	})
	if r.open(crypto) != 1 {
		t.Error("BIO_write is probed for one who is blind")
	}
	waitFor(t, "all functions", func() bool {
		f.Unbound(r.of(ssl)[0].target.Number)
		return r.open(crypto) == 2
	})
}

// One that has ended before that is known has them watched for those that come after it.
func TestFinderBlindAndGone(t *testing.T) {
	requireRoot(t)
	r := &recorder{}
	f := run(t, quick(r), r)
	x := newTree(t, t.TempDir())
	ssl, crypto := inodeOf(t, x.libssl), inodeOf(t, x.libcrypto)
	_, stop := x.start(t, false)
	waitFor(t, "the attachment", func() bool { return r.open(ssl) == 1 && r.open(crypto) == 1 })
	pid, stop2 := x.start(t, false)
	stop2()
	if r.open(ssl) != 1 || r.open(crypto) != 1 {
		t.Fatal("the dear functions are attached to before they are wanted")
	}
	waitFor(t, "the dear functions", func() bool {
		f.Blind(uint32(pid))
		return r.open(ssl) == 2
	})
	stop()
}

// Two containers of one image run the same file of the kernel's, whatever their overlays call it.
func TestFinderOverlay(t *testing.T) {
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
			if a.inode.inode == ssl.inode && a.size == size {
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
