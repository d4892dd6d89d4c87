package testenv

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestKernelOwnNetwork(t *testing.T) {
	OwnNetwork(t, func(t *testing.T) {
		interfaces, err := net.Interfaces()
		if err != nil || len(interfaces) != 1 || interfaces[0].Flags&net.FlagUp == 0 {
			t.Fatalf("interfaces %+v, %v; want loopback alone, up", interfaces, err)
		}
		for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		own, err := os.ReadFile("/proc/self/cgroup")
		if err != nil || !strings.Contains(string(own), "/"+filepath.Base(OwnCgroup())+"\n") {
			t.Errorf("cgroup %q, %v; want %s", own, err, OwnCgroup())
		}
	})
}

// What a test in a network of its own leaves behind goes: processes, cgroups and files.
func TestKernelOwnNetworkCleansUp(t *testing.T) {
	RequireKernel(t)
	const variable = "AMBIT_TESTENV_LEFT"
	if os.Getenv(variable) == "" {
		t.Setenv(variable, filepath.Join(t.TempDir(), "left"))
	}
	t.Run("leave", func(t *testing.T) {
		OwnNetwork(t, func(t *testing.T) {
			below := filepath.Join(OwnCgroup(), "kubepods", "pod")
			file, err := os.CreateTemp("", "left")
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if err := os.MkdirAll(below, 0o755); err != nil {
				t.Fatal(err)
			}
			left := exec.Command("sleep", "1000")
			if err := left.Start(); err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf("/proc/%d\n%s\n%s", left.Process.Pid, below, file.Name())
			if err := os.WriteFile(os.Getenv(variable), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		})
	})
	if OwnCgroup() != "" {
		return
	}
	text, err := os.ReadFile(os.Getenv(variable))
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.SplitSeq(string(text), "\n") {
		if strings.HasPrefix(path, "/proc/") { // whoever inherited it may not have buried it yet
			if command, err := os.ReadFile(path + "/cmdline"); err == nil && len(command) > 0 {
				t.Errorf("process %s is left behind: %q", path, command)
			}
		} else if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left behind: %v", path, err)
		}
	}
}
