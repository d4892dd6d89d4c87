package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/pipelinebench/town"
)

// learnFor is how long clients are learned: a day is usual, and takes as long.
const learnFor = 10 * time.Second

// heard is a finding, and when it came.
type heard struct {
	port uint16
	at   time.Time
}

// latencies measures the time from connect() to a finding on NATS, on one machine with nothing else to do, and while others send much.
func latencies(s *stage, z sizes) (bool, error) {
	if os.Geteuid() != 0 {
		return false, errors.New("watching connections needs root")
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprintln(t, "from connect() to a finding on NATS\tfindings\tmedian\tp90\tp99\tmost\ttarget of p99\t")
	all := true
	row := func(name string, target time.Duration, measure func(*stage, sizes) ([]time.Duration, error)) error {
		fmt.Fprintln(os.Stderr, time.Now().Format(time.TimeOnly), name)
		d, err := measure(s, z)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		word, p99 := "ok", percentile(d, 0.99)
		if p99 > target {
			word, all = "NOT MET", false
		}
		round := func(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", name, len(d), round(percentile(d, 0.5)), round(percentile(d, 0.9)), round(p99), round(percentile(d, 1)), target, word)
		return nil
	}
	if err := row("embedded, idle", 500*time.Millisecond, (*stage).embedded); err != nil {
		return false, err
	}
	if err := row(fmt.Sprintf("with %d observations/s of others", z.load), 2*time.Second, (*stage).loaded); err != nil {
		return false, err
	}
	return all, nil
}

// embedded measures `ambit up`. Its server has no port, so findings are heard by way of the API's events, which is a little later.
func (s *stage) embedded(z sizes) ([]time.Duration, error) {
	up, err := s.Start("up", nil, s.binary, "up", "--data", filepath.Join(s.folder, "up"), "--listen", "127.0.0.1:0", "--node", "pipelinebench", "--learn", learnFor.String(), "--interval", "1s")
	if err != nil {
		return nil, err
	}
	defer up.Kill()
	ctx, cancel := s.within(time.Minute)
	line, err := up.Line(ctx, func(line string) bool { return strings.Contains(line, "http://") })
	cancel()
	if err != nil {
		return nil, err
	}
	server := line[strings.LastIndexByte(line, ' ')+1:]
	following, stop := context.WithCancel(s.ctx)
	defer stop()
	findings, err := events(following, server)
	if err != nil {
		return nil, err
	}
	out, err := s.sample(server, z.samples, findings)
	if err != nil {
		return nil, err
	}
	stop()
	return out, up.Stop(time.Minute)
}

// events follows the API's events.
func events(ctx context.Context, server string) (<-chan heard, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/api/v1/events", nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, fmt.Errorf("follow events: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, fmt.Errorf("follow events: %s", answer.Status)
	}
	out := make(chan heard, 1024)
	go func() {
		defer answer.Body.Close()
		lines := bufio.NewScanner(answer.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				hear(out, []byte(data))
			}
		}
	}()
	return out, nil
}

func hear(out chan<- heard, data []byte) {
	at := time.Now()
	var f event.Finding
	if json.Unmarshal(data, &f) == nil {
		select {
		case out <- heard{f.Resource.Port(), at}:
		default: // nobody waits for so many
		}
	}
}

// loaded measures an agent, a NATS server and a collector of their own, while publishers send what other nodes see.
func (s *stage) loaded(z sizes) ([]time.Duration, error) {
	broker, address, err := s.startNATS(filepath.Join(s.folder, "loaded-nats"))
	if err != nil {
		return nil, err
	}
	defer broker.Kill()
	collector, server, err := s.startCollector(filepath.Join(s.folder, "loaded"), address, 0, "--learn", learnFor.String())
	if err != nil {
		return nil, err
	}
	defer collector.Kill()
	watching, err := s.Start("agent", []string{"AMBIT_NATS_URLS=" + address}, s.binary, "agent", "--data", filepath.Join(s.folder, "loaded-agent"), "--node", "pipelinebench", "--interval", "1s")
	if err != nil {
		return nil, err
	}
	defer watching.Kill()
	nodes := max(z.load*int(town.Interval/time.Second)/z.active, 1) // so many, at their own pace, send as much
	sender, err := s.Start("publishers", nil, self, roleFlag, "publishers", "-url", address, "-n", fmt.Sprint(z.load*600), "-publishers", fmt.Sprint(nodes),
		"-active", fmt.Sprint(z.active), "-start", fmt.Sprint(time.Now().Add(-time.Minute).Unix()), "-pace", fmt.Sprint(z.load))
	if err != nil {
		return nil, err
	}
	defer sender.Kill()
	ctx, cancel := s.within(time.Minute)
	_, err = sender.Line(ctx, func(line string) bool { return line == "ready" })
	cancel()
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(sender.Stdin, "go\n"); err != nil {
		return nil, err
	}
	nc, err := nats.Connect(address)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	findings := make(chan heard, 1024)
	if _, err := nc.Subscribe(event.SubjectFindings, func(m *nats.Msg) { hear(findings, m.Data) }); err != nil {
		return nil, err
	}
	load, err := s.startGauge(filepath.Join(s.folder, "loaded", "run", "clickhouse.sock"))
	if err != nil {
		return nil, err
	}
	out, err := s.sample(server, z.samples, findings)
	if err != nil {
		return nil, err
	}
	stored, err := load()
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "%s %.0f observations a second came into the engine meanwhile\n", time.Now().Format(time.TimeOnly), stored)
	if stored < 0.9*float64(z.load) {
		return nil, fmt.Errorf("only %.0f observations a second came into the engine, not %d: the machine is too slow, or busy (p99 was %s); see %s",
			stored, z.load, percentile(out, 0.99).Round(100*time.Microsecond), collector.Log)
	}
	select {
	case <-sender.Ended():
		return nil, fmt.Errorf("the load ended; see %s", sender.Log)
	default:
	}
	sender.Kill()
	return out, watching.Stop(time.Minute)
}

// startGauge gives a function that says how many observations a second came into an engine since.
func (s *stage) startGauge(socket string) (rate func() (float64, error), err error) {
	rows := func() (n uint64, err error) {
		db, err := openEngine(socket)
		if err != nil {
			return 0, err
		}
		defer db.Close()
		if err := db.QueryRow(s.ctx, "SELECT count() FROM observations").Scan(&n); err != nil {
			return 0, fmt.Errorf("count rows: %w", err)
		}
		return n, nil
	}
	before, err := rows()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	return func() (float64, error) {
		after, err := rows()
		return float64(after-before) / time.Since(start).Seconds(), err
	}, nil
}

// sample has clients that are learned reach what they never reached, one after the other, and waits for each finding.
func (s *stage) sample(server string, samples int, findings <-chan heard) (out []time.Duration, err error) {
	c, err := s.startClients(samples)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := s.learned(c, server); err != nil {
		return nil, err
	}
	for i := range samples {
		// At any time between two looks of the agent, and fewer than the findings that all identities together may have in a minute.
		pause := 650*time.Millisecond + time.Duration(rand.Int64N(int64(100*time.Millisecond)))
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
			return nil, s.ctx.Err()
		}
		l, err := listen()
		if err != nil {
			return nil, err
		}
		at, err := s.connect(c.all[i%len(c.all)], l.Addr().String())
		l.Close()
		if err != nil {
			return nil, err
		}
		port := l.Addr().String()[strings.LastIndexByte(l.Addr().String(), ':')+1:]
		took, err := wait(s.ctx, findings, port, at)
		if err != nil {
			return nil, fmt.Errorf("finding %d: %w", i+1, err)
		}
		out = append(out, took)
	}
	return out, nil
}

func wait(ctx context.Context, findings <-chan heard, port string, since time.Time) (time.Duration, error) {
	late := time.After(30 * time.Second)
	for {
		select {
		case f := <-findings:
			if fmt.Sprint(f.port) == port {
				return f.at.Sub(since), nil
			}
		case <-late:
			return 0, errors.New("it did not come within 30s")
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
