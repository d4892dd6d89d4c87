package web

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// shared is what a collector knows of ended sessions by a NATS server, until the test ends.
func shared(t *testing.T, url string) *Ended {
	t.Helper()
	nc, err := nats.Connect(url, nats.Timeout(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	e := NewEnded()
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- e.Run(ctx, js, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		nc.Close()
	})
	select {
	case <-ready:
	case <-time.After(time.Minute):
		t.Fatal("it does not know what was ended")
	}
	return e
}

// bucket makes the bucket of ended sessions.
func bucket(t *testing.T, url string) jetstream.KeyValue {
	t.Helper()
	nc, err := nats.Connect(url, nats.Timeout(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateKeyValue(t.Context(), EndedBucket())
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// TestLogout: a session that was logged out at one collector is good at none, also at those that start later; others of the same token stay good.
func TestLogout(t *testing.T) {
	server := testenv.NATSServer(t)
	kv := bucket(t, server.ClientURL())
	site := func() *Site {
		s, err := New(Config{Key: make([]byte, 32), Ended: shared(t, server.ClientURL()), Gate: nobody{}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	one, two := site(), site()
	login := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		if err := one.start(w, "token", time.Hour); err != nil {
			t.Fatal(err)
		}
		return w
	}
	gone, stays := login(), login()
	good := func(s *Site, w *httptest.ResponseRecorder) bool {
		token, ok, err := s.Token(back("GET", w))
		return err == nil && ok && token == "token"
	}
	for i, s := range []*Site{one, two} {
		if !good(s, gone) || !good(s, stays) {
			t.Fatalf("a new session is not good at collector %d", i)
		}
	}
	logout := func(s *Site) *httptest.ResponseRecorder {
		t.Helper()
		r := back("POST", gone)
		r.URL.Path = "/logout"
		r.Header.Set(csrfHeader, s.CSRF(r))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	if w := logout(one); w.Code != 303 || w.Header().Get("Location") != "/login" {
		t.Fatalf("logging out: %d %s", w.Code, w.Body)
	}
	if good(one, gone) {
		t.Error("it is good where it was logged out")
	}
	for end := time.Now().Add(time.Minute); good(two, gone); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is good at the other collector")
		}
	}
	three := site()
	if good(three, gone) {
		t.Error("it is good at a collector that starts later")
	}
	for i, s := range []*Site{one, two, three} {
		if !good(s, stays) {
			t.Errorf("another session of the same token is not good at collector %d", i)
		}
	}
	if w := logout(two); w.Code != 303 { // once more, with the copy
		t.Errorf("logging out again: %d %s", w.Code, w.Body)
	}
	status, err := kv.Status(t.Context())
	if err != nil || status.Values() != 1 || status.TTL() != sessionLife {
		t.Errorf("the bucket holds %v for %v: %v", status.Values(), status.TTL(), err)
	}

	// Without NATS, a session ends here, and its owner is told that others do not know.
	server.Shutdown()
	server.WaitForShutdown()
	gone, one.Ended.wait = stays, 50*time.Millisecond
	if w := logout(one); w.Code != 503 || len(w.Result().Cookies()) == 0 || w.Result().Cookies()[0].MaxAge >= 0 || good(one, gone) {
		t.Errorf("logging out without NATS: %d %s", w.Code, w.Body)
	}
}

// nobody is a gate that knows nobody.
type nobody struct{ Gate }

func (nobody) Who(*http.Request) (Viewer, error) { return Viewer{}, errSession }

// TestEndedBounds: what is no time holds for as long as a session may, and what is over is forgotten; more than there may be are not taken in silence.
func TestEndedBounds(t *testing.T) {
	now := noon
	e := NewEnded()
	e.now = func() time.Time { return now }
	for text, want := range map[string]time.Time{
		strconv.FormatInt(noon.Add(time.Hour).Unix(), 10): noon.Add(time.Hour),
		"":                    noon.Add(sessionLife),
		"x":                   noon.Add(sessionLife),
		"9223372036854775807": noon.Add(sessionLife),
		strconv.FormatInt(noon.Add(sessionLife+time.Hour).Unix(), 10): noon.Add(sessionLife),
	} {
		if got := e.endOf([]byte(text)); !got.Equal(want) {
			t.Errorf("%q holds until %s, want %s", text, got, want)
		}
	}
	for i := range maxEnded {
		if err := e.end(t.Context(), strconv.Itoa(i), noon.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.end(t.Context(), "more", noon.Add(time.Hour)); err == nil || e.has("more") {
		t.Errorf("more than there may be are taken: %v", err)
	}
	if !e.has("0") || !e.has(strconv.Itoa(maxEnded-1)) {
		t.Error("some are forgotten")
	}
	now = noon.Add(time.Hour)
	if err := e.end(t.Context(), "more", now.Add(time.Hour)); err != nil || !e.has("more") || len(e.until) != 1 {
		t.Errorf("what is over is not forgotten: %v, %d", err, len(e.until))
	}
}
