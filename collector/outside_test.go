package collector

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// TestOutside runs the same on a server that is not embedded.
func TestOutside(t *testing.T) {
	s := openStore(t)
	cfg := DefaultBusConfig()
	cfg.URLs, cfg.Logger = []string{testenv.NATSServer(t).ClientURL()}, quiet
	bus, err := OpenBus(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	again, err := OpenBus(t.Context(), cfg) // finds its streams
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	n := newNode(t, bus, "n1")
	r := start(t, bus, s, nil)
	n.publish(time.Second, 1, 2, 3)
	n.settled(r)
	r.end(t)
	n.checkTotals(s)

	// The stream is made anew: what the journal says of the old one means nothing.
	if err := n.js.DeleteStream(t.Context(), event.StreamObservations); err != nil {
		t.Fatal(err)
	}
	again, err = OpenBus(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	n.publish(time.Second, 1, 4)
	r = start(t, bus, s, nil)
	n.settled(r)
	r.end(t)
	n.checkTotals(s)
	n.nc.Close()
}

// gate is an authentication that can be closed.
type gate struct {
	closed  atomic.Bool
	refused atomic.Int64
}

// Check implements [server.Authentication].
func (g *gate) Check(server.ClientAuthentication) bool {
	if g.closed.Load() {
		g.refused.Add(1)
		return false
	}
	return true
}

// TestOutsideRefusesForAWhile has a server come back that lets nobody in, as one does whose authorities or users are being changed: connections
// go on trying until it does.
func TestOutsideRefusesForAWhile(t *testing.T) {
	g := &gate{}
	port := server.RANDOM_PORT
	begin := func() *server.Server {
		s, err := server.NewServer(&server.Options{ServerName: "test", Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, CustomClientAuthentication: g})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		if !s.ReadyForConnections(10 * time.Second) {
			t.Fatal("the NATS server is not ready after 10s")
		}
		return s
	}
	s := begin()
	defer func() {
		s.Shutdown()
		s.WaitForShutdown()
	}()
	cfg := DefaultBusConfig()
	cfg.URLs, cfg.Logger = []string{s.ClientURL()}, quiet
	if _, err := fmt.Sscanf(s.ClientURL(), "nats://127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	bus, err := OutsideBus(cfg)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := bus.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	s.Shutdown()
	s.WaitForShutdown()
	g.closed.Store(true)
	s = begin()
	deadline := time.Now().Add(time.Minute)
	wait := func(what string, holds func() bool) {
		t.Helper()
		for ; !holds(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) || nc.IsClosed() {
				t.Fatalf("waited in vain for %s; the connection is %s", what, nc.Status())
			}
		}
	}
	wait("three refusals", func() bool { return g.refused.Load() >= 3 })
	g.closed.Store(false)
	wait("the connection", nc.IsConnected)
}
