package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// SupervisorConfig says what child to keep running, and how.
type SupervisorConfig struct {
	Server ServerConfig // of the child; Parent and Log are not used

	Command []string // program and first arguments of the child; empty: this binary's clickhouse command
	Env     []string // added to this process's environment

	StartTimeout time.Duration // how long the child may take to answer its first query
	StopTimeout  time.Duration // how long it may take to end before it is killed
	MinBackoff   time.Duration // pause before the first restart; doubled up to MaxBackoff
	MaxBackoff   time.Duration
	SteadyAfter  time.Duration // a child that ran this long starts the backoff anew

	Log *slog.Logger // nil: slog.Default()
}

// DefaultSupervisorConfig keeps DefaultServerConfig's server running.
func DefaultSupervisorConfig() SupervisorConfig {
	server := DefaultServerConfig()
	return SupervisorConfig{
		Server:       server,
		StartTimeout: time.Minute,
		StopTimeout:  server.StopTimeout + killTimeout + 5*time.Second,
		MinBackoff:   100 * time.Millisecond,
		MaxBackoff:   30 * time.Second,
		SteadyAfter:  time.Minute,
	}
}

// Supervisor keeps an engine running in a child process.
type Supervisor struct {
	config   SupervisorConfig
	log      *slog.Logger
	ready    chan struct{}
	restarts atomic.Uint64
	pid      atomic.Int64
}

// NewSupervisor returns a supervisor; it starts nothing.
func NewSupervisor(config SupervisorConfig) (*Supervisor, error) {
	if err := config.Server.Validate(); err != nil {
		return nil, fmt.Errorf("configure clickhouse: %w", err)
	}
	if config.StartTimeout <= 0 || config.StopTimeout <= 0 || config.MinBackoff <= 0 || config.MaxBackoff < config.MinBackoff {
		return nil, errors.New("configure clickhouse: timeouts and backoffs must be more than 0, and MaxBackoff no less than MinBackoff")
	}
	if len(config.Command) == 0 {
		config.Command = []string{"/proc/self/exe", "clickhouse"}
	}
	s := &Supervisor{config: config, log: config.Log, ready: make(chan struct{})}
	if s.log == nil {
		s.log = slog.Default()
	}
	return s, nil
}

// Ready is closed when the engine answered its first query. It stays closed
// while a child that died is replaced; clients repeat what failed then.
func (s *Supervisor) Ready() <-chan struct{} { return s.ready }

// Restarts counts children that were started after the first.
func (s *Supervisor) Restarts() uint64 { return s.restarts.Load() }

// PID is the process id of the running child, or 0.
func (s *Supervisor) PID() int { return int(s.pid.Load()) }

// Run starts the child and replaces it whenever it dies, until ctx ends; then
// it stops the child in order and returns nil. A child that fails before the
// engine was ready for the first time is not tried again: its configuration is
// wrong, and Run returns what it said.
func (s *Supervisor) Run(ctx context.Context) error {
	backoff := s.config.MinBackoff
	for {
		started := time.Now()
		err := s.runChild(ctx)
		if ctx.Err() != nil {
			return err
		}
		select {
		case <-s.ready:
		default:
			return err
		}
		if time.Since(started) >= s.config.SteadyAfter {
			backoff = s.config.MinBackoff
		}
		s.log.Error("clickhouse ended, starting it again", "error", err, "pause", backoff, "restarts", s.restarts.Load())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, s.config.MaxBackoff)
		s.restarts.Add(1)
	}
}

// runChild runs one child to its end. It returns nil only if ctx ended and the
// child stopped in order.
func (s *Supervisor) runChild(ctx context.Context) error {
	args := append(s.config.Command[1:len(s.config.Command):len(s.config.Command)], s.config.Server.arguments()...)
	cmd := exec.Command(s.config.Command[0], append(args, "--supervised")...)
	cmd.Env = append(os.Environ(), s.config.Env...)
	// In a group of its own the child does not get the terminal's Ctrl-C, and
	// so outlives those who still have something to store.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start clickhouse: %w", err)
	}
	defer stdin.Close() // tells the child that we are gone, as our death would
	said := &childLog{log: s.log}
	cmd.Stderr, cmd.Stdout = said, said
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start clickhouse: %w", err)
	}
	s.pid.Store(int64(cmd.Process.Pid))
	defer s.pid.Store(0)

	ended := make(chan struct{})
	var exit error
	var g errgroup.Group
	g.Go(func() error {
		exit = cmd.Wait()
		said.close()
		close(ended)
		return nil
	})
	err = s.watch(ctx, cmd.Process.Pid, ended)
	stopped := s.stop(cmd.Process, ended)
	g.Wait()
	switch {
	case !stopped:
		return fmt.Errorf("stop clickhouse: did not end in %v and was killed", s.config.StopTimeout)
	case ctx.Err() != nil && (exit == nil || terminated(exit)):
		return nil
	case err != nil:
		return err
	case exit == nil:
		return errors.New("run clickhouse: ended by itself")
	default:
		return fmt.Errorf("run clickhouse: %w%s", exit, said.last())
	}
}

// terminated tells whether a child ended by the SIGTERM that stop sent, which
// happens before it began to listen for it.
func terminated(exit error) bool {
	var e *exec.ExitError
	if !errors.As(exit, &e) {
		return false
	}
	status, ok := e.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGTERM
}

// watch returns when the child ended, when ctx ended, or with an error when
// the child did not become ready in time.
func (s *Supervisor) watch(ctx context.Context, pid int, ended <-chan struct{}) error {
	starting, cancel := context.WithTimeout(ctx, s.config.StartTimeout)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for s.ask(starting, pid) != nil {
		select {
		case <-ended:
			return nil
		case <-ctx.Done():
			return nil
		case <-starting.Done():
			return fmt.Errorf("start clickhouse: gave no answer in %v", s.config.StartTimeout)
		case <-again.C:
		}
	}
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
	select {
	case <-ended:
	case <-ctx.Done():
	}
	return nil
}

// ask runs a query over the socket, if it is the child with this pid that
// serves it, and not an engine that someone else started.
func (s *Supervisor) ask(ctx context.Context, pid int) error {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, "unix", s.config.Server.Socket)
			if err != nil {
				return nil, err
			}
			if peer, err := peerPID(c.(*net.UnixConn)); err != nil || peer != pid {
				c.Close()
				return nil, fmt.Errorf("dial clickhouse: socket is served by process %d (%v)", peer, err)
			}
			return c, nil
		},
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://clickhouse/", bytes.NewReader([]byte("SELECT 1")))
	if err != nil {
		return err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1024))
	if err == nil && string(answer) != "1\n" {
		err = fmt.Errorf("query clickhouse: unexpected answer %q", answer)
	}
	return err
}

// peerPID is the process that listens at the other end of c.
func peerPID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *unix.Ucred
	controlErr := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(controlErr, err); err != nil {
		return 0, err
	}
	return int(peer.Pid), nil
}

// stop ends the child by SIGTERM, and by SIGKILL if it takes too long. It
// reports whether the child ended without the latter.
func (s *Supervisor) stop(child *os.Process, ended <-chan struct{}) bool {
	child.Signal(syscall.SIGTERM) // fails only if it ended already
	timeout := time.NewTimer(s.config.StopTimeout)
	defer timeout.Stop()
	select {
	case <-ended:
		return true
	case <-timeout.C:
		child.Kill()
		<-ended
		return false
	}
}
