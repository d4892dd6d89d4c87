package lease

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// childURL names the NATS server of a member that is a process of its own, and is killed.
const childURL = "LEASE_TEST_CHILD"

// serverConfig is the configuration of a NATS server that is a process of its own, and is killed.
const serverConfig = "LEASE_TEST_SERVER"

func TestMain(m *testing.M) {
	if path := os.Getenv(serverConfig); path != "" {
		os.Exit(serve(path))
	}
	if url := os.Getenv(childURL); url != "" {
		os.Exit(child(url))
	}
	goleak.VerifyTestMain(m)
}

var quiet = slog.New(slog.DiscardHandler)

const partitions = 17

const testBucket = "leases"

// child holds what it gets until it is killed.
func child(url string) int {
	nc, err := nats.Connect(url)
	if err == nil {
		var js jetstream.JetStream
		var kv jetstream.KeyValue
		if js, err = jetstream.New(nc); err == nil {
			if kv, err = js.KeyValue(context.Background(), testBucket); err == nil {
				var g *Group
				if g, err = New(Config{JetStream: js, Bucket: kv, Member: fmt.Sprintf("child-%d", os.Getpid()), Partitions: partitions, Log: quiet}); err == nil {
					err = g.Run(context.Background(), func([]Lease) error { return nil }, func(int) {})
				}
			}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// world is a NATS server or cluster with a bucket, and what all members believe.
type world struct {
	t *testing.T
	*testenv.NATSCluster
	url string
	js  jetstream.JetStream
	kv  jetstream.KeyValue

	mu      sync.Mutex
	holders map[int]string       // by partition
	moves   int                  // leases gained
	again   int                  // of them, those whose last holder was the same
	first   map[string]time.Time // when each member gained its first lease since this was made
}

func newWorld(t *testing.T, servers int) *world {
	t.Helper()
	cluster := testenv.StartNATSCluster(t, servers)
	w := &world{t: t, NATSCluster: cluster, url: cluster.URL(), holders: map[int]string{}}
	w.js = w.connect()
	var err error
	w.kv, err = w.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: testBucket, LimitMarkerTTL: MarkerTTL, Replicas: servers})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) connect() jetstream.JetStream {
	w.t.Helper()
	nc, err := nats.Connect(w.url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	return js
}

// member is one that runs here.
type member struct {
	*Group
	w       *world
	name    string
	end     context.CancelFunc
	done    chan error
	leases  sync.Map                  // partition to its lease
	stopped func(p int) time.Duration // how long the work of a partition takes to stop
}

// join starts a member. change may be nil.
func (w *world) join(name string, change func(*Config, *member)) *member {
	w.t.Helper()
	m := &member{w: w, name: name, done: make(chan error, 1)}
	js := w.connect()
	kv, err := js.KeyValue(w.t.Context(), testBucket)
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := Config{JetStream: js, Bucket: kv, Member: name, Partitions: partitions, Log: quiet}
	if change != nil {
		change(&cfg, m)
	}
	if m.Group, err = New(cfg); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.end = cancel
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.done <- m.Run(ctx, m.gained, m.lost)
	}()
	w.t.Cleanup(func() {
		cancel()
		<-ended
	})
	return m
}

func (m *member) gained(leases []Lease) error {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if m.w.first != nil && m.w.first[m.name].IsZero() {
		m.w.first[m.name] = time.Now()
	}
	for _, l := range leases {
		if other, ok := m.w.holders[l.Partition]; ok {
			m.w.t.Errorf("%s gets partition %d while %s has it", m.name, l.Partition, other)
		}
		m.w.holders[l.Partition] = m.name
		m.w.moves++
		if l.Again {
			m.w.again++
		}
		m.leases.Store(l.Partition, l)
	}
	return nil
}

func (m *member) lost(p int) {
	l, ok := m.leases.LoadAndDelete(p)
	if !ok || l.(Lease).Context().Err() == nil {
		m.w.t.Errorf("%s is told of the loss of partition %d, which it does not have, or whose context goes on", m.name, p)
	}
	if m.stopped != nil {
		time.Sleep(m.stopped(p))
	}
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	delete(m.w.holders, p)
}

// shares are how many partitions each member has, ascending, or nil while not all are taken.
func (w *world) shares() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.holders) < partitions {
		return nil
	}
	count := map[string]int{}
	for _, name := range w.holders {
		count[name]++
	}
	var out []int
	for _, n := range count {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// settle waits until all is shared so, and says how long it took.
func (w *world) settle(want ...int) time.Duration {
	w.t.Helper()
	began := time.Now()
	for deadline := began.Add(time.Minute); !slices.Equal(w.shares(), want); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.t.Fatalf("the shares are not %v after a minute: %v", want, w.holders)
		}
	}
	return time.Since(began)
}

// settleAs waits until each partition is its member's, and says how long it took.
func (w *world) settleAs(want []string) time.Duration {
	w.t.Helper()
	began := time.Now()
	same := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for p, name := range want {
			if w.holders[p] != name {
				return false
			}
		}
		return true
	}
	for deadline := began.Add(time.Minute); !same(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.t.Fatalf("the holders are not %v after a minute: %v", want, w.holders)
		}
	}
	return time.Since(began)
}
