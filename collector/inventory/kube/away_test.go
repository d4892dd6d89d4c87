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

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// refusing is a kubeconfig for an API that refuses connections.
func refusing(t *testing.T) string {
	t.Helper()
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
	return file
}

// TestAway: an API that never was there is told, once for all resources.
func TestAway(t *testing.T) {
	o := start(t, Config{Kubeconfig: refusing(t)})
	o.untilLogged("the API is away")
	if got := o.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "connection refused") {
		t.Errorf("the log says\n%s", got)
	}
}

// TestStoppable: after a refused connection, the library waits for up to half a minute, and does not look whether it is to stop, unless it is told
// of another fault.
func TestStoppable(t *testing.T) {
	k, err := New(Config{Kubeconfig: refusing(t), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer k.api.close()
	w := k.api.watched(false)[0]
	if err := k.inform(w); err != nil {
		t.Fatal(err)
	}
	yes := true
	for _, all := range []*bool{nil, &yes} {
		_, err := w.listWatch.WatchFuncWithContext(t.Context(), metav1.ListOptions{SendInitialEvents: all})
		if err == nil || !strings.Contains(err.Error(), "connection refused") || utilnet.IsConnectionRefused(err) != (all == nil) {
			t.Errorf("with all: %t: %v", all != nil, err)
		}
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
