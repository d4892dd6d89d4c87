package cli

import (
	"context"
	"log/slog"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// startTrail runs an audit trail on a server of its own.
func startTrail(t *testing.T, s *store.Store) *audit.Log {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(testenv.NATSServer(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), audit.Stream()); err != nil {
		t.Fatal(err)
	}
	l := audit.New(s)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- l.Run(ctx, js, slog.New(slog.DiscardHandler), func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-ready
	return l
}
