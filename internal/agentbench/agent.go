package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ambit-nhi/ambit/internal/cli"
)

// startAgent starts the agent and waits until it watches.
func (s *stage) startAgent(binary, profiles string) error {
	args := []string{"agent", "--node", "bench", "--trust-domain", "bench.example"}
	if profiles != "" {
		folder, err := filepath.Abs(profiles)
		if err != nil {
			return err
		}
		binary, args = "/proc/self/exe", append([]string{roleFlag, "agent", folder}, args...)
	}
	s.agent = exec.Command(binary, args...)
	s.agent.Env = append(os.Environ(), "AMBIT_NATS_URLS="+s.url)
	s.agent.Stderr = os.Stderr
	s.agent.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for us, who then ask it to end
	if err := s.agent.Start(); err != nil {
		return fmt.Errorf("start the agent: %w; make it with `make build`", err)
	}
	s.closes = append(s.closes, func() error {
		if err := s.agent.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		if err := s.agent.Wait(); err != nil {
			return fmt.Errorf("the agent ended: %w", err)
		}
		return nil
	})
	_, err := s.told.settle(s.ctx)
	return err
}

// profiledAgent is the agent with profiles of all its life: of the processor, and of the heap at its end.
func profiledAgent(folder string, args []string) error {
	cpu, err := os.Create(filepath.Join(folder, "agent.cpu"))
	if err != nil {
		return err
	}
	defer cpu.Close()
	heap, err := os.Create(filepath.Join(folder, "agent.heap"))
	if err != nil {
		return err
	}
	defer heap.Close()
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return err
	}
	looking := make(chan struct{})
	go func() { // what lives shows only while it lives
		defer close(looking)
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		<-signals
		runtime.GC()
		if err := pprof.Lookup("heap").WriteTo(heap, 0); err != nil {
			fmt.Fprintln(os.Stderr, "agentbench:", err)
		}
	}()
	code := cli.Main(args)
	<-looking
	pprof.StopCPUProfile()
	if code != 0 {
		return fmt.Errorf("the agent ended with %d", code)
	}
	return nil
}

// usage is what a process takes of the machine.
type usage struct {
	rss, peak, anonymous, file uint64 // bytes; peak since resetPeak
	cpu                        time.Duration
}

func readUsage(pid int) (u usage, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, fmt.Errorf("look at the agent: %w", err)
	}
	defer f.Close()
	want := map[string]*uint64{"VmRSS": &u.rss, "VmHWM": &u.peak, "RssAnon": &u.anonymous, "RssFile": &u.file}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if to := want[key]; to != nil {
			n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				return u, fmt.Errorf("look at the agent: %w", err)
			}
			*to = n << 10
		}
	}
	if err := lines.Err(); err != nil {
		return u, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, fmt.Errorf("look at the agent: %w", err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	const utime, stime, tick = 11, 12, 10 * time.Millisecond // USER_HZ is 100 wherever Go runs
	for _, i := range []int{utime, stime} {
		n, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return u, fmt.Errorf("look at the agent: %w", err)
		}
		u.cpu += time.Duration(n) * tick
	}
	return u, nil
}

// resetPeak makes the kernel measure the peak anew.
func resetPeak(pid int) error {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		return fmt.Errorf("reset the agent's peak: %w", err)
	}
	return nil
}
