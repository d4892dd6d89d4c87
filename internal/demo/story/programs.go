package story

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// programEnv, set in the environment, makes a binary one of the story's programs.
const programEnv = "AMBIT_DEMO_PROGRAM"

// Program runs this binary as one of the story's programs, if Tell started it as such, until it is told to end; whether it did. What calls Tell calls
// it first.
func Program() bool {
	name, args := os.Getenv(programEnv), os.Args[1:]
	if name == "" {
		return false
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if args[0] == "reach" {
		reach(ctx, name, args[1:])
	} else { // dir address
		err = service(ctx, args[1], name, args[0], args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
	return true
}

// reach speaks to each address, such as tcp:127.0.0.1:80, a few times a second, until ctx ends, and says when one begins or ceases to answer.
func reach(ctx context.Context, name string, targets []string) {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	last := map[string]string{}
	for {
		for _, target := range targets {
			network, address, _ := strings.Cut(target, ":")
			said := "answers"
			if err := speak(network, address); err != nil {
				said = err.Error()
			}
			if before, known := last[target]; said != before && (known || said != "answers") {
				fmt.Fprintf(os.Stderr, "%s: %s: %s\n", name, target, said)
			}
			last[target] = said
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func speak(network, address string) error {
	c, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 64))
	return err
}

// listen answers every connection or datagram on a port of its own, until the stage closes.
func (s *Stage) listen(network, address string) (string, error) {
	if network == "udp" {
		c, err := net.ListenPacket(network, address)
		if err != nil {
			return "", err
		}
		s.closers = append(s.closers, c)
		go func() {
			b := make([]byte, 64)
			for {
				n, from, err := c.ReadFrom(b)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err == nil {
					c.WriteTo(b[:n], from)
				}
			}
		}()
		return c.LocalAddr().String(), nil
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return "", err
	}
	s.closers = append(s.closers, l)
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				go func() {
					defer c.Close()
					c.SetDeadline(time.Now().Add(5 * time.Second))
					io.CopyN(c, c, 5)
				}()
			}
		}
	}()
	return l.Addr().String(), nil
}

// program is one of the story's programs, running.
type program struct {
	name string
	cmd  *exec.Cmd
}

// run starts a program in the cgroup of its name.
func (s *Stage) run(name string, targets ...string) (*program, error) {
	return s.runArgs(name, append([]string{"reach"}, targets...)...)
}

// mutual runs two services that speak mutual TLS, and gives the one that asks.
func (s *Stage) mutual(a *authority, answers, asks string) (*program, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // only to find a free port
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	if err := errors.Join(l.Close(), a.issue(answers), a.issue(asks)); err != nil {
		return nil, err
	}
	if _, err := s.runArgs(answers, "answer", a.dir, address); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) { // until it listens
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			return nil, err
		}
	}
	return s.runArgs(asks, "ask", a.dir, address)
}

func (s *Stage) runArgs(name string, args ...string) (*program, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	group, err := s.cgroup(name)
	if err != nil {
		return nil, err
	}
	dir, err := os.Open(group)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), programEnv+"="+name)
	cmd.Stderr = s.story.Err
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start program %s: %w", name, err)
	}
	p := &program{name, cmd}
	s.programs = append(s.programs, p)
	return p, nil
}

// end ends the program; a second call does nothing.
func (p *program) end() {
	if p.cmd.ProcessState == nil {
		p.cmd.Process.Signal(syscall.SIGTERM)
		p.cmd.Wait()
	}
}
