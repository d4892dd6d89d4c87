package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

// serve is the child that holds the stream, in memory. It ends with its standard input.
func serve() error {
	dir, err := os.MkdirTemp("", "ambit-tlsbench-nats-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := server.NewServer(&server.Options{
		ServerName: "tlsbench", Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true,
	})
	if err != nil {
		return fmt.Errorf("make the NATS server: %w", err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		return errors.New("the NATS server does not start")
	}
	fmt.Println(s.ClientURL())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// startServer starts the child, makes the stream as the collector does, and listens to heartbeats.
func (s *stage) startServer() error {
	cmd := exec.Command("/proc/self/exe", roleFlag, "server")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for us: the agent's end still needs the stream
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the NATS server: %w", err)
	}
	s.closes = append(s.closes, func() error { return errors.Join(in.Close(), cmd.Wait()) })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the NATS server did not start: %w", err)
	}
	s.url = strings.TrimSpace(line)
	nc, err := nats.Connect(s.url)
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	s.closes = append(s.closes, func() error { nc.Close(); return nil })
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: event.StreamObservations, Subjects: []string{event.SubjectObservations, event.SubjectAgents}, Storage: jetstream.MemoryStorage,
		MaxBytes: 64 << 20, Duplicates: time.Minute,
	})
	if err != nil {
		return fmt.Errorf("make the stream: %w", err)
	}
	s.told = &told{under: "/" + filepath.Base(s.group) + "/", tls: map[string]uint64{}, changed: make(chan struct{}, 1)}
	for _, subject := range []string{event.SubjectAgents, event.SubjectObservations} {
		if _, err := nc.Subscribe(subject, s.told.message); err != nil {
			return fmt.Errorf("listen to the agent: %w", err)
		}
	}
	return nc.Flush()
}

// told is the agent's last heartbeat, and how many connections of the stage's cgroups it has told of, by the provenance of their TLS.
type told struct {
	under string // path of the cgroups

	mu        sync.Mutex
	heartbeat *event.Heartbeat
	tls       map[string]uint64
	err       error
	changed   chan struct{} // holds a value after a heartbeat
}

func (t *told) message(m *nats.Msg) {
	if len(m.Data) == 0 { // asks only whether there is a stream
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !strings.HasPrefix(m.Subject, strings.TrimSuffix(event.SubjectAgents, ">")) {
		b, err := event.DecodeBatch(m.Data)
		if err != nil {
			t.err = errors.Join(t.err, err)
			return
		}
		for o := range b.Observations() {
			if o.TLS != nil && strings.HasPrefix(o.Workload.Cgroup, t.under) {
				t.tls[o.TLS.Provenance] += o.Counts.Connections
			}
		}
		return
	}
	h, err := event.DecodeHeartbeat(m.Data)
	if err != nil {
		t.err = errors.Join(t.err, err)
	} else {
		t.heartbeat = h
	}
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// next waits for the next heartbeat of a later time.
func (t *told) next(ctx context.Context) (*event.Heartbeat, error) {
	after := time.Now()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for {
		select {
		case <-t.changed:
		case <-late.C:
			return nil, errors.New("the agent sent no heartbeat for a minute")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		t.mu.Lock()
		h, err := t.heartbeat, t.err
		t.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if h != nil && h.Time.After(after) {
			return h, nil
		}
	}
}

func (t *told) provenances() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.tls)
}
