package cli

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestPprof(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	c := defaultConfig()
	var out bytes.Buffer
	u := &up{config: &c, log: slog.New(slog.DiscardHandler), parts: newParts(&out)}
	if err := u.startPprof(t.Context()); err != nil || len(u.parts.list) != 0 {
		t.Fatalf("it is off by default: %v, %d parts", err, len(u.parts.list))
	}
	c.Pprof = "127.0.0.1:0"
	if err := u.startPprof(t.Context()); err != nil {
		t.Fatal(err)
	}
	address := strings.TrimSpace(out.String()[strings.LastIndex(out.String(), " "):])
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path, host string) (int, string) {
		t.Helper()
		r, err := http.NewRequest("GET", "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			r.Host = host
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(body)
	}
	if status, body := get("/debug/pprof/goroutine?debug=1", ""); status != 200 || !strings.HasPrefix(body, "goroutine profile:") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := get("/debug/pprof/heap", "localhost:1"); status != 200 || len(body) == 0 {
		t.Errorf("%d, %d bytes", status, len(body))
	}
	if status, _ := get("/debug/pprof/", "evil.example"); status != http.StatusMisdirectedRequest {
		t.Errorf("for a foreign name: %d", status)
	}
	if status, body := get("/debug/pprof/cmdline", ""); status != 404 || strings.Contains(body, "test") {
		t.Errorf("command line: %d %s", status, body)
	}
	if status, _ := get("/", ""); status != 404 {
		t.Errorf("/: %d", status)
	}
	taken := defaultConfig()
	taken.Pprof = address
	second := &up{config: &taken, log: u.log, parts: newParts(io.Discard)}
	if err := second.startPprof(t.Context()); err == nil || !strings.Contains(err.Error(), "pprof: listen on "+address+": bind: address already in use; choose") {
		t.Errorf("a taken address: %v", err)
	}
	if err := u.stop(); err != nil {
		t.Error(err)
	}
	if nc, err := net.Dial("tcp", address); err == nil {
		nc.Close()
		t.Error("it still listens after the end")
	}
}

func TestLoopback(t *testing.T) {
	for address, ok := range map[string]bool{"": true, "127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "127.8.9.1:1": true, "[::ffff:127.0.0.1]:1": true,
		"0.0.0.0:1": false, "[::]:1": false, ":1": false, "10.0.0.1:1": false, "localhost": false, "localhost.example:1": false, "127.0.0.1:": false} {
		if err := checkLoopback("pprof", address, "x"); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}
