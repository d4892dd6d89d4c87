package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the program under test, built once, also for a test that runs in a process of its own (testenv.OwnNetwork).
var binary string

const binaryFile = "AMBIT_E2E_BINARY"

func TestMain(m *testing.M) {
	if mode := os.Getenv(trafficMode); mode != "" {
		if err := traffic(mode, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "traffic:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if binary = os.Getenv(binaryFile); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "ambit-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "ambit")
	build := exec.Command("go", "build", "-o", binary, "github.com/ambit-nhi/ambit")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build ambit: %v\n%s", err, out)
		return 1
	}
	if err := os.Setenv(binaryFile, binary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
