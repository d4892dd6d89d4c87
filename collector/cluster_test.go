package collector

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/svid"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func outsideConfig(urls ...string) BusConfig {
	cfg := DefaultBusConfig()
	cfg.URLs, cfg.Logger = urls, quiet
	return cfg
}

// TestCluster makes all with three replicas, twice at once, and goes on when the server goes that it is connected to.
func TestCluster(t *testing.T) {
	cluster := testenv.StartNATSCluster(t, 3)
	cfg := outsideConfig(cluster.URLs()...)
	cfg.Replicas = 3
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if _, err := OpenBus(t.Context(), cfg); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	bus, err := OpenBus(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := bus.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for info := range js.ListStreams(t.Context()).Info() {
		seen++
		if info.Config.Replicas != 3 {
			t.Errorf("%s has %d replicas", info.Config.Name, info.Config.Replicas)
		}
	}
	if seen != len(cfg.streams())+len(cfg.buckets()) {
		t.Errorf("there are %d streams", seen)
	}

	at := slices.Index(cluster.URLs(), nc.ConnectedUrl())
	began := time.Now()
	cluster.Stop(at)
	published := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := js.Publish(ctx, event.ObservationSubject(0, "n1"), []byte("x"))
		return err == nil
	}
	await(t, "another server to take messages", published)
	t.Logf("another server takes messages after %s", time.Since(began))
	if nc.ConnectedUrl() == cluster.URLs()[at] {
		t.Error("the connection is where it was")
	}
}

// TestStreamsThatWere checks what is told of streams that an operator has made.
func TestStreamsThatWere(t *testing.T) {
	cluster := testenv.StartNATSCluster(t, 3)
	nc, err := nats.Connect(cluster.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	made := jetstream.StreamConfig{Name: event.StreamObservations, Subjects: []string{event.SubjectObservations}, MaxAge: time.Hour, Replicas: 1}
	if _, err := js.CreateStream(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cfg := outsideConfig(cluster.URLs()...)
	cfg.Replicas, cfg.Logger = 3, slog.New(slog.NewTextHandler(&log, nil))
	if _, err := OpenBus(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "AMBIT_OBS does not take ambit.v1.agent.>,ambit.v1.verdict.>,") {
		t.Errorf("got %v", err)
	}
	made.Subjects = cfg.streams()[0].Subjects
	if _, err := js.UpdateStream(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenBus(t.Context(), cfg); err != nil {
		t.Error(err)
	}
	if text := log.String(); strings.Count(text, "fewer replicas") != 1 || !strings.Contains(text, "stream=AMBIT_OBS replicas=1 wanted=3") {
		t.Errorf("the log says %s", text)
	}
	s, err := js.Stream(t.Context(), event.StreamObservations)
	if err != nil || s.CachedInfo().Config.MaxAge != time.Hour || s.CachedInfo().Config.Replicas != 1 {
		t.Errorf("what the operator has set is changed: %+v, %v", s.CachedInfo().Config, err)
	}

	// A bucket whose keys have no life of their own, and too many replicas.
	if err := js.DeleteKeyValue(t.Context(), leasesBucket); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: leasesBucket}); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenBus(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "cannot have a TTL of their own") {
		t.Errorf("got %v", err)
	}
	cfg.Replicas = 5
	if err := js.DeleteStream(t.Context(), event.StreamFindings); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenBus(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "does the NATS cluster have 5 servers") {
		t.Errorf("got %v", err)
	}
}

const (
	rotatingServer = "spiffe://shop.example/ns/nats/sa/nats"
	rotatingClient = "spiffe://shop.example/ns/ambit/sa/agent"
)

// TestRotation rotates the certificates of twenty connections and of their server, and restarts that: rotation alone makes no connection anew,
// and after the restart they come back spread over time.
func TestRotation(t *testing.T) {
	ca := testenv.NewCA(t, "shop")
	source := func(id string) (*svid.Source, func()) {
		t.Helper()
		api := testenv.NewWorkloadAPI(t)
		api.Start()
		give := func() { api.Give(ca.SVID(id), []*x509.Certificate{ca.Certificate}, nil) }
		give()
		s, err := svid.New(svid.Config{Socket: api.Socket, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ready, ended := make(chan struct{}), make(chan error, 1)
		go func() { ended <- s.Run(ctx, func() { close(ready) }) }()
		t.Cleanup(func() {
			cancel()
			if err := receive(t, "the end", ended); err != nil {
				t.Error(err)
			}
		})
		receive(t, "the collector to be ready", ready)
		return s, give
	}
	servers, renewServer := source(rotatingServer)
	clients, renewClient := source(rotatingClient)
	peers := func(text string) svid.Peers {
		p, err := svid.ParsePeers([]string{text})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	cluster := testenv.StartNATSCluster(t, 1, func(o *server.Options) {
		o.TLS, o.TLSConfig, o.TLSVerify, o.TLSTimeout = true, servers.Server(peers(rotatingClient)), true, 20
	})
	cfg := outsideConfig(strings.Replace(cluster.URL(), "nats:", "tls:", 1))
	cfg.TLS = clients.Client(peers(rotatingServer))
	bus, err := OutsideBus(cfg)
	if err != nil {
		t.Fatal(err)
	}
	const connections = 20
	var conns []*nats.Conn
	for range connections {
		nc, err := bus.Connect("test")
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		conns = append(conns, nc)
	}
	reconnects := func() (n uint64) {
		for _, nc := range conns {
			n += nc.Stats().Reconnects
		}
		return n
	}
	serial := func(config *tls.Config) string {
		t.Helper()
		nc, err := nats.Connect(cfg.URLs[0], nats.Secure(config))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		state, err := nc.TLSConnectionState()
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].SerialNumber.String()
	}
	shown := serial(cfg.TLS)
	for range 10 {
		before := clients.Counters()["svid-rotated"]
		renewServer()
		renewClient()
		await(t, "the new certificates", func() bool { return clients.Counters()["svid-rotated"] > before && serial(cfg.TLS) != shown })
		shown = serial(cfg.TLS)
		for _, nc := range conns {
			if err := nc.FlushTimeout(20 * time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := reconnects(); n != 0 {
		t.Errorf("rotation alone made %d connections anew", n)
	}

	var mu sync.Mutex
	var back []time.Time
	for _, nc := range conns {
		nc.SetReconnectHandler(func(*nats.Conn) {
			mu.Lock()
			defer mu.Unlock()
			back = append(back, time.Now())
		})
	}
	cluster.Stop(0)
	cluster.Start(0)
	await(t, "all connections", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(back) == connections
	})
	slices.SortFunc(back, time.Time.Compare)
	if n := reconnects(); n != connections {
		t.Errorf("%d connections were made anew after the restart", n)
	}
	most := 0 // within a tenth of the time in which the first tries are
	for i := range back {
		n := 0
		for _, at := range back[i:] {
			if at.Sub(back[i]) < spread/10 {
				n++
			}
		}
		most = max(most, n)
	}
	t.Logf("%d connections came back within %s, at most %d of them within %s", connections, back[connections-1].Sub(back[0]), most, spread/10)
	if most > connections*3/4 {
		t.Error("they came back at once")
	}
}

// TestUserWithoutRights is told what is missing.
func TestUserWithoutRights(t *testing.T) {
	server := testenv.StartNATSUsers(t, "n1")
	cfg := outsideConfig(server.URL)
	cfg.TLS = server.TLS(testenv.ReaderID)
	_, err := OpenBus(t.Context(), cfg)
	if err == nil || !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), "rights of a collector, see deploy/nats") {
		t.Errorf("got %v", err)
	}
}

func TestReconnectDelay(t *testing.T) {
	for attempts := range 100 {
		d, most := reconnectDelay(attempts), min(reconnectLeast<<min(max(attempts-1, 0), 10), reconnectLonger)
		if d < most/2 || d > most {
			t.Errorf("after %d attempts it is %s", attempts, d)
		}
	}
}

// TestServerThatIsAway says within a bound that nobody is there.
func TestServerThatIsAway(t *testing.T) {
	_, err := OpenBus(t.Context(), outsideConfig("nats://127.0.0.1:1", "nats://[::1]:1"))
	if err == nil || !errors.Is(err, nats.ErrNoServers) || !strings.Contains(err.Error(), "is it running") {
		t.Errorf("got %v", err)
	}
}
