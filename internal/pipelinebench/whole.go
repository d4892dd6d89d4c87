package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/ambit-nhi/ambit/internal/cli"
	"github.com/ambit-nhi/ambit/internal/pipelinebench/process"
)

// wholeRun is one round of the whole way.
type wholeRun struct {
	published
	took                         time.Duration // from the first message until the engine has all
	collector, engine, nats      time.Duration // of processors
	peak, enginePeak             uint64
	rows, connections, reachSums uint64 // in the engine at the end
}

func (w *wholeRun) rate() float64 { return float64(w.rows) / w.took.Seconds() }

// whole publishes n observations and waits until the engine has them.
func (s *stage) whole(round, n int, z sizes) (w wholeRun, err error) {
	folder := filepath.Join(s.folder, fmt.Sprint("w", round))
	broker, url, err := s.startNATS(filepath.Join(folder, "nats"))
	if err != nil {
		return w, err
	}
	defer broker.Kill()
	data := filepath.Join(folder, "d")
	collector, _, err := s.startCollector(data, url, round)
	if err != nil {
		return w, err
	}
	defer collector.Kill()
	sender, err := s.Start("publishers", nil, self, roleFlag, "publishers", "-url", url, "-n", fmt.Sprint(n), "-publishers", fmt.Sprint(z.publishers),
		"-active", fmt.Sprint(z.active), "-start", fmt.Sprint(begin(n, z.publishers, z.active).Unix()))
	if err != nil {
		return w, err
	}
	defer sender.Kill()
	ctx, cancel := s.within(10 * time.Minute)
	defer cancel()
	if _, err := sender.Line(ctx, func(line string) bool { return line == "ready" }); err != nil {
		return w, err
	}
	db, err := openEngine(filepath.Join(data, "run", "clickhouse.sock"))
	if err != nil {
		return w, err
	}
	defer db.Close()
	engine, err := engineOf(collector)
	if err != nil {
		return w, err
	}
	before, err := usages(collector.PID(), engine, broker.PID())
	if err != nil {
		return w, err
	}
	start := time.Now()
	if _, err := io.WriteString(sender.Stdin, "go\n"); err != nil {
		return w, err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for w.rows < uint64(n) || w.connections != w.reachSums { // views have the rows of a block a moment later
		select {
		case <-tick.C:
		case <-collector.Ended():
			return w, fmt.Errorf("the collector ended; see %s", collector.Log)
		case <-ctx.Done():
			return w, fmt.Errorf("wait for %d rows, of which there are %d, with %d connections, %d in reach: %w", n, w.rows, w.connections, w.reachSums, ctx.Err())
		}
		if err := db.QueryRow(ctx, "SELECT count() FROM observations").Scan(&w.rows); err != nil {
			return w, fmt.Errorf("count rows: %w", err)
		}
		if w.rows < uint64(n) {
			continue
		}
		const sums = "SELECT sum(connections), (SELECT sum(connections) FROM reach) FROM observations"
		if err := db.QueryRow(ctx, sums).Scan(&w.connections, &w.reachSums); err != nil {
			return w, fmt.Errorf("sum connections: %w", err)
		}
	}
	w.took = time.Since(start)
	after, err := usages(collector.PID(), engine, broker.PID())
	if err != nil {
		return w, err
	}
	w.collector, w.engine, w.nats = after[0].CPU-before[0].CPU, after[1].CPU-before[1].CPU, after[2].CPU-before[2].CPU
	w.peak, w.enginePeak = after[0].Peak, after[1].Peak
	said, err := sender.Line(ctx, func(line string) bool { return strings.HasPrefix(line, "{") })
	if err != nil {
		return w, err
	}
	if err := json.Unmarshal([]byte(said), &w.published); err != nil {
		return w, err
	}
	if w.rows != w.Observations || w.connections != w.Connections {
		return w, fmt.Errorf("published were %d observations of %d connections; in the engine are %d of %d", w.Observations, w.Connections, w.rows, w.connections)
	}
	db.Close()
	if err := collector.Stop(time.Minute); err != nil {
		return w, err
	}
	broker.Kill()
	return w, os.RemoveAll(folder)
}

// startCollector starts the real collector, or the one in this program if there are to be profiles.
func (s *stage) startCollector(data, url string, round int, args ...string) (p *process.Process, api string, err error) {
	args = append([]string{"collector", "--data", data, "--listen", "127.0.0.1:0"}, args...)
	program := s.binary
	if s.profiles != "" {
		program, args = self, append([]string{roleFlag, "collector", filepath.Join(s.profiles, fmt.Sprintf("collector-%d.cpu", round))}, args...)
	}
	if p, err = s.Start("collector", []string{"AMBIT_NATS_URLS=" + url}, program, args...); err != nil {
		return nil, "", err
	}
	ctx, cancel := s.within(time.Minute)
	defer cancel()
	line, err := p.Line(ctx, func(line string) bool { return strings.Contains(line, "http://") })
	return p, line[strings.LastIndexByte(line, ' ')+1:], err
}

// profiled is the collector with a profile of all its life.
func profiled(file string, args []string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	code := cli.Main(args)
	pprof.StopCPUProfile()
	if code != 0 {
		return fmt.Errorf("the collector ended with %d", code)
	}
	return nil
}

// engineOf finds the engine that a collector has started.
func engineOf(collector *process.Process) (int, error) {
	children, err := process.Children(collector.PID())
	if err != nil {
		return 0, err
	}
	if len(children) != 1 {
		return 0, fmt.Errorf("the collector has %d children, not only an engine", len(children))
	}
	return children[0], nil
}

func usages(pids ...int) ([]process.Usage, error) {
	out := make([]process.Usage, len(pids))
	var errs []error
	for i, pid := range pids {
		var err error
		out[i], err = process.UsageOf(pid)
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}

// cpuTime is what this process took of processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // of a constant
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
