package svid

import (
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// running is a source that runs until the test ends.
type running struct {
	*Source
	t     *testing.T
	ready chan struct{}
}

// run runs a source.
func run(t *testing.T, cfg Config) *running {
	t.Helper()
	return runAt(t, cfg, time.Now)
}

// runAt runs a source with a clock of its own.
func runAt(t *testing.T, cfg Config, now func() time.Time) *running {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.now = now
	r := &running{s, t, make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, func() { close(r.ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the source ended with %v", err)
		}
	})
	return r
}

func (r *running) awaitReady() {
	r.t.Helper()
	select {
	case <-r.ready:
	case <-time.After(20 * time.Second):
		r.t.Fatalf("there is no certificate: %s", r.Status())
	}
}

// awaitStatus waits until the status has all the words.
func (r *running) awaitStatus(words ...string) {
	r.t.Helper()
	await(r.t, strings.Join(words, ", "), func() bool { return hasAll(r.Status(), words) }, func() string { return r.Status() })
}

func hasAll(text string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

func await(t *testing.T, what string, holds func() bool, state func() string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s; it is %s", what, state())
		}
	}
}

// party is a Workload API that gives an SVID to one source.
type party struct {
	*running
	api    *testenv.WorkloadAPI
	id     string
	bundle []*x509.Certificate
	issued *testenv.Issued
}

func newParty(t *testing.T, ca *testenv.CA, id string) *party {
	t.Helper()
	p := &party{api: testenv.NewWorkloadAPI(t), id: id, bundle: []*x509.Certificate{ca.Certificate}}
	p.api.Start()
	p.running = run(t, Config{Socket: p.api.Socket})
	p.give(ca)
	p.awaitReady()
	return p
}

// give signs a new SVID, and waits until the source has it.
func (p *party) give(ca *testenv.CA) {
	p.t.Helper()
	p.issued = ca.SVID(p.id)
	p.api.Give(p.issued, p.bundle, nil)
	await(p.t, "the new SVID", func() bool {
		m := p.current()
		return m != nil && m.leaf().Equal(p.issued.Certificate)
	}, p.Status)
}

func peers(t *testing.T, texts ...string) Peers {
	t.Helper()
	p, err := ParsePeers(texts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
