package collector

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/health"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// TestWatch asks a real stream: while all is taken, while it waits, when it is nearly full, when it was full, and when the server is gone.
func TestWatch(t *testing.T) {
	server := testenv.NATSServer(t)
	cfg := DefaultBusConfig()
	cfg.URLs, cfg.MaxBytes, cfg.Logger = []string{server.ClientURL()}, 16<<20, quiet
	bus, err := OpenBus(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	nc, err := bus.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	consumers := map[string]jetstream.Consumer{}
	for name, filters := range map[string][]string{
		"ambit-detect-0": {"ambit.v1.obs.0.*", "ambit.v1.agent.*"}, "ambit-store-0": {"ambit.v1.obs.0.*"}, "somebody": nil,
	} {
		consumers[name], err = js.CreateOrUpdateConsumer(t.Context(), event.StreamObservations, jetstream.ConsumerConfig{
			Durable: name, FilterSubjects: filters, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10_000,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	w := NewWatch(bus)
	defer w.Close()
	f := func(when string, want ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		checks := w.Checks(ctx)
		var got []string
		for _, c := range checks {
			got = append(got, c.String())
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %q, want %q", when, got, want)
		}
		for i := range want {
			if !strings.HasPrefix(got[i], want[i]) {
				t.Errorf("%s: %q, want %q", when, got[i], want[i])
			}
		}
	}
	publish := func(subject string, n, size int) {
		t.Helper()
		for range n {
			if _, err := js.Publish(t.Context(), subject, make([]byte, size)); err != nil {
				t.Fatal(err)
			}
		}
	}
	take := func(name string, n int) {
		t.Helper()
		batch, err := consumers[name].Fetch(n, jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		taken := 0
		for m := range batch.Messages() {
			if err := m.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
			taken++
		}
		if taken != n {
			t.Fatalf("%s took %d messages, want %d: %v", name, taken, n, batch.Error())
		}
	}
	observation := event.ObservationSubject(0, "n1")

	f("nothing yet", "stream: ok", "detector: ok", "store-lag: ok")
	publish(observation, 2, 10)
	publish(event.AgentSubject("n1"), 1, 10)
	f("just sent", "stream: ok", "detector: ok", "store-lag: ok")
	w.now = func() time.Time { return time.Now().Add(2 * late) }
	f("a while later", "stream: ok", "detector: warning: ambit-detect-0 is 2m", "store-lag: warning: ambit-store-0 is 2m")
	take("ambit-detect-0", 3)
	w.now = func() time.Time { return time.Now().Add(2 * tooLate) }
	f("the store is away", "stream: ok", "detector: ok", "store-lag: failed: ambit-store-0 is 10m")
	take("ambit-store-0", 2)
	f("all is done", "stream: ok", "detector: ok", "store-lag: ok")

	w.now = time.Now
	publish(observation, 31, 500<<10)
	f("nearly full", "stream: failed: it is full, and ambit-", "detector: ok", "store-lag: ok")
	publish(observation, 10, 500<<10)
	f("full", "stream: failed: it is full, and ambit-", "detector: ok", "store-lag: ok")
	info, err := consumers["ambit-store-0"].Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name := range consumers {
		if name != "somebody" {
			take(name, int(info.NumPending))
		}
	}
	f("all is taken", "stream: ok", "detector: ok", "store-lag: ok")
	publish(observation, 1, 10)
	f("full of what was taken", "stream: ok", "detector: ok", "store-lag: ok")

	server.Shutdown()
	server.WaitForShutdown()
	await(t, "the client to see that the server is gone", func() bool { return !nc.IsConnected() && !w.nc.IsConnected() })
	f("the server is gone", "stream: failed: NATS at nats://127.0.0.1:")
	if health.Ready(w.Checks(t.Context())) {
		t.Error("ready without a server")
	}
}
