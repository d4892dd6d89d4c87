package api

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// known authenticates by a header.
type known map[string]Principal

func (k known) Authenticate(r *http.Request) (Principal, bool, error) {
	name := r.Header.Get("X-Test")
	if name == "bad" {
		return Principal{}, false, Unauthorized("no")
	}
	if name == "away" {
		return Principal{}, false, errors.New("the provider is away")
	}
	p, ok := k[name]
	return p, ok, nil
}

// Every method of every route lets in who has its role, and nobody else.
func TestRoles(t *testing.T) {
	s := New(Config{Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler), Rate: 1e6,
		Authenticators: []Authenticator{known{"v": {"v", Viewer}, "r": {"r", Responder}, "a": {"a", Admin}}}})
	for _, route := range s.table() {
		for method, end := range route.methods {
			if method == "GET" && strings.HasPrefix(route.path, "/api/v1/") && end.role == Nobody && !strings.HasSuffix(route.path, "openapi.yaml") {
				t.Errorf("%s needs no role", route.path)
			}
			if method != "GET" && end.role < Responder && route.path != "/access/v1/evaluation" {
				t.Errorf("%s %s needs the role %s only", method, route.path, end.role)
			}
			for who, role := range map[string]Role{"": Nobody, "v": Viewer, "r": Responder, "a": Admin} {
				end := end
				reached := false
				end.handle = func(http.ResponseWriter, *http.Request) error { reached = true; return nil }
				r := httptest.NewRequest(method, "/", nil)
				r.Header.Set("X-Test", who)
				err := s.serve(httptest.NewRecorder(), r, end)
				if reached != (role >= end.role) || reached != (err == nil) {
					t.Errorf("%s %s by a %s: reached %v, %v", method, route.path, role, reached, err)
				}
			}
		}
	}
	for _, word := range []string{"viewer", "responder", "admin"} {
		if r, err := ParseRole(word); err != nil || r.String() != word {
			t.Errorf("%s: %s %v", word, r, err)
		}
	}
	for _, word := range []string{"", "nobody", "root", "Admin", strings.Repeat("a", 1000)} {
		if _, err := ParseRole(word); err == nil || len(err.Error()) > 200 {
			t.Errorf("%q is a role", word)
		}
	}
}

// plain is a server whose only interesting answer is a long list, and what it logs.
func plain(t *testing.T, change func(*Config)) (http.Handler, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	cfg := Config{Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(log, nil)), Anonymous: Viewer, Authenticators: []Authenticator{known{"v": {"v", Viewer}}}}
	if change != nil {
		change(&cfg)
	}
	return New(cfg), log
}

func TestRequestNames(t *testing.T) {
	s, log := plain(t, nil)
	f := func(given string, kept bool) {
		t.Helper()
		w := ask(t, s, "GET", "/api/v1/nothing", "", "X-Request-Id", given)
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		name := w.Header().Get("X-Request-Id")
		if p.RequestID != name || name == "" || kept != (name == given) {
			t.Errorf("given %q, the header says %q and the problem %q", given, name, p.RequestID)
		}
	}
	f("", false)
	f("abc-1.2_3", true)
	f(strings.Repeat("a", 65), false)
	f("a b", false)
	f("<script>", false)
	f("a\x1b[31m", false)
	ask(t, s, "GET", "/api/v1/openapi.yaml", "", "X-Request-Id", "named-1", "X-Test", "away")
	if !strings.Contains(log.String(), "named-1") || !strings.Contains(log.String(), "provider is away") {
		t.Errorf("the log does not name the request: %s", log)
	}
}

func TestTags(t *testing.T) {
	s, _ := plain(t, nil)
	first := ask(t, s, "GET", "/api/v1/openapi.yaml", "")
	tag := first.Header().Get("ETag")
	if first.Code != http.StatusOK || tag == "" || !strings.Contains(first.Header().Get("Cache-Control"), "private") {
		t.Fatalf("%d %v", first.Code, first.Header())
	}
	f := func(given string, want int) {
		t.Helper()
		w := ask(t, s, "GET", "/api/v1/openapi.yaml", "", "If-None-Match", given)
		if w.Code != want || want == http.StatusNotModified && (w.Body.Len() > 0 || w.Header().Get("ETag") != tag) {
			t.Errorf("%s: %d, want %d", given, w.Code, want)
		}
	}
	f(tag, http.StatusNotModified)
	f(`"x", `+tag, http.StatusNotModified)
	f(strings.TrimPrefix(tag, "W/"), http.StatusNotModified)
	f("*", http.StatusNotModified)
	f(`"x"`, http.StatusOK)
	f("", http.StatusOK)
	expected := func(header, value string) (*uint64, error) {
		r := httptest.NewRequest("PUT", "/", nil)
		r.Header.Set(header, value)
		return expectedVersion(r)
	}
	if v, err := expected("If-Match", `"7"`); err != nil || v == nil || *v != 7 {
		t.Errorf("%v %v", v, err)
	}
	if v, err := expected("If-None-Match", `*`); err != nil || v == nil || *v != 0 {
		t.Errorf("%v %v", v, err)
	}
	if v, err := expected("If-Match", ""); err != nil || v != nil {
		t.Errorf("%v %v", v, err)
	}
	for _, bad := range []string{"7", `""`, `"x"`, `W/"7"`, `"7", "8"`, `*`} {
		if _, err := expected("If-Match", bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestCompressed(t *testing.T) {
	s, _ := plain(t, nil)
	whole := ask(t, s, "GET", "/api/v1/openapi.yaml", "").Body.Bytes()
	w := ask(t, s, "GET", "/api/v1/openapi.yaml", "", "Accept-Encoding", "gzip")
	if w.Header().Get("Content-Encoding") != "gzip" || w.Body.Len() > len(whole)/3 {
		t.Fatalf("%v, %d bytes", w.Header(), w.Body.Len())
	}
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, whole) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if w := ask(t, s, "GET", "/healthz", "", "Accept-Encoding", "gzip"); w.Header().Get("Content-Encoding") != "" {
		t.Error("a few bytes are compressed")
	}
}

func TestLimits(t *testing.T) {
	s, _ := plain(t, func(c *Config) { c.Rate = 0.2 }) // one at once, the next five seconds later
	get := func(header ...string) int {
		w := ask(t, s, "GET", "/metrics", "", header...)
		if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
			t.Error("it is not said when to try again")
		}
		return w.Code
	}
	if first, second, other := get(), get(), get("X-Test", "v"); first != 200 || second != 429 || other != 200 {
		t.Errorf("%d %d %d", first, second, other)
	}
	if code := ask(t, s, "GET", "/healthz", "").Code; code != 200 {
		t.Errorf("health: %d", code)
	}
	bad := map[int]int{}
	for range 2 * failedBurst {
		bad[get("X-Test", "bad")]++
	}
	if bad[401] < failedBurst || bad[429] == 0 {
		t.Errorf("bad proofs: %v", bad)
	}
	l := newLimits()
	for i := range 3 * maxLimits {
		l.take(strings.Repeat("a", i%17)+string(rune(i+0x100)), 1, 1, time.Now())
	}
	if n := l.buckets.Len(); n > maxLimits {
		t.Errorf("%d principals are remembered", n)
	}
}

// TestLoginBudget: an address, of IPv6 its network, has a budget of logins by a provider, and leaves that of others alone.
func TestLoginBudget(t *testing.T) {
	s := &Server{limits: newLimits()}
	from := func(address string) error {
		r := httptest.NewRequest("GET", "/login/oidc/callback", nil)
		r.RemoteAddr = address
		return s.Login(r)
	}
	var err error
	n := 0
	for i := 0; err == nil && i < 100_000; i++ { // some come back each second
		err = from(fmt.Sprintf("[2001:db8:0:1::%x]:1", i%65536))
		n++
	}
	var p *Problem
	if !errors.As(err, &p) || p.Status != http.StatusTooManyRequests || n <= loginBurst {
		t.Errorf("after %d logins of one network: %v", n, err)
	}
	for _, other := range []string{"[2001:db8:0:2::1]:1", "192.0.2.1:1"} {
		if err := from(other); err != nil {
			t.Errorf("%s: %v", other, err)
		}
	}
}
