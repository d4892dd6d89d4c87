package natsauth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// TestRunRefused: where the server does not let a user listen, nothing says that it does.
func TestRunRefused(t *testing.T) {
	g := newGround(t)
	s := newKnown(t)
	if err := s.Ready(); err == nil {
		t.Error("it listens before it runs")
	}
	reader, err := g.connect(testenv.ReaderID, "", "_INBOX.reader", func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run(t.Context(), reader, func() { t.Error("it says that it listens") })
	if err == nil || !strings.Contains(err.Error(), "deploy/nats/collector.conf") {
		t.Errorf("it runs: %v", err)
	}
	if err := s.Ready(); err == nil {
		t.Error("it listens after that")
	}
	if n := reader.NumSubscriptions(); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}

	deaf, err := nats.Connect(g.server.URL, nats.Secure(g.server.TLS(testenv.CollectorID)), nats.Timeout(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	if err := s.Run(t.Context(), deaf, func() { t.Error("it says that it listens") }); err == nil || !strings.Contains(err.Error(), "refused subscriptions") {
		t.Errorf("with a connection that tells nothing: %v", err)
	}
}

// TestRunWithdrawn: a server that is given other rights takes the subscription away, and has it again when they are given back.
func TestRunWithdrawn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nats.conf")
	rights := func(denied string) {
		t.Helper()
		text := fmt.Sprintf("server_name: test\nlisten: \"127.0.0.1:-1\"\nauthorization { users: [ { user: c, password: c, permissions { subscribe { deny: [%q] } } } ] }\n", denied)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rights("nothing")
	server := testenv.StartNATSFile(t, file)
	nc, err := nats.Connect("nats://"+server.Addr().String(), nats.UserInfo("c", "c"), nats.Timeout(30*time.Second), nats.PermissionErrOnSubscribe(true))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	s := newKnown(t)
	s.again = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	listens, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(ctx, nc, func() { close(listens) }) }()
	select {
	case <-listens:
	case err := <-ended:
		t.Fatal(err)
	}
	await := func(what string, done func(error) bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !done(s.Ready()); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %v", what, s.Ready())
			}
		}
	}
	await("it listens", func(err error) bool { return err == nil })
	for range 2 {
		rights(Subject)
		if err := server.Reload(); err != nil {
			t.Fatal(err)
		}
		await("what the server took away is told", func(err error) bool { return errors.Is(err, errDenied) })
		rights("nothing")
		if err := server.Reload(); err != nil {
			t.Fatal(err)
		}
		await("it listens again", func(err error) bool { return err == nil })
	}
	// What it has now is a real subscription: it hears what is asked there, and that nobody there has written.
	if err := nc.Publish(Subject, []byte("x")); err != nil {
		t.Fatal(err)
	}
	await("it hears", func(error) bool { return s.Counters()["malformed"] == 1 })
	nc.Close()
	if err := <-ended; err == nil {
		t.Error("it goes on without a connection")
	}
	cancel()
}
