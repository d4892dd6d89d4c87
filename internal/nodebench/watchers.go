package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/ambit-nhi/ambit/agent"
	"github.com/ambit-nhi/ambit/agent/handshake"
	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/event"
)

// watcher is what watches while a loop runs.
type watcher interface {
	start(context.Context) error // returns when it watches
	stop() error
	String() string
}

type nothing struct{}

func (nothing) start(context.Context) error { return nil }
func (nothing) stop() error                 { return nil }
func (nothing) String() string              { return "nothing" }

// command is a program that watches. It is ready when it has printed a line that begins with ready.
type command struct {
	name   string
	args   []string
	ready  string
	settle time.Duration // what it does once, when it starts, is not what watching costs
	cmd    *exec.Cmd
}

func (c *command) String() string { return c.name }

func (c *command) start(ctx context.Context) error {
	c.cmd = exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return errors.Join(fmt.Errorf("%s ended before it watched: %w", c.name, err), c.cmd.Wait())
		}
		if strings.HasPrefix(line, c.ready) {
			go io.Copy(io.Discard, lines) // as a terminal would, but faster
			time.Sleep(c.settle)
			return nil
		}
	}
}

func (c *command) stop() error {
	c.cmd.Process.Signal(syscall.SIGINT)
	err := c.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) { // tcplife and tcpstates end with the signal
		return nil
	}
	return err
}

func findTool(name string) (*command, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + name); err != nil {
			return nil, fmt.Errorf("find %s: %w; install Debian's libbpf-tools", name, err)
		}
	}
	header := map[string]string{"tcplife": "PID", "tcpstates": "SKADDR"}[name]
	return &command{name: name, args: []string{"stdbuf", "-oL", path}, ready: header, settle: time.Second}, nil
}

// runAgent is Ambit's agent as it runs on a node, with a stream of its own to publish to. It knows none whose word would count about certificates.
func runAgent(ctx context.Context, tls bool) error {
	dir, err := os.MkdirTemp("", "ambit-nodebench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cfg := collector.DefaultBusConfig()
	cfg.Dir = dir
	bus, err := collector.OpenBus(ctx, cfg)
	if err != nil {
		return err
	}
	defer bus.Close()
	nc, err := bus.Connect("agent")
	if err != nil {
		return err
	}
	defer nc.Close()
	td, err := event.ParseTrustDomain("bench.example")
	if err != nil {
		return err
	}
	config := agent.Config{Node: "bench", TrustDomain: td}
	if tls {
		config.TLS = &agent.TLSConfig{Judge: func([][]byte, time.Time) handshake.Verdict { return handshake.Verdict{Cause: "nobody is known"} }}
	}
	a, err := agent.New(config, nc)
	if err != nil {
		return err
	}
	return a.Run(ctx, func() { fmt.Println("ready") })
}
