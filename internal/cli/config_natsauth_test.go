package cli

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	dto "github.com/prometheus/client_model/go"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/health"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// TestNATSAuthAnswers starts what a collector with these settings starts, against a real server: who shows a token is asked about, and refused while the cluster
// does not answer.
func TestNATSAuthAnswers(t *testing.T) {
	seed := filepath.Join(t.TempDir(), "seed")
	key, err := decision.MakeKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	server := testenv.StartNATSCallout(t, public)
	kubeconfig := writeFile(t, "kubeconfig", `{apiVersion: v1, kind: Config, current-context: x, clusters: [{name: x, cluster: {server: "https://127.0.0.1:1"}}],
users: [{name: x, user: {token: x}}], contexts: [{name: x, context: {cluster: x, user: x}}]}`)
	cmd := newCollectorCommand()
	text := "nats: {urls: [\"" + server.URL + "\"], auth: {issuer_file: " + seed + "}}\nkubernetes: {kubeconfig: " + kubeconfig + "}\n"
	if err := cmd.ParseFlags([]string{"--config", writeFile(t, "ambit.yaml", text)}); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(cmd.Flags())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	u := newUp(c, log, newParts(io.Discard))
	bus := collector.DefaultBusConfig()
	bus.URLs, bus.TLS, bus.Logger = c.NATS.URLs, server.TLS(testenv.CollectorID), log
	if u.bus, err = collector.OutsideBus(bus); err != nil {
		t.Fatal(err)
	}
	if err := u.startNATSAuth(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := u.stop(); err != nil {
			t.Error(err)
		}
	}()
	_, err = nats.Connect(server.URL, nats.Secure(server.TLS("spiffe://shop.example/ns/ambit/sa/agent")), nats.Token("x"), nats.NoReconnect(), nats.Timeout(30*time.Second))
	if !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("an agent gets %v", err)
	}
	l := &live{natsAuth: u.natsAuth}
	if checks := l.optional(); len(checks) != 1 || checks[0] != (health.Check{Name: "nats-auth", State: health.OK}) {
		t.Errorf("readiness says %v", checks)
	}
	families, err := u.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "ambit_nats_auth_total" {
			for _, m := range f.GetMetric() {
				counted[cause(m)] = m.GetCounter().GetValue()
			}
		}
	}
	if counted["cluster-away"] != 1 || counted["accepted"] != 0 || len(counted) != 10 {
		t.Errorf("counted are %v", counted)
	}

	// Whom the servers do not let listen does not start, and is not ready.
	other := newUp(c, log, newParts(io.Discard))
	bus.TLS = server.TLS(testenv.ReaderID)
	if other.bus, err = collector.OutsideBus(bus); err != nil {
		t.Fatal(err)
	}
	if err := other.startNATSAuth(t.Context()); err == nil || !strings.Contains(err.Error(), "deploy/nats/collector.conf") {
		t.Errorf("a reader starts: %v", err)
	}
	if checks := (&live{natsAuth: other.natsAuth}).optional(); len(checks) != 1 || checks[0].State != health.Failed {
		t.Errorf("readiness of a reader says %v", checks)
	}
	if err := other.stop(); err != nil {
		t.Error(err)
	}
}

func cause(m *dto.Metric) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == "cause" {
			return l.GetValue()
		}
	}
	return ""
}

// TestNATSAuthRefuses: settings that cannot work are refused in one line that names them.
func TestNATSAuthRefuses(t *testing.T) {
	f := func(settings, want string) {
		t.Helper()
		cmd := newCollectorCommand()
		if err := cmd.ParseFlags([]string{"--config", writeFile(t, "ambit.yaml", settings)}); err != nil {
			t.Fatal(err)
		}
		if _, err := loadConfig(cmd.Flags()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want %q, got %v", settings, want, err)
		}
	}
	f("nats: {auth: {issuer_file: x}}", "set nats.urls")
	f("nats: {urls: [\"tls://n:4222\"], auth: {issuer_file: x, service_accounts: [agent]}}", "is no service account")
	f("nats: {urls: [\"tls://n:4222\"], auth: {issuer_file: x, life: 1s}}", "life")
	f("nats: {urls: [\"tls://n:4222\"], auth: {issuer: x}}", "issuer_file")

	open := filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(open, []byte("SA"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{open: "open to others", writeFile(t, "seed", "x"): "no seed of an account nkey", "/nonexistent": "no such file"} {
		if _, err := (&natsAuth{Issuer: name}).key(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want %q, got %v", name, want, err)
		}
	}
}

// TestTokenFileRefuses is the same for the agent's side.
func TestTokenFileRefuses(t *testing.T) {
	f := func(want string, change func(*collector.BusConfig)) {
		t.Helper()
		c := collector.DefaultBusConfig()
		c.URLs, c.TokenFile = []string{"tls://n:4222"}, writeFile(t, "token", "x")
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	f("set nats.urls", func(c *collector.BusConfig) { c.URLs, c.Dir = nil, t.TempDir() })
	f("leave out one", func(c *collector.BusConfig) { c.Credentials = "/nonexistent" })
	f("no such file", func(c *collector.BusConfig) { c.TokenFile = "/nonexistent" })
	f("empty or too long", func(c *collector.BusConfig) { c.TokenFile = writeFile(t, "empty", "\n") })
	f("empty or too long", func(c *collector.BusConfig) { c.TokenFile = writeFile(t, "long", strings.Repeat("x", 17<<10)) })
}
