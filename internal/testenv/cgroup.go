package testenv

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// RequireKernel skips a test that needs root, kernel type information and a cgroup2 hierarchy where one of them is missing, and says which.
// In CI it fails instead.
func RequireKernel(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "kernel tests need root")
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		missing(t, "kernel tests need type information (CONFIG_DEBUG_INFO_BTF): "+err.Error())
	}
	if _, err := cgroupMount(); err != nil {
		missing(t, "kernel tests need a cgroup2 hierarchy: "+err.Error())
	}
}

func missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// TestCgroup is a cgroup that a test made. It is removed at the end of the test, with all that runs in it.
type TestCgroup struct {
	t    testing.TB
	dir  string
	path string
	id   uint64
}

// Cgroup makes a cgroup of the given path below the root of the hierarchy. If its last part ends in "*", a number stands there instead, so that no
// two tests meet. Parents are shared: they go when their last child goes.
func Cgroup(t testing.TB, path string) *TestCgroup {
	t.Helper()
	mount, err := cgroupMount()
	if err != nil {
		missing(t, "cgroups need a cgroup2 hierarchy: "+err.Error())
	}
	parent, name := filepath.Split(filepath.Join(mount, filepath.Clean("/"+path)))
	parent = filepath.Clean(parent)
	t.Cleanup(func() { removeParents(mount, parent) })
	dir, err := makeCgroup(parent, name)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) {
		missing(t, "cannot make cgroups: "+err.Error())
	}
	if err != nil {
		t.Fatalf("make cgroup: %v", err)
	}
	t.Cleanup(func() {
		if err := removeCgroup(dir); err != nil {
			t.Errorf("remove cgroup: %v", err)
		}
	})
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		t.Fatalf("make cgroup %s: %v", dir, err)
	}
	return &TestCgroup{t: t, dir: dir, path: strings.TrimPrefix(dir, mount), id: st.Ino}
}

func makeCgroup(parent, name string) (string, error) {
	stem, numbered := strings.CutSuffix(name, "*")
	for n := os.Getpid(); ; n++ {
		if numbered {
			name = stem + strconv.Itoa(n)
		}
		if err := os.MkdirAll(parent, 0o755); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		dir := filepath.Join(parent, name)
		err := os.Mkdir(dir, 0o755)
		switch {
		case err == nil:
			return dir, nil
		case numbered && errors.Is(err, os.ErrExist):
		case errors.Is(err, os.ErrNotExist): // another test just removed the parent
			n--
		default:
			return "", err
		}
	}
}

// removeParents removes what tests made above a cgroup, as far as it is empty: cgroups named after Ambit, and those below them.
func removeParents(mount, dir string) {
	for ; len(dir) > len(mount) && strings.Contains(dir[len(mount):], "ambit"); dir = filepath.Dir(dir) {
		if os.Remove(dir) != nil {
			return
		}
	}
}

// ID is what the kernel calls the cgroup.
func (c *TestCgroup) ID() uint64 { return c.id }

// Path is the path below the root of the hierarchy, with a slash in front.
func (c *TestCgroup) Path() string { return c.path }

// Dir is the folder of the cgroup.
func (c *TestCgroup) Dir() string { return c.dir }

// Start starts a command in the cgroup, from its first instruction on. The end of the test kills it and waits for it, if the test did not.
func (c *TestCgroup) Start(cmd *exec.Cmd) {
	c.t.Helper()
	dir, err := os.Open(c.dir)
	if err != nil {
		c.t.Fatalf("start %s in cgroup: %v", cmd.Path, err)
	}
	defer dir.Close()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	if err := cmd.Start(); err != nil {
		c.t.Fatalf("start %s in cgroup %s: %v", cmd.Path, c.path, err)
	}
	c.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()         // and then says why
		}
	})
}

// Remove removes the cgroup now; whatever ran in it is killed.
func (c *TestCgroup) Remove() {
	c.t.Helper()
	if err := removeCgroup(c.dir); err != nil {
		c.t.Fatalf("remove cgroup: %v", err)
	}
}

// removeCgroup kills the members of a cgroup that a test made, and removes it and what its members made below it.
func removeCgroup(dir string) error {
	// Kernels before 5.14 have no cgroup.kill: there, the members are killed one by one.
	if err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0); err != nil {
		killMembers(dir)
	}
	children, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, child := range children {
		if child.IsDir() {
			if err := removeCgroup(filepath.Join(dir, child.Name())); err != nil {
				return err
			}
		}
	}
	// A killed process leaves its cgroup when it has ended, which the kernel tells only by the directory's refusal.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		err := os.Remove(dir)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return err
		}
	}
}

func killMembers(dir string) {
	procs, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	for line := range strings.Lines(string(procs)) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 1 && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// cgroupMount finds the mount point of the hierarchy.
func cgroupMount() (string, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1], nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	return "", errors.New("no cgroup2 file system is mounted")
}
