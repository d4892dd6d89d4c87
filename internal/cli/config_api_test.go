package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func TestAPISettings(t *testing.T) {
	f := func(want string, change func(*config)) {
		t.Helper()
		c := defaultConfig()
		c.SPIFFE.Socket = ""
		change(&c)
		err := c.validateAPI()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f("", func(c *config) {})
	f("belong together", func(c *config) { c.API.TLS.Cert = "a" })
	f("leave out one", func(c *config) { c.API.TLS.Cert, c.API.TLS.Key, c.API.TLS.SPIFFE = "a", "b", true })
	f("spiffe.socket", func(c *config) { c.API.TLS.SPIFFE = true })
	f("not viewer or none", func(c *config) { c.API.Anonymous = "admin" })
	f("api.rate", func(c *config) { c.API.Rate = 0 })
	f("api.hsts is set, but the API has no TLS", func(c *config) { c.API.HSTS = time.Hour })
	f("api.hsts", func(c *config) { c.API.HSTS = time.Millisecond })
	f("api.hsts", func(c *config) { c.API.HSTS = -time.Hour })
	f("has no TLS", func(c *config) { c.API.SPIFFE.Roles = []string{"spiffe://a/b=admin"} })
	f("everybody", func(c *config) { c.API.SPIFFE.Roles = []string{"*=admin"} })
	f("audience", func(c *config) { c.API.OIDC.Issuer, c.API.OIDC.Roles = "https://idp.example", []string{"a=admin"} })
	f("https", func(c *config) {
		c.API.OIDC.Issuer, c.API.OIDC.Audience, c.API.OIDC.Roles = "http://idp.example", "a", []string{"a=admin"}
	})
	f("without api.oidc.issuer", func(c *config) { c.API.OIDC.Roles = []string{"a=admin"} })
	f("", func(c *config) {
		c.API.OIDC.Issuer, c.API.OIDC.Audience, c.API.OIDC.Roles = "https://idp.example", "a", []string{"a=admin"}
	})
}

// A port with TLS takes a static token, a client's SPIFFE certificate, and nobody else; its certificate may be replaced.
func TestAccessWithTLS(t *testing.T) {
	ca := testenv.NewCA(t, "shop")
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, key := ca.Issue(testenv.Leaf{Names: []string{"localhost"}}).PEM()
	c := defaultConfig()
	c.Data, c.SPIFFE.Socket = dir, ""
	c.API.TLS.Cert, c.API.TLS.Key = write("server.pem", cert), write("server.key", key)
	c.API.SPIFFE.Roles = []string{"spiffe://shop.example/ops/*=admin"}
	c.TLS.TrustBundles = []string{"shop.example=" + write("ca.pem", testenv.CertificatePEM(ca.Certificate))}
	var out, complaints strings.Builder
	if code := run(t.Context(), []string{"token", "create", "--name", "ci", "--file", filepath.Join(dir, "tokens.json")}, &out, &complaints); code != exitGood {
		t.Fatalf("%d %s", code, &complaints)
	}
	token := strings.TrimSpace(out.String())

	u := newUp(&c, slog.New(slog.DiscardHandler), newParts(io.Discard))
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a, err := u.startAccess(t.Context(), plain)
	if err != nil {
		t.Fatal(err)
	}
	defer u.parts.stop()
	s := api.New(api.Config{Metrics: u.metrics, Logger: u.log, Live: nobody{}, Authenticators: a.authenticators, Anonymous: a.anonymous, Exposed: true})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, a.listener) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate)
	get := func(token string, own ...tls.Certificate) int {
		t.Helper()
		client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: own}}}
		defer client.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+plain.Addr().String()+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	f := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	of := func(l *testenv.Issued) tls.Certificate {
		return tls.Certificate{Certificate: [][]byte{l.Certificate.Raw}, PrivateKey: l.Key}
	}
	f("nobody", get(""), 401)
	f("a token", get(token), 200)
	f("a wrong token", get(token+"a"), 401)
	f("a SPIFFE certificate", get("", of(ca.SVID("spiffe://shop.example/ops/alice"))), 200)
	f("one without a role", get("", of(ca.SVID("spiffe://shop.example/ns/shop/sa/web"))), 403)
	f("one of another authority", get("", of(testenv.NewCA(t, "evil").SVID("spiffe://shop.example/ops/alice"))), 401)
}
