package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/collector/feed"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// TestFeeds has two feeds to real receivers, of which one refuses and repeats the secret that it was told.
func TestFeeds(t *testing.T) {
	const secret = "hunter2-hunter2"
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("thanks")) }))
	t.Cleanup(good.Close)
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "not with "+r.Header.Get("Authorization"), http.StatusForbidden)
	}))
	t.Cleanup(bad.Close)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := feed.Parse([]map[string]any{
		{"name": "good", "transport": "webhook", "url": good.URL}, {"name": "bad", "transport": "webhook", "url": bad.URL, "token": map[string]any{"file": file}},
	})
	if err != nil {
		t.Fatal(err)
	}
	bus := testenv.NATSServer(t)
	nc, err := nats.Connect(bus.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []jetstream.StreamConfig{{Name: event.StreamFindings, Subjects: []string{event.SubjectFindings}}, feed.Stream()} {
		if _, err := js.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.CreateKeyValue(t.Context(), feed.Bucket()); err != nil {
		t.Fatal(err)
	}
	feeds, err := feed.New(feed.Options{
		Feeds: list, Connect: func(name string) (*nats.Conn, error) { return nats.Connect(bus.ClientURL()) }, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- feeds.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-ready

	s, _ := newServer(t)
	with := s.Config
	with.Feeds = feeds
	s = New(with)
	w := ask(t, s, "GET", "/api/v1/feeds", "")
	checkAnswer(t, "/api/v1/feeds", w.Code, "application/json", w.Body.Bytes())
	var page Page[feed.Status]
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || len(page.Items) != 2 || page.Items[0].Name != "good" {
		t.Fatalf("%v: %s", err, w.Body)
	}
	test := func(name string, status int, want string, header ...string) string {
		t.Helper()
		w := ask(t, s, "POST", "/api/v1/feeds/"+name+"/test", "", header...)
		if w.Code != status || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("%s: the answer shows the secret: %s", name, w.Body)
		}
		return w.Body.String()
	}
	test("good", http.StatusUnauthorized, "admin")
	admin := []string{"Authorization", "Bearer " + testToken}
	test("good", http.StatusOK, "thanks", admin...)
	test("bad", http.StatusOK, "403 Forbidden not with Bearer [secret]", admin...)
	test("none", http.StatusNotFound, "there is no feed none", admin...)
}
