package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/ambit-nhi/ambit/agent/workload"
	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/event"
)

// stage is what the story plays on: a temporary folder, a cgroup, a running Ambit.
type stage struct {
	ctx      context.Context
	binary   string
	data     string
	group    string // folder of the story's cgroup
	path     string // the same, below the cgroup root
	url      string
	up       *exec.Cmd
	programs []*program
	closers  []io.Closer
	groups   []string
}

func newStage(ctx context.Context, binary string) (*stage, error) {
	mount, err := workload.FindMount()
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp("", "ambit-demo-")
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("ambit-demo-%d", os.Getpid())
	s := &stage{ctx: ctx, binary: binary, data: data, group: filepath.Join(mount.Path, name), path: "/" + name}
	if err := os.Mkdir(s.group, 0o755); err != nil {
		return nil, errors.Join(fmt.Errorf("make cgroup: %w", err), os.RemoveAll(data))
	}
	return s, nil
}

func (s *stage) cgroup(name string) (string, error) {
	dir := filepath.Join(s.group, name)
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrExist) {
		return dir, nil
	}
	if err != nil {
		return "", fmt.Errorf("make cgroup: %w", err)
	}
	s.groups = append(s.groups, dir)
	return dir, nil
}

// close stops everything in order and removes what was made.
func (s *stage) close() error {
	var errs []error
	for _, p := range s.programs {
		p.end()
	}
	if s.up != nil {
		s.up.Process.Signal(syscall.SIGTERM)
		if err := s.up.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("ambit up ended: %w", err))
		}
	}
	for _, c := range s.closers {
		c.Close()
	}
	for _, dir := range append(s.groups, s.group) {
		errs = append(errs, removeCgroup(dir))
	}
	return errors.Join(append(errs, os.RemoveAll(s.data))...)
}

// removeCgroup waits for the kernel to let go of the processes that have ended.
func removeCgroup(dir string) error {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := os.Remove(dir)
		if err == nil || !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return err
		}
	}
}

var urlLine = regexp.MustCompile(`http://\S+`)

func (s *stage) start(args ...string) error {
	s.up = exec.Command(s.binary, append([]string{"up", "--data", s.data, "--listen", "127.0.0.1:0"}, args...)...)
	s.up.Env = append(os.Environ(), "AMBIT_TLS_TRUST_BUNDLES="+shopDomain+"="+filepath.Join(s.data, "authority.pem"))
	s.up.Stderr = os.Stderr
	out, err := s.up.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.up.Start(); err != nil {
		s.up = nil
		return fmt.Errorf("start ambit up: %w", err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		fmt.Println(" ", lines.Text())
		if s.url = urlLine.FindString(lines.Text()); s.url != "" {
			go io.Copy(io.Discard, out)
			return nil
		}
	}
	return errors.New("ambit up ended before it printed its URL")
}

func (s *stage) identity(program string) string {
	td, err := event.ParseTrustDomain("ambit.local")
	if err != nil {
		panic(err) // a constant
	}
	node, err := os.Hostname()
	if err != nil {
		return program
	}
	return event.CgroupIdentity(td, node, s.path+"/"+program).String()
}

// show prints a command and what it says.
func (s *stage) show(args ...string) error {
	fmt.Printf("  $ ambit %s\n", strings.Join(args, " "))
	cmd := exec.CommandContext(s.ctx, s.binary, append(args, "--server", s.url)...)
	out, err := cmd.CombinedOutput()
	for line := range bytes.Lines(out) {
		fmt.Printf("  %s", line)
	}
	if err != nil {
		return fmt.Errorf("ambit %s: %w", args[0], err)
	}
	return nil
}

func (s *stage) ask(v any, args ...string) error {
	out, err := exec.CommandContext(s.ctx, s.binary, append(args, "-o", "json", "--server", s.url)...).Output()
	if err != nil {
		return fmt.Errorf("ambit %s: %w", args[0], err)
	}
	return json.Unmarshal(out, v)
}

// wait asks until done says so.
func (s *stage) wait(what string, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-s.ctx.Done():
			return fmt.Errorf("wait for %s: the story takes too long", what)
		}
	}
}

func (s *stage) waitState(state string, programs ...*program) error {
	last := ""
	return s.wait("state "+state, func() (bool, error) {
		var page api.Page[api.Identity]
		if err := s.ask(&page, "identities", "--query", "ambit-demo"); err != nil {
			return false, err
		}
		there := 0
		line := ""
		for _, i := range page.Items {
			for _, p := range programs {
				if i.Identity.String() == s.identity(p.name) {
					line += fmt.Sprintf("  %s: %s %.0f %%", p.name, i.State, 100*i.Progress.Fraction)
					if i.State == state {
						there++
					}
				}
			}
		}
		if line != last {
			fmt.Println(line)
			last = line
		}
		return there == len(programs), nil
	})
}

// waitMutual waits until one service is seen to reach the other, and the other to be reached, by the identities in their certificates.
func (s *stage) waitMutual(asks, answers string) error {
	id := func(name string) string { return "spiffe://" + shopDomain + "/" + name }
	seen := func(of, other string) (bool, error) {
		var page api.Page[api.Identity]
		if err := s.ask(&page, "identities", "--query", id(of)); err != nil || len(page.Items) == 0 {
			return false, err
		}
		var reach api.Page[api.Reach]
		if err := s.ask(&reach, "reach", id(of), "--direction", "any"); err != nil {
			return false, err
		}
		for _, r := range reach.Items {
			if strings.HasPrefix(r.Resource.String(), id(other)+":") {
				return true, nil
			}
		}
		return false, nil
	}
	return s.wait("both ends of mutual TLS by their certificates", func() (bool, error) {
		there, err := seen(asks, answers)
		if there && err == nil {
			there, err = seen(answers, asks)
		}
		return there, err
	})
}

func (s *stage) waitFinding(address string) error {
	port := address[strings.LastIndexByte(address, ':'):]
	return s.wait("the finding", func() (bool, error) {
		var page api.Page[event.Finding]
		if err := s.ask(&page, "findings"); err != nil {
			return false, err
		}
		for _, f := range page.Items {
			if strings.Contains(f.Resource.String(), port+"/") {
				return true, nil
			}
		}
		return false, nil
	})
}

func (s *stage) showExplanation() error {
	var page api.Page[event.Finding]
	if err := s.ask(&page, "findings"); err != nil {
		return err
	}
	for _, f := range page.Items {
		fmt.Printf("  why: %s\n", strings.Join(f.Explanation, "\n       "))
	}
	return nil
}

func (s *stage) waitUnused(program string, window time.Duration) error {
	return s.wait("silence", func() (bool, error) {
		var page struct {
			Items []struct {
				Identity string `json:"identity"`
			} `json:"items"`
		}
		if err := s.ask(&page, "report", "unused", "--window", window.String()); err != nil {
			return false, err
		}
		for _, i := range page.Items {
			if i.Identity == s.identity(program) {
				return true, nil
			}
		}
		return false, nil
	})
}
