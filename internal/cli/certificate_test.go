package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/svid"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

const (
	natsID      = "spiffe://shop.example/ns/nats/sa/nats"
	agentID     = "spiffe://shop.example/ns/ambit/sa/agent"
	collectorID = "spiffe://shop.example/ns/ambit/sa/collector"
)

// TestWrongCertificate checks what is said of settings that cannot work together.
func TestWrongCertificate(t *testing.T) {
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", "")
	f := func(text string, want ...string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "ambit.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, exitUsage, []string{"up", "--no-agent", "--config", file}, want...)
	}
	const urls = "nats: {urls: ['tls://192.0.2.1:4222'], "
	const socket = "spiffe: {socket: /run/api.sock}\n"
	f("nats: {tls: {spiffe: true}}", "nats.tls is set", "nats.urls")
	f(urls+"tls: {spiffe: true}}", "nats.tls.spiffe", "spiffe.socket", "SPIFFE_ENDPOINT_SOCKET", "unix:///")
	f(socket+urls+"tls: {spiffe: true}}", "nats.tls.server_ids", "spiffe://shop.example")
	f(socket+urls+"tls: {spiffe: true, server_ids: [nats.example]}}", "nats.tls.server_ids", "nats.example", "SPIFFE ids")
	f(socket+urls+"tls: {spiffe: true, server_ids: ['spiffe://Shop/..']}}", "nats.tls.server_ids", "spiffe://Shop/..")
	f(socket+urls+"tls: {spiffe: true, cert: a, server_ids: ['spiffe://shop.example']}}", "nats.tls.spiffe", "nats.tls.cert", "leave out")
	f(urls+"tls: {cert: a, key: b}}", "nats.tls.ca is not set")
	f(urls+"tls: {ca: a}}", "nats.tls.cert is not set")
	f(urls+"tls: {server_ids: [a]}}", "nats.tls.server_ids", "nats.tls.spiffe")
	f(urls+"tls: {spifee: true}}", "unknown key nats.tls.spifee", "did you mean nats.tls.spiffe?")
	f(urls+"tls: true}", "nats.tls takes settings of its own")
	f("spiffe: {socket: 'tcp://192.0.2.1:8081'}", "spiffe.socket", "192.0.2.1", "private key", "unix:///")
	f("spiffe: {socket: here}", "spiffe.socket", `"here"`, "unix:///")
	for _, plain := range []string{"nats://192.0.2.1:4222", "nats://[2001:db8::1]:4222", "nats://[::]:4222", "nats://[fe80::1%25eth0]:4222", "nats://[::ffff:192.0.2.1]:4222", "nats://nats.example"} {
		f("nats: {urls: ['"+plain+"']}", "nats.urls", "plain connection", "tls://")
	}

	dir := t.TempDir()
	t.Setenv("AMBIT_NATS_URLS", "tls://127.0.0.1:4222")
	t.Setenv("AMBIT_NATS_TLS_CERT", filepath.Join(dir, "tls.crt"))
	t.Setenv("AMBIT_NATS_TLS_KEY", filepath.Join(dir, "tls.key"))
	t.Setenv("AMBIT_NATS_TLS_CA", filepath.Join(dir, "ca.crt"))
	t.Setenv("AMBIT_CLICKHOUSE_ADDRESSES", "127.0.0.1:1")
	refused(t, exitFailed, []string{"up", "--no-agent", "--check", "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data")}, "nats.tls", "tls.crt", "no such file")
}

// TestPlainLoopback checks that connections within the machine need no TLS.
func TestPlainLoopback(t *testing.T) {
	for _, u := range []string{"nats://127.0.0.1:4222", "nats://127.9.9.9", "nats://[::1]:4222", "nats://localhost:4222", "nats://[::ffff:127.0.0.1]:4222", "tls://[2001:db8::1]:4222"} {
		c := collector.DefaultBusConfig()
		c.URLs = []string{u}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
}

// secureServer is a NATS server with JetStream that knows its users by their SPIFFE ids. The one of the agent may do what agents need on node n1.
func secureServer(t *testing.T, config *tls.Config) (url string) {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		TLS: true, TLSConfig: config, TLSVerify: true, TLSMap: true, TLSTimeout: 20,
		Users: []*server.User{{Username: collectorID}, {Username: agentID, Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: []string{"ambit.v1.obs.*.n1", "ambit.v1.agent.n1"}},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server is not ready after 10s")
	}
	return s.ClientURL()
}

// source runs a source of certificates with a Workload API of its own.
func source(t *testing.T, ca *testenv.CA, id string) *svid.Source {
	t.Helper()
	w := testenv.NewWorkloadAPI(t)
	w.Give(ca.SVID(id), []*x509.Certificate{ca.Certificate}, nil)
	w.Start()
	s, err := svid.New(svid.Config{Socket: w.Socket})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case <-time.After(20 * time.Second):
		t.Fatal(s.Status())
	}
	return s
}

func allow(t *testing.T, ids ...string) svid.Peers {
	t.Helper()
	p, err := svid.ParsePeers(ids)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestUpWithSVID runs the collector's side on a NATS server beyond TLS, with an SVID that rotates, then with certificate files.
func TestUpWithSVID(t *testing.T) {
	m := newMachine(t)
	ca := testenv.NewCA(t, "shop")
	bundle := []*x509.Certificate{ca.Certificate}
	servers := source(t, ca, natsID)
	t.Setenv("AMBIT_NATS_URLS", secureServer(t, servers.Server(allow(t, collectorID))))
	api := testenv.NewWorkloadAPI(t)
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", api.Socket)
	t.Setenv("AMBIT_NATS_TLS_SPIFFE", "true")
	t.Setenv("AMBIT_NATS_TLS_SERVER_IDS", agentID+","+natsID)
	check := []string{"up", "--no-agent", "--check", "--data", m.data, "--listen", m.address}
	checkFails := func(want ...string) {
		t.Helper()
		code, _, errs := ambit(t, check...)
		line := errs[strings.LastIndex(strings.TrimSuffix(errs, "\n"), "\n")+1:]
		if code != exitFailed {
			t.Errorf("the check gives %d", code)
		}
		for _, w := range want {
			if !strings.Contains(line, w) {
				t.Errorf("the check says %q, not %q", line, w)
			}
		}
	}
	checkFails("nats.tls.spiffe", "Workload API at "+api.Socket, "away since")
	api.Start()
	api.Give(ca.SVID(collectorID), bundle, nil)
	t.Setenv("AMBIT_NATS_TLS_SERVER_IDS", agentID)
	checkFails("connect to NATS at tls://", natsID+" is not among "+agentID, "nats.tls")
	t.Setenv("AMBIT_NATS_TLS_SERVER_IDS", "spiffe://shop.example")
	api.Give(ca.SVID(agentID), bundle, nil)
	checkFails("connect to NATS at tls://", "refuses this certificate")
	api.Give(ca.SVID(collectorID), bundle, nil)
	code, out, errs := ambit(t, check...)
	if code != exitGood || !strings.Contains(out, "all of it works") || !regexp.MustCompile(`svid +ready in .* SVID of `+collectorID+` valid until`).MatchString(out) {
		t.Errorf("the check gives %d %q %q", code, out, errs)
	}

	stop := m.up()
	for range 3 {
		before := m.metric("ambit_svid_events_total", "svid-rotated")
		api.Give(ca.SVID(collectorID), bundle, nil)
		await(t, "a rotation", func() bool { return m.metric("ambit_svid_events_total", "svid-rotated") != before })
	}
	if got := m.get("/metrics"); !strings.Contains(got, "ambit_svid_expiry_timestamp_seconds 1.") {
		t.Error("the metrics do not say when the SVID ends")
	}
	await(t, "readiness", func() bool { return !strings.Contains(m.get("/readyz"), "SVID") })
	api.Give(ca.Issue(testenv.Leaf{URIs: []string{collectorID}, NotAfter: time.Now().Add(6 * time.Second)}), bundle, nil)
	await(t, "the end of the SVID", func() bool { return strings.Contains(m.get("/readyz"), "SVID of "+collectorID+" ended ") })
	api.Give(ca.SVID(collectorID), bundle, nil)
	await(t, "readiness again", func() bool { return !strings.Contains(m.get("/readyz"), "SVID") })
	if code, out, errs := stop(); code != exitGood {
		t.Errorf("ambit up ended with %d: %s%s", code, out, errs)
	}

	// The same with files; the server is known by the host of nats.urls, so it must be another one.
	dir := t.TempDir()
	cert, key := ca.SVID(collectorID).PEM()
	for name, data := range map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": testenv.CertificatePEM(ca.Certificate)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("AMBIT_NATS_TLS_SPIFFE", "false")
	t.Setenv("AMBIT_NATS_TLS_CERT", filepath.Join(dir, "tls.crt"))
	t.Setenv("AMBIT_NATS_TLS_KEY", filepath.Join(dir, "tls.key"))
	t.Setenv("AMBIT_NATS_TLS_CA", filepath.Join(dir, "ca.crt"))
	if code, out, errs := ambit(t, check...); code != exitGood || !strings.Contains(out, "all of it works") {
		t.Errorf("the check with files gives %d %q %q", code, out, errs)
	}
	t.Setenv("AMBIT_NATS_TLS_SERVER_IDS", "")
	checkFails("connect to NATS at tls://", "127.0.0.1", "nats.tls")
	named := ca.Issue(testenv.Leaf{URIs: []string{natsID}, Names: []string{"127.0.0.1"}})
	config := servers.Server(allow(t, collectorID))
	config.GetCertificate = nil
	config.Certificates = []tls.Certificate{{Certificate: [][]byte{named.Certificate.Raw}, PrivateKey: named.Key}}
	t.Setenv("AMBIT_NATS_URLS", secureServer(t, config))
	if code, out, errs := ambit(t, check...); code != exitGood || !strings.Contains(out, "all of it works") {
		t.Errorf("the check with files and the host's name gives %d %q %q", code, out, errs)
	}
}

// get is what the API says, whatever the status.
func (m *machine) get(path string) string {
	m.t.Helper()
	r, err := http.Get("http://" + m.address + path)
	if err != nil {
		m.t.Fatal(err)
	}
	defer r.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}

// metric is the line of a metric's cause.
func (m *machine) metric(name, cause string) string {
	m.t.Helper()
	return regexp.MustCompile(name + `\{cause="` + cause + `"\} .*`).FindString(m.get("/metrics"))
}

// TestKernelAgentWithSVID starts an agent before its SVID can be had. It waits for it, and then sends with the rights of its SPIFFE id.
func TestKernelAgentWithSVID(t *testing.T) {
	testenv.RequireKernel(t)
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	ca := testenv.NewCA(t, "shop")
	url := secureServer(t, source(t, ca, natsID).Server(allow(t, "spiffe://shop.example")))
	api := testenv.NewWorkloadAPI(t)
	t.Setenv("AMBIT_NATS_URLS", url)
	t.Setenv("AMBIT_SPIFFE_SOCKET", api.Socket)
	t.Setenv("AMBIT_NATS_TLS_SPIFFE", "true")
	t.Setenv("AMBIT_NATS_TLS_SERVER_IDS", natsID)
	refused(t, exitFailed, []string{"agent", "--check", "--node", "n1"}, "nats.tls.spiffe", "Workload API at "+api.Socket, "away since")

	nc, err := nats.Connect(url, nats.Secure(source(t, ca, collectorID).Client(allow(t, natsID))))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: event.StreamObservations, Subjects: []string{event.SubjectObservations, event.SubjectAgents}})
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	stdout, stderr := &safeBuffer{}, &safeBuffer{}
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"agent", "--node", "n1", "--interval", "200ms", "--data", t.TempDir()}, stdout, stderr)
	}()
	t.Cleanup(func() {
		cancel()
		if c := <-code; c != exitGood {
			t.Errorf("the agent ended with %d: %s", c, stderr)
		}
	})
	await(t, "the agent to say what is missing", func() bool { return strings.Contains(stderr.String(), "away since") })
	api.Give(ca.SVID(agentID), []*x509.Certificate{ca.Certificate}, nil)
	api.Start()
	await(t, "a heartbeat", func() bool {
		_, err := stream.GetLastMsgForSubject(t.Context(), event.AgentSubject("n1"))
		return err == nil
	})
	if !strings.Contains(stdout.String(), "SVID of "+agentID) || bytes.Contains([]byte(stderr.String()), []byte("PRIVATE")) {
		t.Errorf("the agent says %q %q", stdout, stderr)
	}
}

// TestOutputGone tells a pipe without a reader, of which there is nothing to say, from a connection that broke.
func TestOutputGone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	if _, err := w.WriteString("x"); !outputGone(fmt.Errorf("write: %w", err)) {
		t.Errorf("nobody reads the output: %v", err)
	}
	if err := (&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}); outputGone(fmt.Errorf("connect: %w", err)) {
		t.Errorf("nothing would be said of %v", err)
	}
}
