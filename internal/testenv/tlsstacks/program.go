package tlsstacks

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a program may take for what it is asked.
const patience = 60 * time.Second

// program is a process that is spoken to by lines. It dies with the test, and with the test's process.
type program struct {
	name   string
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  chan []byte // closed when it says no more
	errors *tail
}

func run(t testing.TB, name string, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{name: name, cmd: cmd, lines: make(chan []byte, 4096), errors: &tail{}}
	if cmd.Stderr == nil {
		cmd.Stderr = p.errors
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in = in
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	read := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(read)
		defer close(p.lines)
		for r := bufio.NewReader(out); ; {
			line, err := r.ReadBytes('\n')
			if err != nil {
				return
			}
			select {
			case p.lines <- line:
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		p.in.Close()
		_ = cmd.Process.Kill() // it may have ended
		<-read
		_ = cmd.Wait() // a signal's doing
		if t.Failed() {
			t.Logf("%s ended with %v: %s", name, cmd.ProcessState, p.errors)
		}
	})
	return p
}

// line is what the program says next; the test fails if that takes too long.
func (p *program) line(t testing.TB) []byte {
	t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			t.Fatalf("%s ended: %s", p.name, p.errors)
		}
		return line
	case <-time.After(patience):
		t.Fatalf("%s says nothing for %s: %s", p.name, patience, p.errors)
	}
	return nil
}

func (p *program) read(t testing.TB, v any) {
	t.Helper()
	line := p.line(t)
	if err := json.Unmarshal(line, v); err != nil {
		t.Fatalf("%s says %q: %v", p.name, line, err)
	}
}

func (p *program) write(t testing.TB, v any) {
	t.Helper()
	line, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		t.Fatalf("tell %s what to do: %v: %s", p.name, err, p.errors)
	}
}

// Server is a running server.
type Server struct {
	PID       int
	Addresses []netip.AddrPort

	name  string
	truth func(t testing.TB) Truth
}

// Truths waits for n more connections and tells what the server says of them, in the order in which it says it. It is for stacks that tell.
func (s *Server) Truths(t testing.TB, n int) []Truth {
	t.Helper()
	truths := make([]Truth, n)
	for i := range truths {
		truths[i] = s.truth(t)
	}
	return truths
}

// Successes does so for connections that came about; not all servers tell of others.
func (s *Server) Successes(t testing.TB, n int) (truths []Truth) {
	t.Helper()
	for len(truths) < n {
		if truth := s.truth(t); truth.Error == "" {
			truths = append(truths, truth)
		}
	}
	return truths
}

// Client is a running client, or what starts one for each connection.
type Client struct {
	PID int // 0: a process for each connection

	dial   func(t testing.TB, ends []End) []Truth
	repeat func(t testing.TB, end End, n int) []Truth // nil: by dial
}

// Dial dials to all ends at once and waits until all is said; truths are in the order of the ends.
func (c *Client) Dial(t testing.TB, ends ...End) []Truth {
	t.Helper()
	return c.dial(t, ends)
}

// Repeat dials n times to the same end, one after another, each time offering the session that came before.
func (c *Client) Repeat(t testing.TB, end End, n int) []Truth {
	t.Helper()
	end.Session = end.ID
	if c.repeat != nil {
		return c.repeat(t, end, n)
	}
	var truths []Truth
	for range n {
		truths = append(truths, c.dial(t, []End{end})...)
	}
	return truths
}

// driven gives a stack the program that speaks as the package says.
func driven(s *Stack, name string, args ...string) *Stack {
	command := func(role string) *exec.Cmd { return exec.Command(name, append(args[:len(args):len(args)], role)...) }
	s.Tells, s.ClientTells = All, All
	s.Listen = func(t testing.TB, ends []End) *Server {
		t.Helper()
		p := run(t, s.Name+" server", command("server"))
		p.write(t, ends)
		server := &Server{PID: p.cmd.Process.Pid, name: p.name}
		var at struct{ Listening []netip.AddrPort }
		p.read(t, &at)
		if server.Addresses = at.Listening; len(at.Listening) != len(ends) {
			t.Fatalf("%s listens on %v for %d ends", p.name, at.Listening, len(ends))
		}
		server.truth = func(t testing.TB) (truth Truth) {
			t.Helper()
			p.read(t, &truth)
			return truth
		}
		return server
	}
	s.Start = func(t testing.TB, _ []End) *Client {
		t.Helper()
		p := run(t, s.Name+" client", command("client"))
		var first struct{ Ready bool }
		if p.read(t, &first); !first.Ready {
			t.Fatalf("%s is not ready", p.name)
		}
		return &Client{PID: p.cmd.Process.Pid, dial: p.dial}
	}
	return s
}

func (p *program) dial(t testing.TB, ends []End) []Truth {
	t.Helper()
	p.write(t, ends)
	said := map[string]Truth{}
	for range ends {
		var truth Truth
		p.read(t, &truth)
		said[truth.ID] = truth
	}
	var last struct{ Done bool }
	if p.read(t, &last); !last.Done {
		t.Fatalf("%s is not done after %d connections", p.name, len(ends))
	}
	truths := make([]Truth, len(ends))
	for i, end := range ends {
		truth, ok := said[end.ID]
		if !ok {
			t.Fatalf("%s says nothing of %s", p.name, end.ID)
		}
		truths[i] = truth
	}
	return truths
}

// each runs one process for each connection, so many at a time.
func each(ends []End, atOnce int, dial func(End) (Truth, error)) []Truth {
	truths := make([]Truth, len(ends))
	turn := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, end := range ends {
		turn <- struct{}{}
		all.Go(func() {
			defer func() { <-turn }()
			truth, err := dial(end)
			if truth.ID = end.ID; err != nil {
				truth.Error = err.Error()
			}
			truths[i] = truth
		})
	}
	all.Wait()
	return truths
}

// tail keeps the end of what a program complains of.
type tail struct {
	lock sync.Mutex
	text []byte
}

func (w *tail) Write(p []byte) (int, error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.text = append(w.text, p...)
	w.text = w.text[max(0, len(w.text)-600):]
	return len(p), nil
}

func (w *tail) String() string {
	w.lock.Lock()
	defer w.lock.Unlock()
	return string(bytes.TrimSpace(w.text))
}

// output runs a command to its end and tells what it printed; an error has what it complained of.
func output(cmd *exec.Cmd) ([]byte, error) {
	complaints := &tail{}
	cmd.Stderr = complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%w: %s", err, complaints)
	}
	return out, nil
}
