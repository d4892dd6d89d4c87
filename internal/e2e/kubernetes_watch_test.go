package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// seen is what an agent told of a node's pods, as it comes over the stream.
type seen struct {
	tally  *tally
	beat   atomic.Pointer[event.Heartbeat] // the latest
	bad    atomic.Pointer[error]
	last   atomic.Uint64 // number of the latest message
	stream jetstream.Stream
	stop   func() // of the agent
}

// watchNode starts `ambit agent` with a kubeconfig, waits until it watches, and takes what it tells until the test ends.
func watchNode(t *testing.T, name, kubeconfig string) *seen {
	t.Helper()
	server := testenv.NATSServer(t)
	nc, err := nats.Connect(server.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: event.StreamObservations, Subjects: []string{event.SubjectObservations, event.SubjectAgents}, Storage: jetstream.MemoryStorage,
	})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s := &seen{tally: newTally(), stream: stream}
	taking, err := consumer.Consume(func(m jetstream.Msg) {
		about, err := m.Metadata()
		if err == nil {
			err = s.take(m)
		}
		if err != nil {
			s.bad.Store(&err)
			return
		}
		s.last.Store(about.Sequence.Stream)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(taking.Stop)
	s.stop = startAgent(t, "AMBIT_NATS_URLS="+server.ClientURL(), "AMBIT_KUBERNETES_MODE=on", "AMBIT_KUBERNETES_KUBECONFIG="+kubeconfig, "AMBIT_NODE="+name)
	return s
}

func (s *seen) take(m jetstream.Msg) error {
	if strings.HasPrefix(m.Subject(), "ambit.v1.agent.") {
		h, err := event.DecodeHeartbeat(m.Data())
		if err != nil {
			return err
		}
		s.beat.Store(h)
		return nil
	}
	b, err := event.DecodeBatch(m.Data())
	if err != nil {
		return err
	}
	for o := range b.Observations() {
		s.tally.observed(o, "/"+filepath.Base(testenv.OwnCgroup()))
	}
	return nil
}

// atLeast says what is missing until that many ends of connections were told.
func (s *seen) atLeast(n uint64) string {
	if err := s.bad.Load(); err != nil {
		return (*err).Error()
	}
	if got := s.tally.sum(func(end) bool { return true }); got < n {
		return fmt.Sprintf("%d ends of connections were told, want %d", got, n)
	}
	return ""
}

// end ends the agent, and takes all that it told to its end.
func (s *seen) end(t *testing.T) {
	t.Helper()
	s.stop()
	eventually(t, 20*time.Second, func() string {
		info, err := s.stream.Info(t.Context())
		if err != nil {
			return err.Error()
		}
		if got := s.last.Load(); got < info.State.LastSeq {
			return fmt.Sprintf("%d of %d messages were taken", got, info.State.LastSeq)
		}
		return ""
	})
}

// startAgent starts `ambit agent` and waits until it watches. It is ended by stop, or with the test, as a service manager ends it.
func startAgent(t *testing.T, env ...string) (stop func()) {
	t.Helper()
	log := &syncBuffer{}
	cmd := exec.Command(binary, "agent", "--trust-domain", "shop.example", "--interval", "1s", "--data", t.TempDir())
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	watches := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(out)
		for said := false; lines.Scan(); {
			fmt.Fprintln(log, lines.Text())
			if strings.Contains(lines.Text(), "watching node") && !said {
				said = true
				close(watches)
			}
		}
		ended <- errors.Join(lines.Err(), cmd.Wait())
	}()
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("ambit agent ended with %v", err)
			}
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill() // it is there
			<-ended
			t.Error("ambit agent did not end within 30 s of SIGTERM")
		}
	})
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("ambit agent said:\n%s", log)
		}
	})
	select {
	case <-watches:
	case err := <-ended:
		ended <- nil
		t.Fatalf("ambit agent ended with %v", err)
	case <-time.After(time.Minute):
		t.Fatal("ambit agent does not watch after a minute")
	}
	return stop
}
