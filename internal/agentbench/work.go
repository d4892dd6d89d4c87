package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	perCgroup = 4000 // edges or executables: below what the agent allows one cgroup
	ports     = 100  // known edges of each of two workers, and as many from the listener's side
	parallel  = 2
)

// connect makes connections to listeners that accept them, at a rate, by two processes.
func (s *stage) connect(rate int, length time.Duration) (made, error) {
	return s.workers(parallel, func(i int) string { return fmt.Sprint("known/", i) }, "connect", func(i int) []any {
		return []any{i, rate / parallel, int64(length)}
	})
}

// refuse makes n distinct edges in each of some cgroups, by connects to closed ports.
func (s *stage) refuse(group string, cgroups, n int) (made, error) {
	var sum made
	for i := 0; i < cgroups; i += parallel {
		m, err := s.workers(min(parallel, cgroups-i), func(j int) string { return fmt.Sprint(group, "/", i+j) }, "refuse", func(j int) []any {
			return []any{(i + j) * n, n}
		})
		sum.connections += m.connections
		sum.took += m.took
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// churn makes and removes n cgroups. In each, a process connects once.
func (s *stage) churn(n int) (made, error) {
	return s.workers(parallel, func(i int) string { return fmt.Sprint("churn/", i) }, "churn", func(i int) []any {
		return []any{filepath.Join(s.group, fmt.Sprint("churn/", i)), filepath.Join(s.files, fmt.Sprint("churn-", i)), n / parallel}
	})
}

// execute runs n distinct executables, each of which connects once, in cgroups of perCgroup.
func (s *stage) execute(n int) (made, error) {
	return s.workers(parallel, func(i int) string { return fmt.Sprint("run/", i) }, "execute", func(i int) []any {
		return []any{filepath.Join(s.group, fmt.Sprint("run/", i)), filepath.Join(s.files, fmt.Sprint("run-", i)), n / parallel}
	})
}

// work is what a worker does. It ends with three numbers on standard output: connections tried, accepted, and nanoseconds.
func work(ctx context.Context, role string, args []string) error {
	runtime.LockOSThread()
	number := func(i int) int {
		n, err := strconv.Atoi(args[i])
		if err != nil {
			panic(err) // the parent wrote it
		}
		return n
	}
	var m made
	var err error
	begin := time.Now()
	switch role {
	case "connect":
		m, err = workConnect(number(0), number(1), time.Duration(number(2)))
	case "refuse":
		m, err = workRefuse(number(0), number(1))
	case "churn":
		m, err = workChurn(args[0], args[1], number(2))
	case "execute":
		m, err = workExecute(args[0], args[1], number(2))
	default:
		return fmt.Errorf("unknown role %q", role)
	}
	fmt.Println(m.connections, m.accepted, time.Since(begin).Nanoseconds())
	return err
}

// The known edges' ports: the same ones each time, so that the edges are.
func workConnect(worker, rate int, length time.Duration) (m made, err error) {
	const first = 20_000
	var fds [ports]int
	var names [ports]unix.SockaddrInet4
	for i := range ports {
		if fds[i], err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return m, fmt.Errorf("make socket: %w", err)
		}
		defer unix.Close(fds[i])
		if err := unix.SetsockoptInt(fds[i], unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return m, err
		}
		names[i] = unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: first + worker*ports + i}
		if err := unix.Bind(fds[i], &names[i]); err != nil {
			return m, fmt.Errorf("bind port %d: %w", names[i].Port, err)
		}
		if err := unix.Listen(fds[i], 16); err != nil {
			return m, fmt.Errorf("listen: %w", err)
		}
	}
	begin := time.Now()
	for n := 0; ; n++ {
		passed := time.Since(begin)
		if passed >= length {
			return m, nil
		}
		if ahead := time.Duration(n)*time.Second/time.Duration(rate) - passed; ahead > time.Millisecond {
			time.Sleep(ahead)
		}
		if err := connectOnce(fds[n%ports], &names[n%ports]); err != nil {
			return m, err
		}
		m.connections++
		m.accepted++
	}
}

// connectOnce ends the server's side first, or the client would run out of ports.
func connectOnce(listener int, name *unix.SockaddrInet4) error {
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	if err := unix.Connect(client, name); err != nil {
		return errors.Join(fmt.Errorf("connect: %w", err), unix.Close(client))
	}
	server, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return errors.Join(fmt.Errorf("accept: %w", err), unix.Close(client))
	}
	return errors.Join(unix.Close(server), unix.Close(client))
}

// closedPort is one that nobody listens on; connectRefused makes sure.
const closedPort = 1

// workRefuse connects to n addresses of 127.0.0.0/8 from the given one on.
func workRefuse(from, n int) (m made, err error) {
	name := unix.SockaddrInet4{Port: closedPort}
	for i := from; i < from+n; i++ {
		a := i + 1<<16 // from 127.1.0.0 on
		name.Addr = [4]byte{127, byte(a >> 16), byte(a >> 8), byte(a)}
		if err := connectRefused(&name); err != nil {
			return m, err
		}
		m.connections++
	}
	return m, nil
}

func connectRefused(name *unix.SockaddrInet4) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, name); !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("connect to a closed port: %v", err)
	}
	return nil
}

func workChurn(group, files string, n int) (m made, err error) {
	program := files + "-program"
	if err := os.WriteFile(program, connector(closedPort), 0o755); err != nil {
		return m, err
	}
	for i := range n {
		dir := filepath.Join(group, "c"+strconv.Itoa(i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return m, fmt.Errorf("make cgroup: %w", err)
		}
		if err := errors.Join(startIn(dir, program), removeCgroup(dir)); err != nil {
			return m, err
		}
		m.connections++
	}
	return m, nil
}

func workExecute(group, files string, n int) (m made, err error) {
	if err := os.Mkdir(files, 0o755); err != nil {
		return m, err
	}
	image := connector(closedPort)
	for i := range n {
		dir := filepath.Join(group, "c"+strconv.Itoa(i/perCgroup))
		if i%perCgroup == 0 {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return m, fmt.Errorf("make cgroup: %w", err)
			}
		}
		program := filepath.Join(files, "program-"+strconv.Itoa(i))
		if err := os.WriteFile(program, image, 0o755); err != nil {
			return m, err
		}
		if err := errors.Join(startIn(dir, program), os.Remove(program)); err != nil {
			return m, err
		}
		m.connections++
	}
	return m, nil
}

// startIn runs a connector in a cgroup and waits for its end.
func startIn(dir, program string) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open cgroup: %w", err)
	}
	defer unix.Close(fd)
	pid, err := syscall.ForkExec(program, []string{program}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}})
	if err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return fmt.Errorf("wait for %s: %w", program, err)
	}
	if status.ExitStatus() != int(unix.ECONNREFUSED) {
		return fmt.Errorf("%s was not refused: status %#x", program, status)
	}
	return nil
}
