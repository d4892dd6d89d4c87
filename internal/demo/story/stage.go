package story

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
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
	"github.com/ambit-nhi/ambit/event"
)

// Stage is what a story plays on: a temporary folder, a cgroup, a running Ambit.
type Stage struct {
	// Data is the folder of Ambit, which goes with the stage.
	Data string
	// URL is where Ambit answers, once it has started.
	URL string

	ctx      context.Context
	story    *Story
	group    string // folder of the story's cgroup
	path     string // the same, below the cgroup root
	up       *exec.Cmd
	programs []*program
	closers  []io.Closer
	groups   []string
}

func newStage(ctx context.Context, story *Story) (*Stage, error) {
	mount, err := workload.FindMount()
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp("", "ambit-demo-")
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("ambit-demo-%d", os.Getpid())
	if story.Units {
		name += ".slice"
	}
	s := &Stage{ctx: ctx, story: story, Data: data, group: filepath.Join(cmp.Or(story.Parent, mount.Path), name)}
	s.path = strings.TrimPrefix(s.group, mount.Path)
	if err := os.Mkdir(s.group, 0o755); err != nil {
		return nil, errors.Join(fmt.Errorf("make cgroup: %w", err), os.RemoveAll(data))
	}
	return s, nil
}

const unit = ".service"

func (s *Stage) cgroup(name string) (string, error) {
	if s.story.Units {
		name += unit
	}
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
func (s *Stage) close() error {
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
	return errors.Join(append(errs, os.RemoveAll(s.Data))...)
}

// removeCgroup waits for the kernel to let go of the processes that have ended.
func removeCgroup(dir string) error {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := os.Remove(dir)
		if err == nil || !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return err
		}
	}
}

var urlLine = regexp.MustCompile(`http://\S+`)

func (s *Stage) start(args ...string) error {
	s.up = exec.Command(s.story.Binary, append([]string{"up", "--data", s.Data, "--listen", "127.0.0.1:0", "--node", s.story.Node}, args...)...)
	s.up.Env = append(append(os.Environ(), s.story.Env...), "AMBIT_TLS_TRUST_BUNDLES="+shopDomain+"="+filepath.Join(s.Data, "authority.pem"))
	s.up.Stderr = s.story.Err
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
		fmt.Fprintln(s.story.Out, " ", lines.Text())
		if s.URL = urlLine.FindString(lines.Text()); s.URL != "" {
			go io.Copy(io.Discard, out)
			return nil
		}
	}
	return errors.New("ambit up ended before it printed its URL")
}

// query finds the story's programs.
func (s *Stage) query() string {
	if s.story.Units {
		return unit
	}
	return "ambit-demo"
}

// Identity is that of one of the story's programs, by its cgroup or unit.
func (s *Stage) Identity(program string) string {
	td, err := event.ParseTrustDomain("ambit.local")
	if err != nil {
		panic(err) // a constant
	}
	if s.story.Units {
		return event.UnitIdentity(td, s.story.Node, program+unit).String()
	}
	return event.CgroupIdentity(td, s.story.Node, s.path+"/"+program).String()
}

// show prints a command and what it says.
func (s *Stage) show(args ...string) error {
	fmt.Fprintf(s.story.Out, "  $ ambit %s\n", strings.Join(args, " "))
	cmd := exec.CommandContext(s.ctx, s.story.Binary, append(args, "--server", s.URL)...)
	out, err := cmd.CombinedOutput()
	for line := range bytes.Lines(out) {
		fmt.Fprintf(s.story.Out, "  %s", line)
	}
	if err != nil {
		return fmt.Errorf("ambit %s: %w", args[0], err)
	}
	return nil
}
