package testenv

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// networkChild, set in the environment, is the cgroup of a test that runs in a network of its own.
const networkChild = "AMBIT_TESTENV_NETWORK"

// OwnNetwork runs a test in a network namespace that nobody else is in, with loopback up: the test binary is started again in it for this test
// alone. Whatever the test makes there, interfaces, routes, packet filter, listening ports, goes with it, and so do all processes that it starts.
func OwnNetwork(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	RequireKernel(t)
	if os.Getenv(networkChild) != "" {
		if err := loopbackUp(); err != nil {
			t.Fatalf("set loopback up: %v", err)
		}
		test(t)
		return
	}
	group := Cgroup(t, "ambit-network-*")
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-test.run=" + exactly(t.Name()), "-test.v", "-test.count=1"}
	if deadline, ok := t.Deadline(); ok {
		args = append(args, fmt.Sprintf("-test.timeout=%s", max(time.Second, time.Until(deadline)-10*time.Second)))
	}
	var said bytes.Buffer
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), networkChild+"="+group.Dir(), "TMPDIR="+t.TempDir()) // what it has no time to remove, goes too
	cmd.Stdout, cmd.Stderr = io.MultiWriter(t.Output(), &said), t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	// What the test leaves running keeps its output open, and is killed with the cgroup.
	cmd.WaitDelay = 10 * time.Second
	group.Start(cmd)
	err = cmd.Wait()
	switch {
	case strings.Contains(said.String(), "--- SKIP: "+t.Name()+" "):
		t.Skip("see above")
	case err != nil:
		t.Fatalf("in a network of its own: %v", err)
	case !strings.Contains(said.String(), "--- PASS: "+t.Name()+" "):
		t.Fatal("in a network of its own, the test did not run")
	}
}

// OwnCgroup is the folder of the cgroup that a test in OwnNetwork runs in; it and all below it go when the test ends. Elsewhere it is empty.
func OwnCgroup() string { return os.Getenv(networkChild) }

// exactly is the pattern for -test.run that this test alone fits.
func exactly(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}

func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, lo)
}
