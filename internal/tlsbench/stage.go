package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/agent/workload"
)

// roleFlag, as first argument, makes this program one of its own children.
const roleFlag = "-be"

func play(args []string) error {
	switch role, args := args[0], args[1:]; role {
	case "server":
		return serve()
	case "handshakes":
		return obey(func() (func(int) error, error) { return newHandshakes(args[0]) })
	case "plain":
		return obey(func() (func(int) error, error) { return newPlain(args[0]) })
	default:
		return fmt.Errorf("unknown role %q", role)
	}
}

// stage is all that a measurement makes on this machine.
type stage struct {
	ctx    context.Context
	folder string // for files
	group  string // folder of the cgroup that all happens in
	url    string
	told   *told
	paper  *papers
	closes []func() error
}

func newStage(ctx context.Context) (*stage, error) {
	mount, err := workload.FindMount()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "ambit-tlsbench-")
	if err != nil {
		return nil, err
	}
	s := &stage{ctx: ctx, folder: folder, group: filepath.Join(mount.Path, fmt.Sprintf("ambit-tlsbench-%d", os.Getpid()))}
	s.closes = append(s.closes, func() error { return os.RemoveAll(folder) })
	if err := os.Mkdir(s.group, 0o755); err != nil {
		return nil, errors.Join(fmt.Errorf("make cgroup: %w", err), s.close())
	}
	s.closes = append(s.closes, func() error { return removeCgroup(s.group) })
	if s.paper, err = newPapers(folder); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// close ends and removes everything, the last first.
func (s *stage) close() error {
	var errs []error
	for i := len(s.closes) - 1; i >= 0; i-- {
		errs = append(errs, s.closes[i]())
	}
	return errors.Join(errs...)
}

// cgroup makes one below the stage's, which goes with the stage.
func (s *stage) cgroup(name string) (*cgroup, error) {
	g := &cgroup{filepath.Join(s.group, name)}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	s.closes = append(s.closes, func() error { return removeCgroup(g.dir) })
	return g, nil
}

// cgroup is one whose processes are measured together, also those that have ended.
type cgroup struct{ dir string }

// startLoad starts what is measured: both ends on one processor.
func (g *cgroup) startLoad(cmd *exec.Cmd) error {
	if err := g.start(cmd); err != nil {
		return err
	}
	var last unix.CPUSet
	last.Set(runtime.NumCPU() - 1)
	if err := unix.SchedSetaffinity(cmd.Process.Pid, &last); err != nil {
		return fmt.Errorf("bind %s to a processor: %w", filepath.Base(cmd.Path), err)
	}
	return nil
}

// start starts a command in it, which dies with this program. It goes before all that is not measured.
func (g *cgroup) start(cmd *exec.Cmd) error {
	fd, err := os.Open(g.dir)
	if err != nil {
		return err
	}
	defer fd.Close()
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(fd.Fd()), Pdeathsig: syscall.SIGKILL, Setpgid: true} // an interrupt is for us
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	const first = -20
	if err := unix.Setpriority(unix.PRIO_PGRP, cmd.Process.Pid, first); err != nil {
		return fmt.Errorf("set the priority of %s: %w", filepath.Base(cmd.Path), err)
	}
	return nil
}

func (g *cgroup) cpu() (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, "cpu.stat"))
	if err != nil {
		return 0, fmt.Errorf("read what a cgroup took: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return time.Duration(n) * time.Microsecond, err
		}
	}
	return 0, fmt.Errorf("read what a cgroup took: no usage_usec in %s/cpu.stat", g.dir)
}

// removeCgroup waits for the kernel to let go of processes that have ended.
func removeCgroup(dir string) error {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		err := os.Remove(dir)
		if err == nil || !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return err
		}
	}
}

// worker is a child that does something as often as it is told to.
type worker struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func (s *stage) worker(name string, args ...string) (*worker, error) {
	g, err := s.cgroup(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe", append([]string{roleFlag}, args...)...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1") // both ends in one thread: nothing waits for another
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := g.startLoad(cmd); err != nil {
		return nil, err
	}
	s.closes = append(s.closes, func() error { return errors.Join(in.Close(), cmd.Wait()) })
	return &worker{in, bufio.NewReader(out)}, nil
}

// do has it done n times.
func (w *worker) do(n int) (figure, error) {
	if _, err := fmt.Fprintln(w.in, n); err != nil {
		return figure{}, err
	}
	f := figure{n: n}
	if _, err := fmt.Fscanln(w.out, &f.cpu, &f.wall); err != nil {
		return f, fmt.Errorf("the worker ended: %w", err)
	}
	return f, nil
}

// obey is the worker's side: numbers come in, and the times of processor and clock that so many took go out. It ends with standard input.
func obey(prepare func() (func(n int) error, error)) error {
	do, err := prepare()
	if err != nil {
		return err
	}
	for {
		var n int
		if _, err := fmt.Scanln(&n); err != nil {
			return nil
		}
		begin, err := spent()
		if err != nil {
			return err
		}
		start := time.Now()
		if err := do(n); err != nil {
			return err
		}
		wall := time.Since(start)
		end, err := spent()
		if err != nil {
			return err
		}
		fmt.Println(int64(end-begin), int64(wall))
	}
}

// spent is what this process has taken of processors.
func spent() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("read what this process took: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
