package tlsprobe

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// mappingOf is a file's mapping in this process.
func mappingOf(t testing.TB, path string) mapping {
	t.Helper()
	all := readMaps("/proc/self/maps", uint32(os.Getpid()))
	i := slices.IndexFunc(all, func(m mapping) bool { return m.path == path })
	if i < 0 {
		t.Fatalf("%s is not mapped", path)
	}
	return all[i]
}

var errAny = errors.New("any error")

func TestKernelOpenMapped(t *testing.T) {
	testenv.RequireKernel(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "lib.so")
	number := tlsLibrary(t, path, false)
	mapFile(t, path)
	m := mappingOf(t, path)
	byName := func(m *mapping) (*opened, error) { // where the mapping itself cannot be opened
		process := "/proc/" + strconv.Itoa(int(m.pid))
		fd, err := openInRoot(process, m.path)
		if err != nil {
			return nil, err
		}
		defer unix.Close(fd)
		return reopen("/proc", process, fd, m)
	}
	open := func(m *mapping) (*opened, error) { return openMapped("/proc", m) }
	f := func(name string, open func(*mapping) (*opened, error), m mapping, want error) {
		t.Helper()
		began := time.Now()
		o, err := open(&m)
		if err == nil {
			defer o.Close()
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s took %v", name, took)
		}
		if want == errAny {
			if err == nil {
				t.Errorf("%s: it was opened", name)
			}
			return
		}
		if want != nil {
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
			return
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if inodeOf(t, o.path("/proc")) != number {
			t.Errorf("%s: another file", name)
		}
	}
	f("mapped", open, m, nil)
	f("named", byName, m, nil)
	if _, err := os.Stat("/proc/1/root" + path); err == nil { // the first process may have other mounts than this one
		f("on the host", func(m *mapping) (*opened, error) { return openOnHost("/proc", m) }, m, nil)
	}
	other := m
	other.inode.number++
	f("another number", open, other, errChanged)
	other = m
	other.inode.minor++
	f("another device", byName, other, errChanged)
	other = m
	other.end += 4096
	f("told before it was cut", open, other, nil)
	other.inode.number++
	f("another range and number", open, other, errGone)
	other = m
	other.pid = 1 << 22
	f("another process", open, other, errGone)
	f("another process by name", byName, other, unix.ENOENT)

	// Whatever stands in the name's place: nobody waits, nothing else is read.
	replace := func(make func() error) {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := make(); err != nil {
			t.Fatal(err)
		}
	}
	replace(func() error { return unix.Mkfifo(path, 0o644) })
	f("a fifo", byName, m, errChanged)
	f("mapped behind a fifo", open, m, nil)
	replace(func() error { return os.Symlink("/etc/passwd", path) })
	f("a link", byName, m, errAny)
	replace(func() error { return os.Symlink("lib.so", path) })
	f("a circle", byName, m, errAny)
	replace(func() error { return os.Symlink("/proc/self/mem", path) })
	f("a link to proc", byName, m, errAny)
	replace(func() error { return os.Symlink("/proc/self/fd/0", path) })
	f("a magic link", byName, m, errAny)
	replace(func() error { return os.Mkdir(path, 0o755) })
	f("a folder", byName, m, errChanged)
	f("mapped behind a folder", open, m, nil)
}

// Files on file systems that somebody else serves are not read.
func TestForeignFiles(t *testing.T) {
	fd, err := unix.Open("/proc/version", unix.O_PATH|unix.O_CLOEXEC, 0) // proc is no file system for programs
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_, err = reopen("/proc", "/proc/self", fd, &mapping{inode: inode{number: inodeOf(t, "/proc/version").inode}})
	var foreign *foreignError
	if !errors.As(err, &foreign) || foreign.filesystem != "proc" {
		t.Errorf("%v", err)
	}
	if kind, err := mounted("/proc", "/proc/self", 1<<60, 1<<11, 0); err != nil || local[kind] {
		t.Errorf("%q, %v", kind, err)
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc", &st); err != nil {
		t.Fatal(err)
	}
	if kind, err := mounted("/proc", "/proc/self", 1<<60, unix.Major(st.Dev), unix.Minor(st.Dev)); err != nil || kind != "proc" {
		t.Errorf("%q, %v", kind, err)
	}
}

func TestPrintable(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		if got := printable(path); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	f("/usr/bin/a b", "/usr/bin/a b")
	f("/a\nb\x1b[2J", `"/a\nb\x1b[2J"`)
	if got := printable("/" + strings.Repeat("a", 5000)); len(got) > 300 {
		t.Errorf("%d bytes", len(got))
	}
}
