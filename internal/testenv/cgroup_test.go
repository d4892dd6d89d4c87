package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestKernelCgroup(t *testing.T) {
	RequireKernel(t)
	var dirs []string
	t.Run("use", func(t *testing.T) {
		a, b := Cgroup(t, "ambit-testenv.slice/run-*"), Cgroup(t, "ambit-testenv.slice/run-*")
		if a.ID() == b.ID() || a.Path() == b.Path() {
			t.Fatalf("two cgroups are one: %+v, %+v", a, b)
		}
		cmd := exec.Command("sleep", "1000")
		a.Start(cmd)
		procs, err := os.ReadFile(filepath.Join(a.Dir(), "cgroup.procs"))
		if err != nil || strings.TrimSpace(string(procs)) != strconv.Itoa(cmd.Process.Pid) {
			t.Errorf("members %q, %v; want %d", procs, err, cmd.Process.Pid)
		}
		own, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/cgroup")
		if err != nil || !strings.Contains(string(own), "0::"+a.Path()+"\n") {
			t.Errorf("cgroup of the process is %q, %v; want %s", own, err, a.Path())
		}
		dirs = append(dirs, a.Dir(), b.Dir(), filepath.Dir(a.Dir()))
	})
	for _, dir := range dirs {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is left behind: %v", dir, err)
		}
	}
}
