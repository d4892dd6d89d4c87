package e2e

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// refuse runs the program and checks that it ends with one line that names everything in want, and with the exit code.
func refuse(t *testing.T, attr *syscall.SysProcAttr, env []string, code int, want []string, args ...string) {
	t.Helper()
	refuseCommand(t, exec.CommandContext(within(t, 30*time.Second), binary, args...), attr, env, code, want)
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func refuseCommand(t *testing.T, cmd *exec.Cmd, attr *syscall.SysProcAttr, env []string, code int, want []string) {
	t.Helper()
	said := strings.Join(cmd.Args[1:], " ")
	cmd.Env = append(append(os.Environ(), "AMBIT_CLICKHOUSE_LIBRARY="+library(t)), env...)
	cmd.SysProcAttr = attr
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	var failed *exec.ExitError
	if !errors.As(err, &failed) || failed.ExitCode() != code {
		t.Errorf("ambit %s ended with %v, want exit code %d: %s", said, err, code, stderr.String())
		return
	}
	text := strings.TrimSpace(stderr.String())
	if strings.Contains(text, "\n") {
		t.Errorf("ambit %s said more than one line:\n%s", said, text)
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("ambit %s said %q, want it to name %q", said, text, w)
		}
	}
	t.Log(text)
}

func TestKernelRefusals(t *testing.T) {
	u := startUp(t, t.TempDir())
	t.Run("second on the same data", func(t *testing.T) {
		refuse(t, nil, nil, 1, []string{u.data, "pid"}, "up", "--data", u.data, "--listen", "127.0.0.1:0")
	})
	t.Run("port taken", func(t *testing.T) {
		address := strings.TrimPrefix(u.url, "http://")
		refuse(t, nil, nil, 1, []string{address, "--listen"}, "up", "--data", t.TempDir(), "--listen", address)
	})
	t.Run("not root", func(t *testing.T) {
		dir := t.TempDir()
		check(t, os.Chown(dir, 65534, 65534))
		for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) { // the test's folders are closed to others
			check(t, os.Chmod(d, 0o777))
		}
		nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		check(t, os.Chmod(filepath.Dir(binary), 0o755))
		refuse(t, nobody, nil, 1, []string{"root"}, "up", "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0")
	})
	t.Run("no BTF", func(t *testing.T) {
		// A mount namespace in which the kernel's type information is hidden.
		cmd := exec.CommandContext(within(t, 30*time.Second), "unshare", "--mount", "--propagation", "private", "sh", "-c",
			`mount -t tmpfs none /sys/kernel/btf && exec "$0" "$@"`, binary, "up", "--data", t.TempDir(), "--listen", "127.0.0.1:0")
		refuseCommand(t, cmd, nil, nil, 1, []string{"BTF", "/sys/kernel/btf/vmlinux"})
	})
	t.Run("folder not writable", func(t *testing.T) {
		refuse(t, nil, nil, 1, []string{"/proc/ambit-data"}, "up", "--data", "/proc/ambit-data", "--listen", "127.0.0.1:0")
	})
	t.Run("unknown configuration key", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "ambit.yaml")
		check(t, os.WriteFile(file, []byte("collector:\n  lern: 1h\n"), 0o600))
		refuse(t, nil, nil, 2, []string{"lern", "learn"}, "up", "--config", file, "--data", t.TempDir())
	})
	t.Run("unknown flag", func(t *testing.T) {
		refuse(t, nil, nil, 2, []string{"--lern", "--learn"}, "up", "--lern", "1h")
	})
	t.Run("corrupt replay line", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "bad.jsonl")
		check(t, os.WriteFile(file, []byte("{\"time\":\"2026-11-21T22:00:10Z\"\n"), 0o600))
		refuse(t, nil, nil, 1, []string{file + ":1"}, "replay", file)
	})
	t.Run("listen to the world", func(t *testing.T) {
		refuse(t, nil, nil, 1, []string{"0.0.0.0", "loopback"}, "up", "--data", t.TempDir(), "--listen", "0.0.0.0:0")
	})
	t.Run("nobody at the server", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		address := l.Addr().String()
		l.Close()
		refuse(t, nil, nil, 1, []string{address, "ambit up"}, "identities", "--server", "http://"+address)
	})
	// Nothing was damaged: the first one still answers.
	if got := u.findings(); len(got) != 0 {
		t.Errorf("findings: %+v", got)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
