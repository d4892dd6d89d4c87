package workload

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// kernelDev is how the kernel numbers a device that stat tells as dev.
func kernelDev(dev uint64) uint64 { return uint64(unix.Major(dev))<<20 | uint64(unix.Minor(dev)) }

func TestUserDev(t *testing.T) {
	f := func(kernel, want uint64) {
		t.Helper()
		if got := userDev(kernel); got != want {
			t.Errorf("userDev(%#x) = %#x, want %#x", kernel, got, want)
		}
		if back := kernelDev(want); back != kernel {
			t.Errorf("kernelDev(%#x) = %#x, want %#x", want, back, kernel)
		}
	}
	f(8<<20|1, 0x801)         // sda1: the one device where a shift by 8 would do
	f(0<<20|38, 0x26)         // a file system without a device
	f(259<<20|300, 0x11_032c) // NVMe: more than 8 bits of minor number
	f(4095<<20|0xfffff, 0xffffffff)
}

func TestResolveExecutable(t *testing.T) {
	dir := t.TempDir()
	program, link := filepath.Join(dir, "program"), filepath.Join(dir, "link")
	other := filepath.Join(dir, "other")
	for _, path := range []string{program, other} {
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(program, &st); err != nil {
		t.Fatal(err)
	}
	ino, dev := st.Ino, kernelDev(st.Dev)
	proc := t.TempDir()
	process := func(tgid uint32, target string) {
		t.Helper()
		d := filepath.Join(proc, strconv.Itoa(int(tgid)))
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(d, "exe")); err != nil {
			t.Fatal(err)
		}
	}
	process(1, program)
	process(2, other)
	process(3, "/app/server (deleted)")

	f := func(tgid uint32, name string, ino, dev uint64, want string) {
		t.Helper()
		if got := resolveExecutable(proc, tgid, name, ino, dev); got != want {
			t.Errorf("process %d, name %q: %q, want %q", tgid, name, got, want)
		}
	}
	f(1, "", ino, dev, program)
	f(1, "./program", ino, dev, program)
	f(3, "server", 1, 1, "/app/server")             // the name agrees
	f(3, "", 0, 0, "/app/server")                   // nothing to compare
	f(2, link, ino, dev, program)                   // the process runs something else now
	f(9, link, ino, dev, program)                   // gone: the host's file is the one
	f(9, link, ino+1, dev, link)                    // gone: the host's file is another one
	f(9, link, ino, dev+1, link)                    // gone: the same number on another device
	f(9, "/app/../app/server", 1, 1, "/app/server") // gone, in a container
	f(9, "../bin/server", ino, dev, "server")       // gone, relative to a folder nobody knows
	f(0, "server", 0, 0, "server")
	f(9, "/dev/fd/5", ino, dev, "")
	f(9, "/dev/fd/5/bin/server", ino, dev, "server")
	f(9, "", 0, 0, "")
}

// The running test is a real process with real numbers.
func TestResolveExecutableOfThisProcess(t *testing.T) {
	want, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat("/proc/self/exe", &st); err != nil {
		t.Fatal(err)
	}
	if got := ResolveExecutable(uint32(os.Getpid()), "", st.Ino, kernelDev(st.Dev)); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
