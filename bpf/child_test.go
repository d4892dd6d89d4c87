package bpf

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// A child is this test binary again, in a cgroup and mostly a network namespace of its own, so that every port is free and every edge of its
// cgroup is its own. It makes traffic whose every count is known.
type child struct {
	t      *testing.T
	cgroup *testenv.TestCgroup
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  *bufio.Scanner
}

const (
	trafficName   = "AMBIT_TEST_TRAFFIC"
	trafficFolder = "AMBIT_TEST_FOLDER" // for files that the traffic needs; the test removes it
	trafficLimit  = time.Minute
)

// traffic names what children can do. It is filled by the files of the tests.
func traffic(name string) func() {
	for _, list := range [][]scenario{tcpScenarios, udpScenarios, redirectScenarios, dnsScenarios, streamScenarios, helloScenarios, disorderScenarios} {
		for _, s := range list {
			if s.name == name {
				return s.traffic
			}
		}
	}
	return map[string]func(){
		"on demand": demandTraffic, "once": onceTraffic, "refused": refusedTraffic, "deny": denyTraffic,
		"TLS, a deferred accept": deferredTraffic, "TLS, many hellos": manyHellosTraffic,
	}[name]
}

// makeTraffic is the child's main function.
func makeTraffic(name string) {
	time.AfterFunc(trafficLimit, func() { panic("traffic takes too long") }) // nobody may be left to end it
	if os.Getenv(trafficNetwork) != "" {
		loopbackUp()
	}
	traffic(name)()
}

// start starts a child in a network namespace of its own, unless shared asks for ours.
func start(t *testing.T, name string, options ...func(*exec.Cmd)) *child {
	t.Helper()
	c := &child{t: t, cgroup: testenv.Cgroup(t, "/ambit-bpf-*")}
	c.cmd = exec.Command("/proc/self/exe")
	c.cmd.Path = executable(t)
	c.cmd.Env = append(os.Environ(), trafficName+"="+name, trafficFolder+"="+t.TempDir(), trafficNetwork+"=own")
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	for _, o := range options {
		o(c.cmd)
	}
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.lines = bufio.NewScanner(out)
	c.cgroup.Start(c.cmd)
	return c
}

const trafficNetwork = "AMBIT_TEST_NETWORK"

func shared(cmd *exec.Cmd) {
	cmd.SysProcAttr.Cloneflags = 0
	cmd.Env = append(cmd.Env, trafficNetwork+"=")
}

func executable(t testing.TB) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}

// do has the child obey a command, and gives its answer.
func (c *child) do(command ...any) string {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, command...); err != nil {
		c.t.Fatalf("tell the child: %v", err)
	}
	if !c.lines.Scan() {
		c.t.Fatalf("the child ended early: %v", c.cmd.Wait())
	}
	return c.lines.Text()
}

// end lets the child go and waits for its end. It gives what the child still said.
func (c *child) end() string {
	c.t.Helper()
	if err := c.in.Close(); err != nil {
		c.t.Fatal(err)
	}
	var said []string
	for c.lines.Scan() {
		said = append(said, c.lines.Text())
	}
	if err := c.cmd.Wait(); err != nil {
		c.t.Fatalf("child: %v", err)
	}
	return strings.Join(said, "\n")
}

func (c *child) pid() uint32 { return uint32(c.cmd.Process.Pid) }

// ---- the child's side

var steps = bufio.NewReader(os.Stdin)

// obey does what the test says, line by line: a command and its arguments, answered with a line.
func obey(commands map[string]func(args ...int) any) {
	for {
		line, err := steps.ReadString('\n')
		if err != nil {
			return // the test has ended, or let us go
		}
		words := strings.Fields(line)
		var args []int
		for _, w := range words[1:] {
			args = append(args, must(strconv.Atoi(w)))
		}
		fmt.Println(commands[words[0]](args...))
	}
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// loopbackUp makes 127.0.0.0/8 and ::1 work in a new network namespace.
func loopbackUp() {
	fd := must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
	defer unix.Close(fd)
	r := must(unix.NewIfreq("lo"))
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	check(unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r))
}

func loopbackMTU(mtu uint32) {
	fd := must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
	defer unix.Close(fd)
	r := must(unix.NewIfreq("lo"))
	r.SetUint32(mtu)
	check(unix.IoctlIfreq(fd, unix.SIOCSIFMTU, r))
}
