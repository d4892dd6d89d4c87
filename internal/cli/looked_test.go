package cli

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/collector/health"
)

// TestLooked asks what a kubelet and Prometheus ask, from a process that starts until one that fails.
func TestLooked(t *testing.T) {
	l := &looked{metrics: newMetrics()}
	server := httptest.NewServer(l.handler())
	defer server.Close()
	f := func(path string, status int, body string) {
		t.Helper()
		r, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		got, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		if r.StatusCode != status || !strings.Contains(string(got), body) {
			t.Errorf("%s: %d %q, want %d and %q in it", path, r.StatusCode, got, status, body)
		}
		if l.remote && strings.Contains(string(got), "secret.example") {
			t.Errorf("%s tells others %q", path, got)
		}
	}
	set := func(checks ...health.Check) {
		ask := func(context.Context) []health.Check { return checks }
		l.checks.Store(&ask)
	}
	f("/healthz", 200, "ok")
	f("/readyz", 503, "it is starting")
	f("/metrics", 200, "go_goroutines")
	f("/debug/pprof/", 404, "")
	set(health.Check{Name: "agent", State: health.OK}, health.Warn("stream", "nats://secret.example is away"))
	f("/readyz", 200, "stream: warning: nats://secret.example is away")
	l.remote = true
	f("/readyz", 200, "stream: warning\n")
	set(health.Fail("agent", "at secret.example"))
	f("/readyz", 503, "agent: failed\n")
	f("/healthz", 200, "ok")
}
