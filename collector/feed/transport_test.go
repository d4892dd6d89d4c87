package feed

import (
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// TestNATSOutput publishes to Ambit's own server, and to another one by user and password, with the finding in the subject.
func TestNATSOutput(t *testing.T) {
	b, other := newBus(t), newBus(t)
	if _, err := other.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SOC", Subjects: []string{"soc.>"}}); err != nil {
		t.Fatal(err)
	}
	findings := burst(t, 600, 20)
	feeds := b.start(nil, map[string]any{"name": "own", "transport": "nats", "from": "all", "format": "json"},
		map[string]any{"name": "other", "transport": "nats", "url": other.server.ClientURL(), "subject": "soc.{severity}.{namespace}.{rule}", "from": "all", "format": "json"})
	b.publish(findings...)
	for _, c := range []struct {
		name, stream, subject string
		from                  *bus
	}{{"own", StreamName, outSubject + "own", b}, {"other", "SOC", "soc.high.shop.new-reach", other}} {
		await(t, c.name+" to have all", func() bool { return feeds.statusOf(c.name).Sequence == uint64(len(findings)) })
		stream, err := c.from.js.Stream(t.Context(), c.stream)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range findings {
			m, err := stream.GetMsg(t.Context(), uint64(i+1))
			if err != nil {
				t.Fatal(err)
			}
			var doc struct {
				UID     string
				Finding struct{ Count uint64 }
			}
			if err := json.Unmarshal(m.Data, &doc); err != nil || m.Subject != c.subject {
				t.Fatalf("%s: %v", m.Subject, err)
			}
			got = append(got, fmt.Sprintf("%s %d", doc.UID, doc.Finding.Count))
		}
		checkOrder(t, got, findings)
	}
	if answer, err := feeds.Test(t.Context(), "own"); err != nil || !strings.Contains(answer.Answer, "stored in AMBIT_FEEDS as message 601") {
		t.Errorf("got %+v, %v", answer, err)
	}
}

// TestFile writes lines, rotates, and goes on behind what a crash cut off.
func TestFile(t *testing.T) {
	b := newBus(t)
	path := filepath.Join(t.TempDir(), "findings.json")
	if err := os.WriteFile(path, []byte("{\"uid\":\"old 1\"}\n{\"uid\":\"cut o"), 0o600); err != nil {
		t.Fatal(err)
	}
	findings := burst(t, 3000, 30)
	feeds := b.start(nil, map[string]any{"name": "disk", "transport": "file", "path": path, "from": "all", "format": "json", "max_bytes": 1 << 20, "keep": 20})
	b.publish(findings[:1000]...)
	await(t, "the file to be written", func() bool { return feeds.statusOf("disk").Sequence > 0 })
	for range 5 { // beside what is written
		if answer, err := feeds.Test(t.Context(), "disk"); err != nil || !answer.Taken {
			t.Errorf("got %+v, %v", answer, err)
		}
	}
	b.publish(findings[1000:]...)
	await(t, "all to be written", func() bool { return feeds.statusOf("disk").Sequence == uint64(len(findings)) })
	var got []string
	tests := 0
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) < 3 {
		t.Fatalf("there are %v, %v", files, err)
	}
	for i := len(files) - 1; i >= 0; i-- { // path, .1, .2: the newest first
		name := path
		if i > 0 {
			name = fmt.Sprintf("%s.%d", path, i)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && len(data) > 4<<20 {
			t.Errorf("%s has %d bytes", name, len(data))
		}
		for line := range bytes.Lines(data) {
			var doc struct {
				UID     string
				Finding struct{ Count uint64 }
			}
			if err := json.Unmarshal(line, &doc); err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			if strings.HasPrefix(doc.UID, "feed-test-") {
				tests++
			} else if doc.UID != "old 1" {
				got = append(got, fmt.Sprintf("%s %d", doc.UID, doc.Finding.Count))
			}
		}
	}
	if n := checkOrder(t, got, findings); n != 0 || tests != 5 {
		t.Errorf("%d were written twice, and %d tests", n, tests)
	}
}

func writeFile(t testing.TB, dir, name, data string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWebhookProves shows a receiver by certificate and by signature who sends.
func TestWebhookProves(t *testing.T) {
	const key = "a-key-of-some-length"
	dir := t.TempDir()
	ca := testenv.NewCA(t, "hooks")
	var mu sync.Mutex
	var bodies []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		want := "sha256=" + Sign([]byte(key), r.Header.Get("Ambit-Timestamp"), body)
		if !hmac.Equal([]byte(want), []byte(r.Header.Get("Ambit-Signature"))) || len(r.TLS.PeerCertificates) == 0 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		bodies = append(bodies, string(body))
	}))
	serverPEM, serverKey := ca.Issue(testenv.Leaf{Names: []string{"127.0.0.1"}}).PEM()
	pair, err := tls.X509KeyPair(serverPEM, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	cert, certKey := ca.Issue(testenv.Leaf{Names: []string{"ambit"}}).PEM()
	t.Setenv("TEST_FEED_HMAC", key)
	b := newBus(t)
	b.start(nil, map[string]any{"name": "proof", "transport": "webhook", "url": server.URL, "from": "all", "hmac": map[string]any{"env": "TEST_FEED_HMAC"}, "tls": map[string]any{
		"ca": writeFile(t, dir, "ca", string(testenv.CertificatePEM(ca.Certificate))), "cert": writeFile(t, dir, "cert", string(cert)), "key": writeFile(t, dir, "key", string(certKey)),
	}})
	b.publish(burst(t, 3, 3)...)
	await(t, "a body", func() bool { mu.Lock(); defer mu.Unlock(); return len(bodies) > 0 })
}

// TestSecretsStaySecret has receivers that repeat what they are told, and addresses that fail, and looks at all that others see.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	const token, slack = "tok-0123456789abcdef", "T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"
	dir := t.TempDir()
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, r.Header.Get("Authorization")+" "+r.URL.String(), http.StatusUnauthorized)
	}))
	t.Cleanup(echo.Close)
	gone := httptest.NewServer(nil)
	gone.Close()
	b := newBus(t)
	feeds := b.start(nil,
		map[string]any{"name": "echo", "transport": "webhook", "url": echo.URL, "from": "all", "token": map[string]any{"file": writeFile(t, dir, "token", token+"\n")}},
		map[string]any{"name": "slack", "transport": "slack", "from": "all", "url_from": map[string]any{"file": writeFile(t, dir, "url", echo.URL+"/services/"+slack)}},
		map[string]any{"name": "gone", "transport": "slack", "from": "all", "url_from": map[string]any{"file": writeFile(t, dir, "url2", gone.URL+"/services/"+slack)}},
		map[string]any{"name": "plain", "transport": "slack", "from": "all", "url_from": map[string]any{"file": writeFile(t, dir, "url3", "http://example.com/services/"+slack)}},
		map[string]any{"name": "kafka", "transport": "kafka", "from": "all", "brokers": strings.TrimPrefix(gone.URL, "http://"), "topic": "x", "sasl": "scram-sha-256", "user": "u", "timeout": "1s", "token": map[string]any{"file": writeFile(t, dir, "token2", token)}},
		map[string]any{"name": "missing", "transport": "webhook", "url": echo.URL, "from": "all", "token": map[string]any{"file": filepath.Join(dir, "nothing")}},
	)
	b.publish(burst(t, 2, 2)...)
	var seen strings.Builder
	for _, name := range feeds.Names() {
		await(t, name+" to fail", func() bool { return feeds.statusOf(name).Attempts > 1 })
		answer, err := feeds.Test(t.Context(), name)
		if err != nil || answer.Taken {
			t.Errorf("%s: %+v, %v", name, answer, err)
		}
		fmt.Fprintf(&seen, "%+v %+v\n", answer, feeds.statusOf(name))
	}
	if s := feeds.statusOf("echo").Error; !strings.Contains(s, "Bearer "+veiled) {
		t.Errorf("the status says %s", s)
	}
	if s := feeds.statusOf("missing").Error; !strings.Contains(s, "nothing: no such file") {
		t.Errorf("the status says %s", s)
	}
	feeds.end()
	seen.WriteString(feeds.log.String())
	families, err := feeds.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(&seen, families)
	bucket, err := b.js.KeyValue(t.Context(), BucketName)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := bucket.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if e, err := bucket.Get(t.Context(), k); err == nil {
			seen.Write(e.Value())
		}
	}
	for _, secret := range []string{token, slack, "XXXXXXXXXXXXXXXXXXXXXXXX"} {
		if i := strings.Index(seen.String(), secret); i >= 0 {
			t.Errorf("the secret is in: …%s…", seen.String()[max(0, i-100):i+len(secret)])
		}
	}
}

func TestRetryAfter(t *testing.T) {
	f := func(text string, want time.Duration) {
		t.Helper()
		if got := retryAfter(text, noon); got != want {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
	f("", 0)
	f("7", 7*time.Second)
	f("-7", 0)
	f("999999", time.Hour)
	f("x", 0)
	f(noon.Truncate(time.Second).Add(90*time.Second).Format(http.TimeFormat), 90*time.Second-noon.Sub(noon.Truncate(time.Second)))
	f(noon.Add(-time.Hour).Format(http.TimeFormat), 0)
}

func TestParse(t *testing.T) {
	good := func(m map[string]any) Config {
		t.Helper()
		return parsed(t, m)[0]
	}
	if c := good(map[string]any{"name": "a", "transport": "syslog", "address": "siem.example.com:6514"}); c.Network != "tls" || c.Format != "rfc5424" || c.Batch.Size != 500 || c.Updates != "all" {
		t.Errorf("got %+v", c)
	}
	if c := good(map[string]any{"name": "a", "transport": "slack", "url_from": map[string]any{"env": "X"}, "timeout": "3s", "filter": map[string]any{"owner": "a,b"}}); c.Timeout != 3*time.Second || len(c.Filter.Owner) != 2 || c.Updates != "changes" {
		t.Errorf("got %+v", c)
	}
	bad := func(want string, list ...map[string]any) {
		t.Helper()
		_, err := Parse(list)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the fault shows a secret: %v", err)
		}
	}
	hook := func(more ...any) map[string]any {
		m := map[string]any{"name": "a", "transport": "webhook", "url": "https://siem.example.com/x"}
		for i := 0; i+1 < len(more); i += 2 {
			m[more[i].(string)] = more[i+1]
		}
		return m
	}
	bad("feeds: a: unknown key formt, did you mean format?", hook("formt", "ecs"))
	bad("feeds: a: unknown key filter.sevrity, did you mean filter.severity?", hook("filter", map[string]any{"sevrity": "high"}))
	bad("transport is not one of alertmanager, file", hook("transport", "webhok"))
	bad("did you mean webhook?", hook("transport", "webhok"))
	bad("feeds: a: there is another one of this name", hook(), hook())
	bad("feeds: number 1: name is missing", hook("name", ""))
	bad("the format slack has no observations", hook("format", "slack", "send", "observations"))
	bad("plain connection to another machine", hook("url", "http://siem.example.com/x"))
	bad("holds a password", hook("url", "https://u:hunter2@siem.example.com/x"))
	bad("there are both url and url_from", hook("url_from", map[string]any{"env": "X"}))
	bad("token has both a file and an environment variable", hook("token", map[string]any{"env": "X", "file": "/x"}))
	bad("feeds: a: 'token' expected a map", hook("token", "hunter2"))
	bad("topic is not for the transport webhook", hook("topic", "x"))
	bad("filter.severity is not one of info, low, medium, high, critical, did you mean high?", hook("filter", map[string]any{"severity": "hgh"}))
	bad("batch.size is not from 1 to 2000", hook("batch", map[string]any{"size": 5000}))
	bad("it is no duration", hook("timeout", "hunter2"))
	bad("subject is one of Ambit's own", map[string]any{"name": "a", "transport": "nats", "subject": "ambit.v1.finding.high.x"})
	bad("silences are for the transport alertmanager only", hook("silences", true))
	bad("the transport slack takes the format slack only", hook("transport", "slack", "format", "ecs"))
	bad("sasl plain shows the password", map[string]any{"name": "a", "transport": "kafka", "brokers": "127.0.0.1:9092", "topic": "x", "sasl": "plain", "user": "u", "token": map[string]any{"env": "X"}})
	bad("brokers is a plain connection", map[string]any{"name": "a", "transport": "kafka", "brokers": "k.example.com:9092", "topic": "x"})
}

// TestNamesOfParts refuses two feeds whose parts would share a name.
func TestNamesOfParts(t *testing.T) {
	_, err := New(Options{Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Feeds: parsed(t, hook("a", "http://127.0.0.1/x", "send", "decisions"), hook("a-decisions", "http://127.0.0.1/x"))})
	if err == nil || !strings.Contains(err.Error(), "part") {
		t.Errorf("got %v", err)
	}
}

// BenchmarkBurst drains 10,000 findings that came at once to a fast receiver.
func BenchmarkBurst(b *testing.B) {
	const n = 10_000
	for _, format := range []string{"ocsf", "ecs", "json"} {
		b.Run(format, func(b *testing.B) {
			for b.Loop() {
				rate := drain(b, n, format)
				b.ReportMetric(rate, "findings/s")
			}
		})
	}
}

func drain(t testing.TB, n int, format string) (perSecond float64) {
	bus := newBus(t)
	var taken sync.WaitGroup
	taken.Add(n)
	fast := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var docs []json.RawMessage
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		if err := json.NewDecoder(body).Decode(&docs); err != nil {
			t.Error(err)
		}
		taken.Add(-len(docs))
	}))
	t.Cleanup(fast.Close)
	bus.publish(burst(t, n, 1000)...)
	began := time.Now()
	feeds := bus.start(nil, hook("fast", fast.URL, "format", format))
	taken.Wait()
	perSecond = float64(n) / time.Since(began).Seconds()
	feeds.end()
	return perSecond
}

// TestBurst wants 2,000 findings a second of processor time, the receiver's and the server's included: others may use the machine, too.
func TestBurst(t *testing.T) {
	n := 10_000
	if raceDetector {
		n = 2000
	}
	before := processorTime(t)
	rate := drain(t, n, "ocsf")
	perProcessor := float64(n) / (processorTime(t) - before).Seconds()
	t.Logf("%d findings were drained at %.0f a second, and %.0f a second of processor time", n, rate, perProcessor)
	if perProcessor < 2000 && !raceDetector {
		t.Errorf("that is below 2000 a second")
	}
}

func processorTime(t testing.TB) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
