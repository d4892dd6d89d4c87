package collector

import (
	"testing"
	"time"

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
