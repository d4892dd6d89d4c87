package decision_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func TestMain(m *testing.M) {
	if os.Getenv("AMBIT_TESTENV_ENGINE") != "" {
		os.Exit(testenv.Main(m))
	}
	goleak.VerifyTestMain(m)
}

// patient is how long tests wait for what must come.
const patient = 2 * time.Minute

const (
	checkout = "spiffe://shop.example/ns/shop/sa/checkout"
	database = "spiffe://shop.example/ns/shop/sa/db"
)

var quiet = slog.New(slog.DiscardHandler)

// TestService runs what needs the real engine on one of them; each test has a NATS server of its own.
func TestService(t *testing.T) {
	c := store.Default()
	c.Socket = testenv.Engine(t)
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	var rows []store.ObservationRow
	for i, id := range []string{checkout, database} {
		o := event.Observation{
			Time: now.Add(-time.Hour), FirstTime: now.Add(-time.Hour), Node: "n1", Direction: event.Outbound, Protocol: event.TCP,
			Workload: event.Workload{Identity: identity(t, id), Evidence: event.EvidenceKubernetes, Owner: "Deployment/x"},
			Peer:     event.Peer{Address: address("192.0.2.7"), Port: 443, Name: "api.example.com", NameSource: event.NameDNS},
			Counts:   event.Counts{Connections: uint64(5 + i)},
		}
		rows = append(rows, store.RowOf(&o, o.Time, uint64(i+1)))
	}
	if err := s.InsertObservations(t.Context(), "token", rows); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name string
		test func(t *testing.T, s *store.Store)
	}{
		{"Audit", testAudit}, {"Issue", testIssue}, {"Preview", testPreview}, {"Rails", testRails}, {"TwoPersons", testTwoPersons}, {"Bucket", testBucket}, {"Acks", testAcks},
		{"Expiry", testExpiry}, {"Automatic", testAutomatic}, {"Points", testPoints}, {"Evaluate", testEvaluate}, {"Nodes", testNodes}, {"Permissions", testPermissions},
	} {
		t.Run(x.name, func(t *testing.T) { x.test(t, s) })
	}
}

// world is a service at work.
type world struct {
	*decision.Service
	store   *store.Store
	nc      *nats.Conn
	js      jetstream.JetStream
	trail   *audit.Log
	key     nkeys.KeyPair
	public  string
	metrics *prometheus.Registry
}

// start starts a service on a NATS server of its own. It ends with the test.
func start(t testing.TB, s *store.Store, change func(c *decision.Config)) *world {
	t.Helper()
	bus := collector.DefaultBusConfig()
	bus.Dir, bus.Logger = t.TempDir(), quiet
	return startOn(t, s, bus, change)
}

func startOn(t testing.TB, s *store.Store, cfg collector.BusConfig, change func(c *decision.Config)) *world {
	t.Helper()
	bus, err := collector.OpenBus(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Close)
	w := &world{store: s, metrics: prometheus.NewRegistry()}
	if w.nc, err = bus.Connect("test"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.nc.Close)
	if w.js, err = jetstream.New(w.nc); err != nil {
		t.Fatal(err)
	}
	if w.key, err = nkeys.FromRawSeed(nkeys.PrefixByteAccount, bytes.Repeat([]byte{7}, 32)); err != nil {
		t.Fatal(err)
	}
	if w.public, err = w.key.PublicKey(); err != nil {
		t.Fatal(err)
	}
	w.trail = audit.New(s)
	run(t, func(ctx context.Context, ready func()) error { return w.trail.Run(ctx, w.js, quiet, ready) })
	w.Service = w.second(t, change, w.metrics)
	return w
}

// second starts another service on the same servers, as another collector has it.
func (w *world) second(t testing.TB, change func(c *decision.Config), registry *prometheus.Registry) *decision.Service {
	t.Helper()
	c := decision.Default()
	c.Key, c.Log = w.key, quiet
	var err error
	if c.TrustDomain, err = event.ParseTrustDomain("shop.example"); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&c)
	}
	s, err := decision.New(c, w.store, w.trail, registry)
	if err != nil {
		t.Fatal(err)
	}
	run(t, func(ctx context.Context, ready func()) error { return s.Run(ctx, w.nc, ready) })
	return s
}

// run runs something until the test ends, and waits until it is ready.
func run(t testing.TB, f func(ctx context.Context, ready func()) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	var once sync.Once
	go func() { done <- f(ctx, func() { once.Do(func() { close(ready) }) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.Fatalf("it ended: %v", err)
	case <-time.After(patient):
		t.Fatal("it is not ready")
	}
}

// eventually waits until f says nothing.
func eventually(t testing.TB, f func() string) {
	t.Helper()
	last := ""
	for end := time.Now().Add(patient); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if last = f(); last == "" {
			return
		}
	}
	t.Fatal(last)
}

// agent is a simulated node: it follows the copies of decisions, believes or refuses them, and answers.
type agent struct {
	node     string
	nc       *nats.Conn
	mu       sync.Mutex
	verifier event.Verifier
	holding  map[string]*event.Decision
	refused  []string
}

func startAgent(t testing.TB, nc *nats.Conn, node string, keys ...string) *agent {
	t.Helper()
	a := &agent{node: node, nc: nc, verifier: event.Verifier{Keys: keys}, holding: map[string]*event.Decision{}}
	sub, err := nc.Subscribe(event.SubjectDecisions, func(m *nats.Msg) {
		if len(m.Data) == 0 {
			return
		}
		a.take(t, m.Data)
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	return a
}

func (a *agent) take(t testing.TB, data []byte) {
	now := time.Now()
	ack := event.Ack{Decision: "unknown", Node: a.node, Boot: "b1", At: now, Told: now}
	d, err := event.DecodeDecision(data)
	a.mu.Lock()
	if err == nil {
		ack.Decision, ack.Serial = d.ID, d.Serial
		err = a.verifier.Check(d, now)
	}
	switch {
	case err != nil:
		ack.State, ack.Why = event.AckRefused, err.Error()
		a.refused = append(a.refused, err.Error())
	case d.Holds(now):
		ack.State, ack.Entries = event.AckInForce, 1
		a.holding[d.ID] = d
	default:
		ack.State = event.AckEnded
		delete(a.holding, d.ID)
	}
	a.mu.Unlock()
	a.tell(t, ack)
}

func (a *agent) tell(t testing.TB, ack event.Ack) {
	data, err := ack.Encode()
	if err == nil {
		err = a.nc.Publish(event.AckSubject(a.node), data)
	}
	if err != nil && !strings.Contains(err.Error(), "closed") {
		t.Error(err)
	}
}

func (a *agent) holds(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.holding[id] != nil
}

func (a *agent) refusals() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.refused)
}

// actions are those of the audit trail about a subject, in their order.
func (w *world) actions(t testing.TB, subject string) (out []string) {
	t.Helper()
	stream, err := w.js.Stream(t.Context(), event.StreamAudit)
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); ; i++ {
		m, err := stream.GetMsg(t.Context(), i)
		if err != nil {
			return out
		}
		var r audit.Record
		if err := json.Unmarshal(m.Data, &r); err != nil {
			t.Fatal(err)
		}
		if r.Subject == subject {
			out = append(out, r.Actor+" "+r.Action)
		}
	}
}

func (w *world) counter(t testing.TB, name string) float64 {
	t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.Metric {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// wish is a request that is good.
func wish() decision.Request {
	return decision.Request{Identity: checkout, To: "dns:api.example.com:443/tcp", For: decision.Span(time.Hour), Reason: "token was leaked", Finding: "f-1", Code: "compromised"}
}
