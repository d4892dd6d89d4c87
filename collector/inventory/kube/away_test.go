package kube

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAway: an API that never was there is told, once for all resources.
func TestAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr()
	if err := l.Close(); err != nil { // it refuses from now on
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("clusters: [{name: c, cluster: {server: 'http://%s'}}]\ncontexts: [{name: c, context: {cluster: c}}]\ncurrent-context: c\n", address)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o := start(t, Config{Kubeconfig: file})
	o.untilLogged("the API is away")
	if got := o.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "connection refused") {
		t.Errorf("the log says\n%s", got)
	}
}

// TestTrouble: each outage is told, and none twice.
func TestTrouble(t *testing.T) {
	o := &told{t: t, log: new(lockedBuffer)}
	k := &Kubernetes{log: slog.New(slog.NewTextHandler(o.log, nil)), trouble: map[string]string{}}
	away := errors.New("connection refused")
	for _, step := range []struct {
		resource string
		err      error
		lines    int
	}{
		{"roles", away, 1}, {"secrets", away, 1}, {"roles", away, 1}, {"secrets", nil, 1}, {"secrets", away, 2}, {"roles", nil, 2}, {"roles", away, 3},
	} {
		k.asked(t.Context(), step.resource, step.err)
		if got := strings.Count(o.log.String(), "\n"); got != step.lines {
			t.Fatalf("%+v: %d lines\n%s", step, got, o.log)
		}
	}
}
