package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// reach is what the story's programs do: they speak to each address a few times a second, until ctx ends.
func reach(ctx context.Context, addresses string) {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		for target := range strings.SplitSeq(addresses, ",") {
			network, address, _ := strings.Cut(target, ":")
			if err := speak(network, address); err != nil {
				fmt.Fprintln(os.Stderr, "program:", err)
			}
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
func (s *stage) listen(network, address string) (string, error) {
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
func (s *stage) run(name string, targets ...string) (*program, error) {
	return s.runArgs(name, "-program", strings.Join(targets, ","))
}

// mutual runs two services that speak mutual TLS, and gives the one that asks.
func (s *stage) mutual(a *authority, answers, asks string) (*program, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // only to find a free port
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	if err := errors.Join(l.Close(), a.issue(answers), a.issue(asks)); err != nil {
		return nil, err
	}
	if _, err := s.runArgs(answers, a.dir, answers, "answer", address); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) { // until it listens
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			return nil, err
		}
	}
	return s.runArgs(asks, a.dir, asks, "ask", address)
}

func (s *stage) runArgs(name string, args ...string) (*program, error) {
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
	cmd.Stderr = os.Stderr
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
