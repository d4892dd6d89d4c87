// Package process runs real programs for benchmarks and chaos: they end with who started them, can be killed like by the kernel, and say what
// they take of the machine.
package process

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
	"sync"
	"syscall"
	"time"
)

// Set starts processes, and ends all of them at its end. It is safe for concurrent use.
type Set struct {
	folder string // of logs
	spawn  chan func()

	mu  sync.Mutex
	all []*Process
}

// NewSet makes a set whose logs are files in a folder that exists.
func NewSet(folder string) *Set {
	s := &Set{folder: folder, spawn: make(chan func())}
	// The kernel kills a child when the thread that started it ends, so all are started by one thread, which lives as long as the set.
	go func() {
		runtime.LockOSThread()
		for f := range s.spawn {
			f()
		}
	}()
	return s
}

// Process is one that was started.
type Process struct {
	Name  string
	Stdin io.WriteCloser
	Log   string // file of what it writes to standard error

	cmd   *exec.Cmd
	lines chan string // of its standard output; what nobody reads in time goes nowhere
	ended chan struct{}
	err   error // valid after ended
}

// Start starts a program. Its standard error is appended to the log of its name.
func (s *Set) Start(name string, env []string, program string, args ...string) (*Process, error) {
	log, err := os.OpenFile(filepath.Join(s.folder, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer log.Close()
	p := &Process{Name: name, Log: log.Name(), lines: make(chan string, 64), ended: make(chan struct{})}
	p.cmd = exec.Command(program, args...)
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), env...), log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // an interrupt is for us
	if p.Stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	started := make(chan error)
	s.spawn <- func() { started <- p.cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			select {
			case p.lines <- lines.Text():
			default:
			}
		}
		close(p.lines)
		_, _ = io.Copy(io.Discard, out)
		p.err = p.cmd.Wait()
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, p)
	return p, nil
}

// Close kills what still runs, the last started first.
func (s *Set) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.all) - 1; i >= 0; i-- {
		s.all[i].Kill()
	}
	s.all = nil
	close(s.spawn)
}

// Line gives the first line of its standard output for which match says true.
func (p *Process) Line(ctx context.Context, match func(string) bool) (string, error) {
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				<-p.ended
				return "", fmt.Errorf("%s ended (%v); see %s", p.Name, p.cmd.ProcessState, p.Log)
			}
			if match(line) {
				return line, nil
			}
		case <-ctx.Done():
			return "", fmt.Errorf("wait for %s: %w", p.Name, ctx.Err())
		}
	}
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when it has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Kill ends it as the kernel would: it is told nothing.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// Stop asks it to end, and waits. It must end well.
func (p *Process) Stop(within time.Duration) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.Name, err)
	}
	select {
	case <-p.ended:
	case <-time.After(within):
		p.Kill()
		return fmt.Errorf("stop %s: it did not end within %s; see %s", p.Name, within, p.Log)
	}
	if p.err != nil {
		return fmt.Errorf("stop %s: %w; see %s", p.Name, p.err, p.Log)
	}
	return nil
}
