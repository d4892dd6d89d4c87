package cli

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/collector/health"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// TestHealth runs the real parts, and takes them away: first the engine, then the stream.
func TestHealth(t *testing.T) {
	config := testenv.EngineConfig(t)
	_, stopEngine := testenv.Supervise(t, config)
	server := testenv.NATSServer(t)
	discard := slog.New(slog.DiscardHandler)
	cfg := collector.DefaultBusConfig()
	cfg.URLs, cfg.Logger = []string{server.ClientURL()}, discard
	bus, err := collector.OpenBus(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	where := store.Default()
	where.Socket = config.Server.Socket
	s, err := store.Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	brief := collector.Default()
	brief.Grace = time.Second
	worker, err := collector.New(brief, bus, s, prometheus.NewRegistry(), discard)
	if err != nil {
		t.Fatal(err)
	}
	watch := collector.NewWatch(bus)
	defer watch.Close()
	l := &live{Collector: worker, watch: watch, store: s, folder: t.TempDir()}
	ask := func() map[string]health.Check {
		t.Helper()
		l.asked = time.Time{} // not the answer of a moment ago
		out := map[string]health.Check{}
		for _, c := range l.Health(t.Context()) {
			out[c.Name] = c
		}
		return out
	}
	f := func(when, name string, want health.State, says string) {
		t.Helper()
		if c := ask()[name]; c.State != want || !strings.Contains(c.Detail, says) {
			t.Errorf("%s: %s", when, c)
		}
	}
	f("not started", "collector", health.Failed, "starting")

	ctx, stop := context.WithCancel(t.Context())
	ended, ready := make(chan error, 1), make(chan struct{})
	go func() { ended <- worker.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	all := ask()
	delete(all, "disk") // what is left on this machine is its own affair
	if len(all) != 6 {
		t.Errorf("%v", all)
	}
	for name, c := range all {
		if c.State != health.OK {
			t.Errorf("at work: %s: %s", name, c)
		}
	}

	stopEngine()
	f("without an engine", "store", health.Failed, "clickhouse")
	f("without an engine", "stream", health.OK, "")
	if health.Ready(l.Health(t.Context())) {
		t.Error("ready without an engine")
	}
	first := l.asked
	if l.Health(t.Context()); l.asked != first {
		t.Error("it is asked anew at once")
	}
	server.Shutdown()
	server.WaitForShutdown()
	await(t, "the stream to be missed", func() bool { return ask()["stream"].State == health.Failed })
	if err := os.Remove(l.folder); err != nil {
		t.Fatal(err)
	}
	f("without a folder", "disk", health.Failed, "no such file")
	stop()
	<-ended // what it could not do any more is no matter here
}
