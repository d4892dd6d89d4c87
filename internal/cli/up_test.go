package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// machine is a data folder, an address and a NATS server that stay when `ambit up` ends.
type machine struct {
	t       *testing.T
	data    string
	address string
	nats    string
	began   time.Time // when the node that publish speaks for began to watch: an hour ago
}

func newMachine(t *testing.T) *machine {
	t.Setenv("AMBIT_CLICKHOUSE_LIBRARY", testenv.EngineConfig(t).Server.Library)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m := &machine{t: t, data: filepath.Join(t.TempDir(), "data"), address: l.Addr().String(), nats: testenv.NATSServer(t).ClientURL(),
		began: time.Now().Add(-time.Hour).Truncate(time.Second)}
	t.Setenv("AMBIT_NATS_URLS", m.nats)
	t.Setenv("AMBIT_SERVER", "http://"+m.address)
	return m
}

// up runs `ambit up` without agent, and gives what ends it in order.
func (m *machine) up(args ...string) (stop func() (code int, stdout, stderr string)) {
	m.t.Helper()
	ctx, cancel := context.WithCancel(m.t.Context())
	m.t.Cleanup(cancel)
	reader, writer := io.Pipe()
	var stdout, stderr bytes.Buffer
	code, ready, drained := make(chan int, 1), make(chan struct{}), make(chan struct{})
	go func() {
		args := append([]string{"up", "--no-agent", "--data", m.data, "--listen", m.address, "--learn", "1m"}, args...)
		c := run(ctx, args, writer, &stderr)
		writer.Close()
		code <- c
	}()
	go func() {
		defer close(drained)
		for lines := bufio.NewScanner(reader); lines.Scan(); {
			stdout.WriteString(lines.Text() + "\n")
			if strings.HasSuffix(lines.Text(), "http://"+m.address) {
				close(ready)
			}
		}
	}()
	end := func() (int, string, string) {
		cancel()
		c := <-code
		<-drained
		return c, stdout.String(), stderr.String()
	}
	select {
	case <-ready:
	case <-drained:
	case <-time.After(time.Minute):
		c, out, errs := end()
		m.t.Fatalf("ambit up is not ready after a minute: %d %s%s", c, out, errs)
	}
	return end
}

// publish sends one batch that ends so long after the node began, with one connection to each port.
func (m *machine) publish(sequence uint64, after time.Duration, ports ...uint16) {
	m.t.Helper()
	nc, err := nats.Connect(m.nats)
	if err != nil {
		m.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		m.t.Fatal(err)
	}
	b, at := event.NewBatchBuilder("n1", "boot", m.began), m.began.Add(after)
	w := event.Workload{Identity: identity(m.t, "spiffe://shop.example/ns/shop/sa/checkout"), Evidence: event.EvidenceKubernetes, Executable: "/app"}
	for _, port := range ports {
		b.Add(&event.Observation{
			Time: at, Workload: w, Direction: event.Outbound, Protocol: event.TCP,
			Peer:   event.Peer{Address: netip.MustParseAddr("2001:db8::7"), Port: port},
			Counts: event.Counts{Connections: 1, BytesSent: 10},
		})
	}
	data, err := b.Encode(sequence, sequence, at)
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := js.Publish(m.t.Context(), event.ObservationSubject(event.Partition(w.Identity, event.DefaultPartitions), "n1"), data); err != nil {
		m.t.Fatal(err)
	}
}

// await asks until the answer holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestUp goes through a day of a machine: start, learn, find, stop, start again; with someone who follows findings all the time.
func TestUp(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // runs last
	m := newMachine(t)
	stop := m.up()
	if code, out, errs := ambit(t, "identities"); code != exitGood || strings.Count(out, "\n") != 1 {
		t.Errorf("identities of an empty store: %d %q %q", code, out, errs)
	}
	m.publish(1, time.Second, 443, 5432)
	m.publish(2, 2*time.Minute, 443)
	count := func(id string) (n uint64) {
		var page api.Page[api.Reach]
		code, out, _ := ambit(t, "reach", id, "-o", "json")
		if code != exitGood || json.Unmarshal([]byte(out), &page) != nil {
			return 0
		}
		for _, r := range page.Items {
			n += r.Connections
		}
		return n
	}
	await(t, "three connections", func() bool { return count("checkout") == 3 })
	if code, out, _ := ambit(t, "identities", "-o", "csv", "--state", "stable", "-q", "CHECKOUT"); code != exitGood ||
		!strings.Contains(out, "\nspiffe://shop.example/ns/shop/sa/checkout,service-account,stable,1.0000,kubernetes,2,3,0,30,0,") {
		t.Errorf("identities: %d %s", code, out)
	}
	if code, out, _ := ambit(t, "findings", "--fail-on-findings"); code != exitGood {
		t.Errorf("findings: %d %s", code, out)
	}

	following, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	followed := make(chan int, 1)
	go func() {
		followed <- run(following, []string{"findings", "--follow", "-o", "json"}, writer, io.Discard)
		writer.Close()
	}()
	lines := bufio.NewScanner(reader)
	next := func(port uint16) {
		t.Helper()
		var f event.Finding
		if !lines.Scan() {
			t.Fatal("following ended")
		}
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil || f.Resource.Port() != port {
			t.Errorf("followed %s (%v), want port %d", lines.Bytes(), err, port)
		}
	}
	m.publish(3, 3*time.Minute, 22)
	next(22)
	if code, out, _ := ambit(t, "findings", "--fail-on-findings", "--severity", "critical"); code != exitGood {
		t.Errorf("critical findings: %d %s", code, out)
	}
	if code, out, _ := ambit(t, "findings", "--fail-on-findings"); code != exitFindings || !strings.Contains(out, "2001:db8::7") {
		t.Errorf("findings: %d %s", code, out)
	}

	token, err := findToken(filepath.Join(m.data, "token"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := newClient("http://" + m.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.http.CloseIdleConnections()
	var page api.Page[event.Finding]
	if err := c.get(t.Context(), "/api/v1/findings", nil, &page); err != nil || len(page.Items) != 1 {
		t.Fatalf("%v, %d findings", err, len(page.Items))
	}
	finding, acknowledged := page.Items[0], api.FindingPatch{Status: event.StatusAcknowledged}
	if err := c.patch(t.Context(), "/api/v1/findings/"+finding.ID, strings.Repeat("0", len(token)), acknowledged, &finding); err == nil || !strings.Contains(err.Error(), "token") {
		t.Errorf("a change with a wrong token: %v", err)
	}

	code, out, errs := stop()
	if code != exitGood || errs != "" || !regexp.MustCompile(`(?s)^stream .*engine .*store .*collector .*api .*http://`+m.address+"\nIts pages are there[^\n]*/token[^\n]*\nstopping\n$").MatchString(out) {
		t.Errorf("ambit up ended with %d and said %q %q", code, out, errs)
	}
	m.publish(4, 4*time.Minute, 23) // while nobody is there
	stop = m.up()
	await(t, "all connections", func() bool { return count("spiffe://shop.example/ns/shop/sa/checkout") == 5 })
	next(23)
	if err := c.patch(t.Context(), "/api/v1/findings/"+finding.ID, token, acknowledged, &finding); err != nil || finding.Status != event.StatusAcknowledged {
		t.Errorf("the token of the former start: status %s, %v", finding.Status, err)
	}
	next(22) // as it is now
	cancel()
	go io.Copy(io.Discard, reader) // whatever is under way
	if code := <-followed; code != exitGood {
		t.Errorf("following ended with %d", code)
	}

	// A replay goes into the engine that runs.
	if code, _, errs := ambit(t, "replay", "--load", "--data", m.data, shopRecording); code != exitGood {
		t.Errorf("replay --load: %d %s", code, errs)
	}
	if code, out, _ := ambit(t, "report", "unused", "--window", "1h"); code != exitGood || !strings.Contains(out, "watched") {
		t.Errorf("report unused: %d %s", code, out)
	}
	refused(t, exitUsage, []string{"reach", "spiffe"}, "more than one")
	refused(t, exitFailed, []string{"reach", "nobody-at-all"}, "nobody-at-all")
	refused(t, exitFailed, []string{"reach", "spiffe://shop.example/none"}, "not found")
	if code, out, errs := stop(); code != exitGood || errs != "" {
		t.Errorf("ambit up ended with %d and said %q %q", code, out, errs)
	}

	// And into one of its own, when none runs.
	if code, _, errs := ambit(t, "replay", "--load", "--data", m.data, shopRecording); code != exitGood {
		t.Errorf("replay --load: %d %s", code, errs)
	}
	if left, err := os.ReadDir(filepath.Join(m.data, "run")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestUpCheck checks that a check starts everything and ends by itself.
func TestUpCheck(t *testing.T) {
	m := newMachine(t)
	t.Setenv("AMBIT_NATS_URLS", "")
	long := filepath.Join(t.TempDir(), strings.Repeat("long-", 20)) // too long for the name of a socket
	code, out, errs := ambit(t, "up", "--no-agent", "--check", "--data", long, "--listen", m.address)
	if code != exitGood || errs != "" || !strings.HasSuffix(out, "all of it works\n") || !strings.Contains(out, "NATS in "+long) {
		t.Errorf("up --check: %d %q %q", code, out, errs)
	}
	t.Setenv("AMBIT_NATS_URLS", "nats://127.0.0.1:1")
	code, _, errs = ambit(t, "up", "--no-agent", "--check", "--data", long, "--listen", m.address)
	if code != exitFailed || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "nats://127.0.0.1:1") {
		t.Errorf("up without NATS: %d %q", code, errs)
	}
}

// TestPartFails checks that when the engine cannot go on, everything else ends in order, with one line.
func TestPartFails(t *testing.T) {
	m := newMachine(t)
	if err := os.MkdirAll(m.data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.data, "clickhouse"), nil, 0o600); err != nil { // where its folder should be
		t.Fatal(err)
	}
	code, out, errs := m.up()()
	if code != exitFailed || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "clickhouse") || strings.Contains(out, "http://") {
		t.Errorf("ambit up ended with %d and said %q %q", code, out, errs)
	}
}
