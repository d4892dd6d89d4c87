package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
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

// serve is the child that holds the stream. It ends with its standard input.
func serve(dir string) error {
	s, err := server.NewServer(&server.Options{
		ServerName: "agentbench", Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true,
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
	_, err = os.Stdin.Read(make([]byte, 1))
	if err != nil && err.Error() != "EOF" {
		return err
	}
	return nil
}

// startServer starts the child, and follows its stream as soon as the agent has made it.
func (s *stage) startServer() error {
	s.server = exec.Command("/proc/self/exe", roleFlag, "server", filepath.Join(s.folder, "nats"))
	s.server.Stderr = os.Stderr
	in, err := s.server.StdinPipe()
	if err != nil {
		return err
	}
	out, err := s.server.StdoutPipe()
	if err != nil {
		return err
	}
	s.server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for us: the agent's end still needs the stream
	if err := s.server.Start(); err != nil {
		return fmt.Errorf("start the NATS server: %w", err)
	}
	s.closes = append(s.closes, func() error { return errors.Join(in.Close(), s.server.Wait()) })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the NATS server did not start: %w", err)
	}
	s.url = strings.TrimSpace(line)
	return s.follow()
}

// told is what the agent has told so far about the stage's cgroups, and its last heartbeat.
type told struct {
	under string // path of the stage's cgroup

	mu        sync.Mutex
	groups    map[string]counts // by the first name below under
	heartbeat *event.Heartbeat
	err       error
	changed   chan struct{} // holds a value after a heartbeat
}

type counts struct{ tried, accepted uint64 }

func (s *stage) follow() error {
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
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{ // as the collector makes it
		Name: event.StreamObservations, Subjects: []string{event.SubjectObservations, event.SubjectAgents}, Storage: jetstream.FileStorage,
		MaxBytes: 2 << 30, Duplicates: 5 * time.Minute,
	})
	if err != nil {
		return fmt.Errorf("make the stream: %w", err)
	}
	consumer, err := js.OrderedConsumer(ctx, event.StreamObservations, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	s.told = &told{under: s.path + "/", groups: map[string]counts{}, changed: make(chan struct{}, 1)}
	reading, err := consumer.Consume(s.told.message)
	if err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	s.closes = append(s.closes, func() error { reading.Stop(); <-reading.Closed(); return nil })
	return nil
}

func (t *told) message(m jetstream.Msg) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if strings.HasPrefix(m.Subject(), strings.TrimSuffix(event.SubjectAgents, ">")) {
		h, err := event.DecodeHeartbeat(m.Data())
		t.heartbeat, t.err = h, errors.Join(t.err, err)
		select {
		case t.changed <- struct{}{}:
		default:
		}
		return
	}
	b, err := event.DecodeBatch(m.Data())
	if err != nil {
		t.err = errors.Join(t.err, err)
		return
	}
	for o := range b.Observations() {
		below, ok := strings.CutPrefix(o.Workload.Cgroup, t.under)
		if !ok || o.Protocol != event.TCP {
			continue
		}
		group, _, _ := strings.Cut(below, "/")
		c := t.groups[group]
		if o.Direction == event.Inbound {
			c.accepted += o.Counts.Connections
		} else {
			c.tried += o.Counts.Connections
		}
		t.groups[group] = c
	}
}

// settle waits for a heartbeat of a later time: what was seen until now is on the stream before it.
func (t *told) settle(ctx context.Context) (*event.Heartbeat, error) {
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

func (t *told) last() *event.Heartbeat {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.heartbeat
}

func (t *told) of(group string) counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.groups[group]
}
