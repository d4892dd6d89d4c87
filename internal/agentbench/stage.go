package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	ctx := context.Background()
	switch role, args := args[0], args[1:]; role {
	case "server":
		return serve(args[0])
	case "agent":
		return profiledAgent(args[0], args[1:])
	default:
		return work(ctx, role, args)
	}
}

// stage is all that a measurement makes on this machine.
type stage struct {
	ctx    context.Context
	folder string // for files
	files  string // a tmpfs below it, for programs
	group  string // folder of the cgroup that all happens in
	path   string // the same, below the cgroup root
	url    string
	server *exec.Cmd
	agent  *exec.Cmd
	told   *told
	closes []func() error
}

func newStage(ctx context.Context) (*stage, error) {
	mount, err := workload.FindMount()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "ambit-agentbench-")
	if err != nil {
		return nil, err
	}
	s := &stage{ctx: ctx, folder: folder, files: filepath.Join(folder, "programs"), path: fmt.Sprintf("/ambit-agentbench-%d", os.Getpid())}
	s.group = filepath.Join(mount.Path, s.path)
	s.closes = append(s.closes, func() error { return os.RemoveAll(folder) })
	if err := os.Mkdir(s.files, 0o755); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := unix.Mount("tmpfs", s.files, "tmpfs", 0, ""); err != nil {
		return nil, errors.Join(fmt.Errorf("mount a tmpfs on %s: %w", s.files, err), s.close())
	}
	s.closes = append(s.closes, func() error { return unix.Unmount(s.files, unix.MNT_DETACH) })
	if err := os.Mkdir(s.group, 0o755); err != nil {
		return nil, errors.Join(fmt.Errorf("make cgroup: %w", err), s.close())
	}
	s.closes = append(s.closes, func() error { return removeCgroups(s.group) })
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

func removeCgroups(dir string) error {
	below, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, b := range below {
		if b.IsDir() {
			if err := removeCgroups(filepath.Join(dir, b.Name())); err != nil {
				return err
			}
		}
	}
	return removeCgroup(dir)
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

// made is what the children did, by their own count.
type made struct {
	connections uint64 // tried
	accepted    uint64
	took        time.Duration
}

// worker is a child that does something in a cgroup of its own, and says at its end what it did.
func (s *stage) worker(group, role string, args ...any) (wait func() (made, error), err error) {
	dir := filepath.Join(s.group, group)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	fd, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	words := []string{roleFlag, role}
	for _, a := range args {
		words = append(words, fmt.Sprint(a))
	}
	cmd := exec.CommandContext(s.ctx, "/proc/self/exe", words...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(fd.Fd()), Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	return func() (made, error) {
		var m made
		line, err := bufio.NewReader(out).ReadString('\n')
		if err := errors.Join(cmd.Wait(), err); err != nil {
			return m, fmt.Errorf("worker %s: %w", role, err)
		}
		words := strings.Fields(line)
		if len(words) != 3 {
			return m, fmt.Errorf("worker %s said %q", role, line)
		}
		var numbers [3]uint64
		for i, w := range words {
			if numbers[i], err = strconv.ParseUint(w, 10, 64); err != nil {
				return m, fmt.Errorf("worker %s said %q: %w", role, line, err)
			}
		}
		return made{numbers[0], numbers[1], time.Duration(numbers[2])}, nil
	}, nil
}

// workers runs n of them at once and adds up.
func (s *stage) workers(n int, group func(i int) string, role string, args func(i int) []any) (made, error) {
	var sum made
	var waits []func() (made, error)
	var errs []error
	for i := range n {
		wait, err := s.worker(group(i), role, args(i)...)
		if err != nil {
			errs = append(errs, err)
			break
		}
		waits = append(waits, wait)
	}
	for _, wait := range waits {
		m, err := wait()
		errs = append(errs, err)
		sum.connections += m.connections
		sum.accepted += m.accepted
		sum.took = max(sum.took, m.took)
	}
	return sum, errors.Join(errs...)
}

func (s *stage) wait(d time.Duration) func() (made, error) {
	return func() (made, error) {
		select {
		case <-time.After(d):
			return made{}, nil
		case <-s.ctx.Done():
			return made{}, s.ctx.Err()
		}
	}
}
