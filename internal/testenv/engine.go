package testenv

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/engine"
)

// engineChild, set in the environment, makes a test binary an engine.
const engineChild = "AMBIT_TESTENV_ENGINE"

// Main runs the tests of m, or the engine when Engine started this binary
// again as its child. Packages that call Engine have
//
//	func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }
func Main(m *testing.M) int {
	if os.Getenv(engineChild) == "" {
		return m.Run()
	}
	if err := serveEngine(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serveEngine(args []string) error {
	config := engine.DefaultServerConfig()
	flags := flag.NewFlagSet("clickhouse", flag.ContinueOnError)
	config.Flags(flags)
	supervised := flags.Bool("supervised", false, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *supervised {
		if err := syscall.SetNonblock(0, true); err != nil {
			return fmt.Errorf("open standard input: %w", err)
		}
		config.Parent = os.NewFile(0, "standard input")
	}
	server, err := engine.NewServer(config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return server.Run(ctx)
}

// Engine gives the test an engine of its own, in a child process on an empty
// folder, and returns the unix socket it serves. Both end with the test.
func Engine(t testing.TB) (socket string) {
	t.Helper()
	config := EngineConfig(t)
	Supervise(t, config)
	return config.Server.Socket
}

// EngineConfig is what Engine runs, for tests that run it in their own way. It
// skips the test when the library is not there, and fails it in CI.
func EngineConfig(t testing.TB) engine.SupervisorConfig {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A unix socket's path is short; the test's own folder may not be.
	dir, err := os.MkdirTemp("", "ambit")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove folder of the engine: %v", err)
		}
	})
	config := engine.DefaultSupervisorConfig()
	config.Server.Library = engineLibrary(t)
	config.Server.Data = filepath.Join(dir, "data")
	config.Server.Socket = filepath.Join(dir, "s")
	config.Command = []string{binary}
	config.Env = []string{engineChild + "=1"}
	config.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	return config
}

// Supervise runs an engine until the test or stop ends it, and returns when it
// answers. stop waits for the engine's end.
func Supervise(t testing.TB, config engine.SupervisorConfig) (s *engine.Supervisor, stop func()) {
	t.Helper()
	s, err := engine.NewSupervisor(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run engine: %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-s.Ready():
	case err := <-ended:
		ended <- nil
		t.Fatalf("start engine: %v", err)
	case <-time.After(2 * time.Minute):
		t.Fatal("start engine: not ready after 2 minutes")
	}
	return s, stop
}

func engineLibrary(t testing.TB) string {
	t.Helper()
	configured := os.Getenv("AMBIT_CLICKHOUSE_LIBRARY")
	if root, err := moduleRoot(); err == nil && configured == "" {
		path := filepath.Join(root, ".cache", "libchdb.so")
		if _, err := os.Stat(path); err == nil {
			configured = path
		}
	}
	path, err := engine.Find(configured)
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
	return ""
}

// moduleRoot is the folder of go.mod; tests run in their package's folder.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("find go.mod above %s: none", dir)
		}
		dir = parent
	}
}
