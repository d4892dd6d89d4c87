package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// child is a program that serves a test. It dies with the test's process, whatever happens to that.
type child struct {
	name  string
	log   string // file
	cmd   *exec.Cmd
	ended chan struct{}
}

func startChild(t testing.TB, dir, program string, args ...string) *child {
	t.Helper()
	name := filepath.Base(program)
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c := &child{name: name, log: log.Name(), cmd: exec.Command(program, args...), ended: make(chan struct{})}
	c.cmd.Dir, c.cmd.Stdout, c.cmd.Stderr = dir, log, log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		defer close(c.ended)
		_ = c.cmd.Wait() // whoever cares reads the log
	}()
	return c
}

// await asks until the program answers, and fails the test if it ends before, or never does.
func (c *child) await(t testing.TB, within time.Duration, ask func() error) {
	t.Helper()
	late := time.After(within)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-c.ended:
			t.Fatalf("start %s: it ended (%v)", c.name, c.cmd.ProcessState)
		case <-late:
			t.Fatalf("start %s: not ready after %s: %v", c.name, within, err)
		case <-again.C:
		}
	}
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.ended
}

// said is the end of what the program logged.
func (c *child) said() []byte {
	const most = 16 << 10
	text, err := os.ReadFile(c.log)
	if err != nil {
		return []byte(err.Error())
	}
	return text[max(0, len(text)-most):]
}
