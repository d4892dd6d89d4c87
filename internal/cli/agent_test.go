package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// strictServer is a NATS server on which an agent may do what it needs and nothing else.
func strictServer(t *testing.T, node string) (agent, operator string) {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		Users: []*server.User{
			{Username: "operator", Password: "o"},
			{Username: "agent", Password: "a", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: []string{"ambit.v1.obs.*." + node, "ambit.v1.agent." + node}},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server is not ready after 10s")
	}
	address := strings.TrimPrefix(s.ClientURL(), "nats://")
	return "nats://agent:a@" + address, "nats://operator:o@" + address
}

// TestKernelAgentAlone starts an agent before there is a stream, with the least rights: it says what is missing, makes nothing, and what it
// sees arrives once a collector has made the stream.
func TestKernelAgentAlone(t *testing.T) {
	testenv.RequireKernel(t)
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	mine, operator := strictServer(t, "n1")
	t.Setenv("AMBIT_NATS_URLS", mine)
	nc, err := nats.Connect(operator)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, exitFailed, []string{"agent", "--check", "--node", "n1"}, "ambit.v1.agent.n1", "ambit collector", "127.0.0.1")

	ctx, cancel := context.WithCancel(t.Context())
	stderr := &safeBuffer{}
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"agent", "--node", "n1", "--interval", "200ms", "--data", t.TempDir()}, io.Discard, stderr)
	}()
	t.Cleanup(func() {
		cancel()
		if c := <-code; c != exitGood {
			t.Errorf("the agent ended with %d: %s", c, stderr)
		}
	})
	await(t, "the agent to say what is missing", func() bool { return strings.Contains(stderr.String(), "ambit collector") })
	for name := range js.StreamNames(t.Context()).Name() {
		t.Errorf("the agent made the stream %s", name)
	}

	cfg := collector.DefaultBusConfig()
	cfg.URLs = []string{operator}
	bus, err := collector.OpenBus(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	bus.Close()
	stream, err := js.Stream(t.Context(), event.StreamObservations)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "a heartbeat", func() bool {
		_, err := stream.GetLastMsgForSubject(t.Context(), event.AgentSubject("n1"))
		return err == nil
	})
	await(t, "the agent to find the stream", func() bool { return strings.Contains(stderr.String(), "is there now") })
	slog.Info("too much")
	slog.Warn("what the agent says")
	if got := stderr.String(); strings.Contains(got, "too much") || !strings.Contains(got, `level=WARN msg="what the agent says"`) {
		t.Errorf("the log is %q", got)
	}
	first, err := stream.GetMsg(t.Context(), 1)
	if err != nil || len(first.Data) == 0 {
		t.Errorf("the first message of the stream is %v: %v", first, err)
	}
}

// safeBuffer is written and read at the same time.
type safeBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestKernelCheckAsksKubernetes checks that a check finds what a start waits for.
func TestKernelCheckAsksKubernetes(t *testing.T) {
	testenv.RequireKernel(t)
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	const text = `{"apiVersion": "v1", "kind": "Config", "current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "a"}}],
		"clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}]}`
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AMBIT_KUBERNETES_KUBECONFIG", kubeconfig)
	t.Setenv("AMBIT_CLICKHOUSE_ADDRESSES", "127.0.0.1:1")
	refused(t, exitFailed, []string{"up", "--check", "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data")}, "Kubernetes API", "https://127.0.0.1:1", "refused", "kubernetes.mode")
}
