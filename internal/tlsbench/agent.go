package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/ambit-nhi/ambit/event"
)

// agent is a running one.
type agent struct {
	s     *stage
	cmd   *exec.Cmd
	group *cgroup
}

// startAgent starts one that watches TLS or not, and waits until it has attached to all that runs.
func (s *stage) startAgent(binary string, tls bool) (*agent, error) {
	probes := "off"
	if tls {
		probes = "on"
	}
	a := &agent{s: s, group: &cgroup{filepath.Join(s.group, "agent")}}
	if err := os.Mkdir(a.group.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	a.cmd = exec.Command(binary, "agent", "--node", "bench", "--trust-domain", trustDomain, "--interval", "1s", "--data", filepath.Join(s.folder, "data"))
	a.cmd.Env = append(os.Environ(), "AMBIT_NATS_URLS="+s.url, "AMBIT_TLS_PROBES="+probes, "AMBIT_TLS_TRUST_BUNDLES="+trustDomain+"="+s.paper.authority, "AMBIT_LOG_LEVEL=error")
	a.cmd.Stderr = os.Stderr
	if err := a.group.start(a.cmd); err != nil {
		return nil, errors.Join(fmt.Errorf("%w; make it with `make build`", err), removeCgroup(a.group.dir))
	}
	if err := a.settle(tls); err != nil {
		return nil, errors.Join(err, a.stop())
	}
	return a, nil
}

// settle waits until it has nothing left to attach to. Its heartbeats come every second.
func (a *agent) settle(tls bool) error {
	const same = 3
	var targets uint64
	for n := 0; n < same; {
		h, err := a.s.told.next(a.s.ctx)
		if err != nil {
			return err
		}
		if tls && h.Gauges["tls-targets"] == 0 || h.Gauges["tls-files-waiting"] > 0 || h.Gauges["tls-targets"] != targets {
			n = 0
		} else {
			n++
		}
		targets = h.Gauges["tls-targets"]
	}
	return nil
}

// stop waits until it has detached.
func (a *agent) stop() error {
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := a.cmd.Wait()
	if err != nil {
		err = fmt.Errorf("the agent ended: %w", err)
	}
	return errors.Join(err, removeCgroup(a.group.dir))
}

// seen waits until all is told that happened until now.
func (a *agent) seen() (h *event.Heartbeat, err error) {
	for range 3 { // what nobody tells more of is over after a second
		if h, err = a.s.told.next(a.s.ctx); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// memory is what a process has of it, in bytes; peak since resetPeak.
type memory struct{ rss, peak, anonymous uint64 }

func (a *agent) memory() (m memory, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", a.cmd.Process.Pid))
	if err != nil {
		return m, fmt.Errorf("look at the agent: %w", err)
	}
	defer f.Close()
	want := map[string]*uint64{"VmRSS": &m.rss, "VmHWM": &m.peak, "RssAnon": &m.anonymous}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if to := want[key]; to != nil {
			n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				return m, fmt.Errorf("look at the agent: %w", err)
			}
			*to = n << 10
		}
	}
	return m, lines.Err()
}

// resetPeak makes the kernel measure the peak anew.
func (a *agent) resetPeak() error {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", a.cmd.Process.Pid), []byte("5"), 0); err != nil {
		return fmt.Errorf("reset the agent's peak: %w", err)
	}
	return nil
}
