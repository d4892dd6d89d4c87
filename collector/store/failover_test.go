package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// front is an engine's HTTP interface at an https address of its own, for clients with a certificate of an authority.
type front struct {
	address string
	server  *http.Server
	ended   chan struct{}
	asked   atomic.Int64
	client  atomic.Pointer[string] // serial number of the last client's certificate
}

func newFront(t *testing.T, socket string, ca *testenv.CA) *front {
	t.Helper()
	cert, key := ca.Issue(testenv.Leaf{Names: []string{"127.0.0.1"}}).PEM()
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(ca.Certificate)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "engine"})
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	proxy.Transport = transport
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{address: "https://" + listener.Addr().String(), ended: make(chan struct{})}
	f.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f.asked.Add(1)
			serial := r.TLS.PeerCertificates[0].SerialNumber.String()
			f.client.Store(&serial)
			proxy.ServeHTTP(w, r)
		}),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients},
	}
	go func() {
		defer close(f.ended)
		f.server.ServeTLS(listener, "", "")
	}()
	t.Cleanup(func() {
		f.die()
		transport.CloseIdleConnections()
	})
	return f
}

// die closes the address and cuts all its connections.
func (f *front) die() {
	f.server.Close()
	<-f.ended
}

func writeFile(t *testing.T, path string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFailover speaks to one engine at two addresses, with certificates on both sides, while the first address dies.
func TestFailover(t *testing.T) {
	socket := testenv.Engine(t)
	embedded := Default()
	embedded.Socket = socket
	openConfig(t, embedded) // makes the database
	ca, dir := testenv.NewCA(t, "test"), t.TempDir()
	first, second := newFront(t, socket, ca), newFront(t, socket, ca)
	cert, key := ca.Issue(testenv.Leaf{}).PEM()
	c := Default()
	c.Addresses = []string{first.address, second.address}
	c.CAFile = writeFile(t, filepath.Join(dir, "ca"), testenv.CertificatePEM(ca.Certificate))
	c.CertFile, c.KeyFile = writeFile(t, filepath.Join(dir, "cert"), cert), writeFile(t, filepath.Join(dir, "key"), key)
	s := openConfig(t, c)
	rows := rowsOf(full(t))
	insertRows(t, s, "a", rows)
	if n := second.asked.Load(); n != 0 || first.asked.Load() == 0 {
		t.Errorf("the second address was asked %d times while the first one answered", n)
	}
	before := *first.client.Load()

	// Certificates are written anew: what is connected stays so, new connections have the new one.
	cert, key = ca.Issue(testenv.Leaf{}).PEM()
	writeFile(t, c.CertFile, cert)
	writeFile(t, c.KeyFile, key)
	first.die()
	ids, _, err := s.Identities(t.Context(), IdentityFilter{})
	if err != nil || len(ids) != 1 {
		t.Errorf("after the first address died: %d identities, %v", len(ids), err)
	}
	if second.client.Load() == nil || *second.client.Load() == before {
		t.Error("the second address was shown the certificate of before")
	}
	// An insert that failed is repeated by the collector, under its token.
	for range 2 {
		insertRows(t, s, "a", rows)
	}
	if n := number(t, s, "(SELECT sum(connections) FROM reach)"); n != 12 {
		t.Errorf("%d connections, want 12", n)
	}
	second.die()
	_, _, err = s.Identities(t.Context(), IdentityFilter{})
	oneLine(t, err, "is not reachable", first.address, "check clickhouse.addresses")

	// Who has no certificate, or one of somebody else, is refused in one line.
	third := newFront(t, socket, ca)
	f := func(change func(*Config), want ...string) {
		t.Helper()
		c := c
		c.Addresses = []string{third.address}
		change(&c)
		_, err := Open(t.Context(), c)
		oneLine(t, err, want...)
	}
	f(func(c *Config) { c.CertFile, c.KeyFile = "", "" }, "certificate required")
	f(func(c *Config) {
		c.CAFile = writeFile(t, filepath.Join(dir, "other"), testenv.CertificatePEM(testenv.NewCA(t, "other").Certificate))
	}, "certificate signed by unknown authority")
	f(func(c *Config) { c.KeyFile = c.CertFile }, "read clickhouse.cert_file")
}
