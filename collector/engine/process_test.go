package engine_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/engine"
	"github.com/ambit-nhi/ambit/internal/testenv"
	"go.uber.org/goleak"
)

func TestSecondServerOnSameFolder(t *testing.T) {
	config := testenv.EngineConfig(t)
	first, _ := testenv.Supervise(t, config)
	second := config
	second.Server.Socket += "2"
	err := failure(t, second)
	if err == nil || !strings.Contains(err.Error(), config.Server.Data) || !strings.Contains(err.Error(), fmt.Sprintf("in use by process %d", first.PID())) || !strings.Contains(err.Error(), "--data") {
		t.Errorf("second engine on the folder: got %v, want the folder, the process and the remedy", err)
	}
	second.Server.Data += "2"
	second.Server.Socket = config.Server.Socket
	if err := failure(t, second); err == nil || !strings.Contains(err.Error(), "served by another process") {
		t.Errorf("second engine on the socket: got %v, want that it is served", err)
	}
	if n := number(t, dial(t, config.Server.Socket, nil), "SELECT 7::UInt64"); n != 7 {
		t.Errorf("first engine answers %d", n)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	config := testenv.EngineConfig(t)
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: config.Server.Socket}); err != nil {
		t.Fatal(err)
	}
	syscall.Close(fd) // the file stays, as after a crash
	testenv.Supervise(t, config)
	dial(t, config.Server.Socket, nil)
	info, err := os.Stat(config.Server.Socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("socket has mode %v, want 0600", info.Mode().Perm())
	}
}

func TestStartErrors(t *testing.T) {
	for name, f := range map[string]struct {
		change func(*testing.T, *engine.SupervisorConfig)
		want   []string
	}{
		"library missing": {func(t *testing.T, c *engine.SupervisorConfig) { c.Server.Library = "/nowhere/libchdb.so" }, []string{"/nowhere/libchdb.so", "make engine"}},
		"library is another file": {func(t *testing.T, c *engine.SupervisorConfig) {
			c.Server.Library = filepath.Join(t.TempDir(), "libchdb.so")
			if err := os.WriteFile(c.Server.Library, []byte("not a library"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"load ClickHouse library", "libchdb.so"}},
		"socket folder open to others": {func(t *testing.T, c *engine.SupervisorConfig) {
			if err := os.Chmod(filepath.Dir(c.Server.Socket), 0o755); err != nil {
				t.Fatal(err)
			}
		}, []string{"chmod 700"}},
		"file in the socket's place": {func(t *testing.T, c *engine.SupervisorConfig) {
			if err := os.WriteFile(c.Server.Socket, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"no socket is there"}},
		"data is a file": {func(t *testing.T, c *engine.SupervisorConfig) {
			if err := os.WriteFile(c.Server.Data, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"data folder", "not a directory"}},
		"engine gives no answer": {func(t *testing.T, c *engine.SupervisorConfig) {
			c.Command = []string{"/bin/sh", "-c", "read line"}
			c.StartTimeout = 100 * time.Millisecond
		}, []string{"gave no answer in 100ms"}},
		"engine ignores the end": {func(t *testing.T, c *engine.SupervisorConfig) {
			c.Command = []string{"/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.01; done"}
			c.StartTimeout, c.StopTimeout = 100*time.Millisecond, 100*time.Millisecond
		}, []string{"was killed"}},
	} {
		t.Run(name, func(t *testing.T) {
			config := testenv.EngineConfig(t)
			f.change(t, &config)
			err := failure(t, config)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range f.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error has several lines: %q", err)
			}
			if got, err := os.ReadFile(config.Server.Socket); err == nil && string(got) != "precious" {
				t.Errorf("file in the socket's place now holds %q", got)
			}
		})
	}
}

func TestStopLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	config := testenv.EngineConfig(t)
	supervisor, stop := testenv.Supervise(t, config)
	conn := dial(t, config.Server.Socket, nil)
	exec(t, conn, "CREATE TABLE kept (a UInt8) ENGINE = MergeTree ORDER BY a", "INSERT INTO kept VALUES (1)")
	pid := supervisor.PID()
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("engine's process after the end: %v, want none", err)
	}
	if _, err := os.Stat(config.Server.Socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket after the end: %v, want none", err)
	}
}

// TestGoKeepsItsSignals looks at which signals the engine's process handles
// after the library was loaded and used.
func TestGoKeepsItsSignals(t *testing.T) {
	config := testenv.EngineConfig(t)
	supervisor, _ := testenv.Supervise(t, config)
	number(t, dial(t, config.Server.Socket, nil), "SELECT 1::UInt64")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", supervisor.PID()))
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(status), "SigCgt:")
	line, _, _ = strings.Cut(line, "\n")
	caught, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []syscall.Signal{syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGABRT, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGSYS} {
		if caught&(1<<(s-1)) == 0 {
			t.Errorf("%v is not handled any more", s)
		}
	}
}

// TestEngineEndsWithItsParent closes the pipe as the kernel does when the
// process that holds it is killed.
func TestEngineEndsWithItsParent(t *testing.T) {
	config := testenv.EngineConfig(t)
	child := osexec.Command(config.Command[0], "--data="+config.Server.Data, "--socket="+config.Server.Socket, "--library="+config.Server.Library, "--supervised")
	child.Env = append(os.Environ(), config.Env...)
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Process.Kill() // does nothing after Wait
	waitFor(t, "socket", func() bool {
		c, err := net.Dial("unix", config.Server.Socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	stdin.Close()
	if err := child.Wait(); err != nil {
		t.Errorf("engine without its parent ended with %v", err)
	}
}

// failure runs a supervisor that is to fail, and returns its error.
func failure(t *testing.T, config engine.SupervisorConfig) error {
	t.Helper()
	s, err := engine.NewSupervisor(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return s.Run(ctx)
}
