package bpf

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestKernelUser(t *testing.T) {
	w := watch(t, testConfig(t))
	c := start(t, "on demand")
	c.do("refuse", 1, 1, 2)
	c.do("user", 65534)
	c.do("refuse", 1, 1, 3)
	c.end()
	refused := "out tcp 127.0.0.1 1: opened=%d failed=%[1]d ECONNREFUSED"
	w.expect(c, fmt.Sprintf(refused, 2), fmt.Sprintf(refused, 3))
	users := map[uint32]uint64{}
	for _, e := range w.edgesOf(c.cgroup.ID()) {
		users[e.Process.UID] = e.Opened
	}
	if users[0] != 2 || users[65534] != 3 {
		t.Errorf("connections by user: %v", users)
	}
}

func TestKernelExecutablePath(t *testing.T) {
	w := watch(t, testConfig(t))
	path := filepath.Join(t.TempDir(), "a name of its own")
	self, err := os.ReadFile(executable(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, self, 0o755); err != nil {
		t.Fatal(err)
	}
	c := start(t, "refused", func(cmd *exec.Cmd) { cmd.Path = path })
	c.end()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	edges := w.edgesOf(c.cgroup.ID())
	if len(edges) != 1 {
		t.Fatalf("%d edges, want one", len(edges))
	}
	p := edges[0].Process
	if got, ok := w.ExecutablePath(p.File); got != path || !ok {
		t.Errorf("the executable is called %q, want %q", got, path)
	}
	if device := uint64(unix.Major(st.Dev))<<20 | uint64(unix.Minor(st.Dev)); p.Inode != st.Ino || p.Device != device {
		t.Errorf("the executable is inode %d of device %#x, want %d of %#x", p.Inode, p.Device, st.Ino, device)
	}
	if path, ok := w.ExecutablePath(p.File + 2); ok {
		t.Errorf("a file that nobody executed is called %q", path)
	}
}

func TestKernelScriptIsItsInterpreter(t *testing.T) {
	w := watch(t, testConfig(t))
	folder := t.TempDir()
	interpreter, script := filepath.Join(folder, "interpreter"), filepath.Join(folder, "script")
	self, err := os.ReadFile(executable(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(interpreter, self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, []byte("#!"+interpreter+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := start(t, "refused", func(cmd *exec.Cmd) { cmd.Path = script })
	c.end()
	w.expect(c, "out tcp 127.0.0.1 1: opened=1 failed=1 ECONNREFUSED by interpreter")
}

func TestKernelInteractive(t *testing.T) {
	w := watch(t, testConfig(t))
	terminal := openTerminal(t)
	for _, tt := range []struct {
		name string
		want bool
		set  func(*exec.Cmd)
	}{
		{"with a terminal", true, func(cmd *exec.Cmd) {
			cmd.ExtraFiles = []*os.File{terminal}
			cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty, cmd.SysProcAttr.Ctty = true, true, 3
		}},
		{"without", false, func(cmd *exec.Cmd) { cmd.SysProcAttr.Setsid = true }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := w.on(t)
			c := start(t, "refused", tt.set)
			c.end()
			w.expect(c, "out tcp 127.0.0.1 1: opened=1 failed=1 ECONNREFUSED")
			if got := w.edgesOf(c.cgroup.ID())[0].Process.Interactive; got != tt.want {
				t.Errorf("interactive is %v", got)
			}
		})
	}
}

// openTerminal gives the process's side of a new pseudo-terminal.
func openTerminal(t *testing.T) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestKernelCgroupNames(t *testing.T) {
	w := watch(t, testConfig(t))
	c := start(t, "on demand")
	defer c.end()
	names := map[uint64]string{}
	for i := range 200 {
		name := fmt.Sprintf("/short-lived-%d", i)
		dir := c.cgroup.Dir() + name
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		names[st.Ino] = c.cgroup.Path() + name
	}
	for id, want := range names {
		if got, ok := w.CgroupPath(id); got != want || !ok {
			t.Errorf("cgroup %d is called %q, want %q", id, got, want)
		}
	}
	if path, ok := w.CgroupPath(1<<62 + 1); ok {
		t.Errorf("a cgroup that never was is called %q", path)
	}
}
