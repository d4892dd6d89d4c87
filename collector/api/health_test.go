package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"github.com/ambit-nhi/ambit/collector/health"
)

func testReady(t *testing.T, s *Server, l *live) {
	f := func(target, accept string, status int, kind, body string) {
		t.Helper()
		w := ask(t, s, "GET", target, "", "Accept", accept)
		if w.Code != status || w.Header().Get("Content-Type") != kind || body != "" && w.Body.String() != body {
			t.Errorf("%s as %q: %d %s: %s", target, accept, w.Code, w.Header().Get("Content-Type"), w.Body)
		}
	}
	const text, object, fault = "text/plain; charset=utf-8", "application/json", "application/problem+json"
	f("/readyz", "", http.StatusOK, text, "stream: ok\ndisk: warning: 12 MiB are left\n")
	f("/readyz", "*/*", http.StatusOK, text, "")
	f("/readyz", "application/json", http.StatusOK, object, "")
	f("/readyz?format=text", "application/json", http.StatusOK, text, "")
	f("/readyz?format=json", "", http.StatusOK, object, "")
	l.checks = append(l.checks, health.Of("store", errors.New("it is away")), health.Fail("collector", "it waits"))
	f("/readyz", "", http.StatusServiceUnavailable, text, "stream: ok\ndisk: warning: 12 MiB are left\nstore: failed: it is away\ncollector: failed: it waits\n")
	f("/readyz?format=json", "", http.StatusServiceUnavailable, fault, "")
	f("/healthz", "", http.StatusOK, object, "{\"status\":\"ok\"}\n") // it says only that the process answers
	var p struct {
		Problem
		Checks []health.Check
	}
	w := ask(t, s, "GET", "/readyz?format=json", "")
	golden(t, "not_ready", w.Body.Bytes())
	checkAnswer(t, "/readyz", w.Code, fault, w.Body.Bytes())
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code || p.Detail != "store: it is away; collector: it waits" || len(p.Checks) != 4 {
		t.Errorf("%v: %+v", err, p)
	}
}
