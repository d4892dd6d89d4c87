package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/api"
)

// TestTop shows rates between two looks, the busiest first, and nothing that steers a terminal.
func TestTop(t *testing.T) {
	looks := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		used := now
		page := api.Page[api.Identity]{Items: []api.Identity{
			{Identity: identity(t, "spiffe://a/quiet"), State: "stable", LastUsed: &used, Connections: 1000},
			{Identity: identity(t, "spiffe://a/busy"), State: "\x1b[2Jlearning", LastUsed: &used, Connections: uint64(20 * looks), Failed: uint64(4 * looks), BytesSent: uint64(4096 * looks)},
			{Identity: identity(t, "spiffe://a/forgot"), State: "stable", Connections: uint64(100 - looks)},
		}}
		looks++
		_ = json.NewEncoder(w).Encode(page)
	}))
	defer server.Close()
	clock := now
	var out bytes.Buffer
	c, err := newClient(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	view := &top{client: c, out: &out, every: time.Millisecond, sort: "connections", looks: 2, now: func() time.Time { clock = clock.Add(2 * time.Second); return clock }}
	if err := view.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 6 || !strings.Contains(lines[0], "3 identities") || !strings.HasSuffix(lines[3], "spiffe://a/busy") || !strings.HasPrefix(lines[3], "10.0") ||
		!strings.Contains(lines[3], "2.0KiB") || !strings.HasPrefix(lines[4], "0.0") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("%s", out.String())
	}
	refused(t, exitUsage, []string{"top", "--every", "1ms"}, "100ms")
	refused(t, exitUsage, []string{"top", "--sort", "name"}, "connections, failed")
	refused(t, exitFailed, []string{"top", "--server", "http://127.0.0.1:1"}, "no Ambit answers")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&top{client: c, out: &out, every: time.Second, now: time.Now}).run(ctx); err != nil {
		t.Errorf("ended: %v", err)
	}
}

// TestCompletion: the shell completes words of flags.
func TestCompletion(t *testing.T) {
	for line, want := range map[string]string{
		"report unused --class ": "dormant", "report high-risk --risk ": "internet-reachable", "report ": "blast-radius", "to": "top", "report inventory --by ": "environment",
	} {
		code, out, _ := ambit(t, append([]string{"__complete"}, strings.Split(line, " ")...)...)
		if code != exitGood || !strings.Contains(out, want) {
			t.Errorf("%s: %d %q, want %q", line, code, out, want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, out, _ := ambit(t, "completion", shell); code != exitGood || !strings.Contains(out, "ambit") {
			t.Errorf("%s: %d", shell, code)
		}
	}
}
