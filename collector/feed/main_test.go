package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func TestMain(m *testing.M) {
	silencesEvery = 200 * time.Millisecond
	goleak.VerifyTestMain(m)
}

// need finds a program of a package.
func need(t testing.TB, name, pkg string) string {
	t.Helper()
	for _, folder := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/bin") {
		if info, err := os.Stat(filepath.Join(folder, name)); err == nil && info.Mode()&0o111 != 0 {
			return filepath.Join(folder, name)
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not there: install the package %s", name, pkg)
	}
	t.Skipf("%s is not there: install the package %s", name, pkg)
	return ""
}

// process runs a program until the test, or stop, ends it.
type process struct {
	cmd  *exec.Cmd
	out  *lockedBuffer
	done chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func run(t testing.TB, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), out: &lockedBuffer{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() { p.stop(os.Kill) })
	return p
}

func (p *process) stop(s os.Signal) {
	_ = p.cmd.Process.Signal(s)
	<-p.done
}

// await waits until a condition holds.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		began := time.Now()
		if holds() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5*time.Millisecond + 2*time.Since(began)) // what is dear to ask is asked seldom
	}
}

// bus is a NATS server with the streams that feeds stand on.
type bus struct {
	t      testing.TB
	server *server.Server
	nc     *nats.Conn
	js     jetstream.JetStream
}

func newBus(t testing.TB) *bus {
	t.Helper()
	b := &bus{t: t, server: testenv.NATSServer(t)}
	var err error
	if b.nc, err = nats.Connect(b.server.ClientURL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.nc.Close)
	if b.js, err = jetstream.New(b.nc); err != nil {
		t.Fatal(err)
	}
	for _, c := range []jetstream.StreamConfig{
		{Name: event.StreamFindings, Subjects: []string{event.SubjectFindings}, Duplicates: time.Minute}, {Name: event.StreamObservations, Subjects: []string{event.SubjectObservations}}, Stream(),
	} {
		if _, err := b.js.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []jetstream.KeyValueConfig{Bucket(), {Bucket: event.BucketDecisions, History: 5}} {
		if _, err := b.js.CreateKeyValue(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// publish tells findings.
func (b *bus) publish(list ...*event.Finding) {
	b.t.Helper()
	for _, f := range list {
		data, err := json.Marshal(f)
		if err != nil {
			b.t.Fatal(err)
		}
		if _, err := b.js.PublishAsync(event.FindingSubject(f), data); err != nil {
			b.t.Fatal(err)
		}
	}
	select {
	case <-b.js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		b.t.Fatal("the findings are not stored")
	}
}

// burst gives so many findings: updates of those of some identities, in turn.
func burst(t testing.TB, n, identities int) []*event.Finding {
	var out []*event.Finding
	for i := range n {
		f := finding(t)
		f.Identity = identity(t, fmt.Sprintf("spiffe://shop.example/ns/shop/sa/s%d", i%identities))
		f.Workload.Identity = f.Identity
		f.ID = event.FindingID(f.Identity, f.Rule, f.Resource)
		f.Count = uint64(i/identities + 1) // the order, of one identity
		out = append(out, f)
	}
	return out
}

// running are feeds at work.
type running struct {
	*Feeds
	t    testing.TB
	stop context.CancelFunc
	done chan error
	log  *lockedBuffer
	reg  *prometheus.Registry
}

// parsed reads a configuration as a file has it.
func parsed(t testing.TB, list ...map[string]any) []Config {
	t.Helper()
	c, err := Parse(list)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (b *bus) start(change func(*Options), list ...map[string]any) *running {
	b.t.Helper()
	r := &running{t: b.t, done: make(chan error, 1), log: &lockedBuffer{}, reg: prometheus.NewRegistry()}
	o := Options{
		Feeds: parsed(b.t, list...), Connect: func(name string) (*nats.Conn, error) { return nats.Connect(b.server.ClientURL(), nats.Name(name)) },
		Metrics: r.reg, Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Version: "1.2.3", Host: "c1", TTL: time.Second,
	}
	if change != nil {
		change(&o)
	}
	var err error
	if r.Feeds, err = New(o); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	r.stop = cancel
	ready := make(chan struct{})
	go func() { r.done <- r.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-r.done:
		b.t.Fatalf("the feeds ended before they were ready: %v", err)
	}
	b.t.Cleanup(r.end)
	return r
}

// end stops the feeds, once.
func (r *running) end() {
	if r.stop == nil {
		return
	}
	r.stop()
	r.stop = nil
	if err := <-r.done; err != nil {
		r.t.Errorf("the feeds ended with %v", err)
	}
}

// working waits until a feed is worked.
func (r *running) working(name string) {
	r.t.Helper()
	await(r.t, name+" to be worked", func() bool { return r.statusOf(name).State != StateWaiting })
}

func (r *running) statusOf(name string) Status {
	r.t.Helper()
	list, err := r.Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range list {
		if s.Name == name {
			return s
		}
	}
	r.t.Fatalf("there is no feed %s", name)
	return Status{}
}

// receiver is an HTTP server that may do what receivers do.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	chaos func(w http.ResponseWriter, r *http.Request, body []byte) bool // true: it has answered
	got   []string                                                       // uid and count, in their order
	raw   [][]byte
	heads []http.Header
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) serve(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	chaos := r.chaos
	r.mu.Unlock()
	if chaos != nil && chaos(w, q, body) {
		return
	}
	var list []struct {
		UID     string
		Finding struct{ Count uint64 }
	}
	if json.Unmarshal(body, &list) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw, r.heads = append(r.raw, body), append(r.heads, q.Header)
	for _, d := range list {
		r.got = append(r.got, fmt.Sprintf("%s %d", d.UID, d.Finding.Count))
	}
}

func (r *receiver) set(chaos func(w http.ResponseWriter, r *http.Request, body []byte) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.chaos = chaos
}

func (r *receiver) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.got...)
}

// complete says whether all of a burst have come.
func complete(got []string, want []*event.Finding) bool {
	have := map[string]bool{}
	for _, g := range got {
		have[g] = true
	}
	for _, f := range want {
		if !have[fmt.Sprintf("%s %d", f.ID, f.Count)] {
			return false
		}
	}
	return true
}

// checkOrder wants all of a burst, of each identity in order. What comes again must follow what it came behind the first time: a batch is repeated
// as a whole.
func checkOrder(t testing.TB, got []string, want []*event.Finding) (duplicates int) {
	t.Helper()
	if !complete(got, want) {
		t.Fatalf("of %d findings some are lost: %d came", len(want), len(got))
	}
	seen := map[string]uint64{}
	for _, g := range got {
		uid, text, _ := strings.Cut(g, " ")
		var n uint64
		if _, err := fmt.Sscan(text, &n); err != nil {
			t.Fatal(err)
		}
		switch {
		case n <= seen[uid]:
			duplicates++
		case n != seen[uid]+1:
			t.Fatalf("of %s number %d came behind %d", uid, n, seen[uid])
		default:
			seen[uid] = n
		}
	}
	return duplicates
}
