package decision_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// TestLatency measures the way of a decision through a cluster of three servers to 50 agents: from the call of the API until each agent has checked it, and until its
// acknowledgement is kept where all collectors see it. Each agent has a connection of its own.
func TestLatency(t *testing.T) {
	const agents, calls = 50, 20
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
	who := identity(t, checkout)
	if err := s.InsertSightings(t.Context(), []store.Sighting{{Workload: event.Workload{Identity: who}, Node: "n1", Time: time.Now()}}); err != nil {
		t.Fatal(err)
	}
	cluster := testenv.StartNATSCluster(t, 3)
	bus := collector.DefaultBusConfig()
	bus.URLs, bus.Replicas, bus.Logger = cluster.URLs(), 3, quiet
	w := startOn(t, s, bus, func(c *decision.Config) { c.Approval = decision.ApprovalNone })
	server := httptest.NewServer(api.New(api.Config{
		Decisions: w, Metrics: prometheus.NewRegistry(), Audit: w.trail, Token: "secret", Logger: quiet,
	}))
	defer server.Close()

	type reached struct {
		decision string
		node     int
		at       time.Time
	}
	checked := make(chan reached, agents*calls*2)
	for i := range agents {
		nc, err := nats.Connect(cluster.URLs()[i%3])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		a := &agent{node: fmt.Sprint("n", i), nc: nc, verifier: event.Verifier{Keys: []string{w.public}}, holding: map[string]*event.Decision{}}
		_, err = nc.Subscribe(event.SubjectDecisions, func(m *nats.Msg) {
			a.take(t, m.Data)
			checked <- reached{strings.TrimPrefix(m.Subject, "ambit.v1.decision."), i, time.Now()}
		})
		if err == nil {
			err = nc.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// What acknowledgements come to the stream is what all collectors have.
	acks := make(chan reached, agents*calls*2)
	sub, err := w.nc.Subscribe(event.SubjectAcks, func(m *nats.Msg) {
		if a, err := event.DecodeAck(m.Data); err == nil && a.State == event.AckInForce {
			var n int
			_, _ = fmt.Sscanf(a.Node, "n%d", &n)
			acks <- reached{a.Decision, n, time.Now()}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()

	var delivered, acknowledged, answered []time.Duration
	for i := range calls {
		body := fmt.Sprintf(`{"identity":%q,"to":"net:10.0.%d.0/24","for":"1h","mode":"enforce","reason":"r","yes":true}`, checkout, i)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/api/v1/decisions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer secret")
		begin := time.Now()
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		answered = append(answered, time.Since(begin))
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("the API answers %s", answer.Status)
		}
		for _, x := range []struct {
			from chan reached
			into *[]time.Duration
		}{{checked, &delivered}, {acks, &acknowledged}} {
			for range agents {
				select {
				case r := <-x.from:
					*x.into = append(*x.into, r.at.Sub(begin))
				case <-time.After(patient):
					t.Fatal("an agent has not heard of a decision")
				}
			}
		}
	}
	for _, x := range []struct {
		name  string
		times []time.Duration
	}{{"checked by an agent", delivered}, {"acknowledged", acknowledged}, {"answered by the API", answered}} {
		slices.Sort(x.times)
		t.Logf("%s: %d times, p50 %s, p99 %s, most %s", x.name, len(x.times), at(x.times, 0.5), at(x.times, 0.99), x.times[len(x.times)-1])
	}
	// The bound is 250 ms; a machine that does much else is given more.
	if p99 := at(acknowledged, 0.99); p99 > 2*time.Second {
		t.Errorf("p99 of %s from the call to the acknowledgement", p99)
	}
}

func at(times []time.Duration, q float64) time.Duration {
	return times[min(int(q*float64(len(times))), len(times)-1)].Round(100 * time.Microsecond)
}
