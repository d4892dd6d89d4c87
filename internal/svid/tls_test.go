package svid

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

const serverID = "spiffe://shop.example/ns/nats/sa/nats"

// handshake connects two ends over loopback, and sends a byte each way, since a server refuses a client only after that thinks it is done.
func handshake(t *testing.T, client, server *tls.Config) error {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		served <- func() error {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(20 * time.Second))
			return echo(tls.Server(c, server))
		}()
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	conn := tls.Client(c, client)
	err = func() error {
		if _, err := conn.Write([]byte{1}); err != nil {
			return err
		}
		_, err := conn.Read(make([]byte, 1))
		return err
	}()
	c.Close()
	if server := <-served; err != nil || server != nil {
		return fmt.Errorf("client: %v; server: %v", err, server)
	}
	if v := conn.ConnectionState().Version; v != tls.VersionTLS13 {
		return fmt.Errorf("TLS version is %x", v)
	}
	return nil
}

func echo(c *tls.Conn) error {
	b := make([]byte, 1)
	if _, err := c.Read(b); err != nil {
		return err
	}
	_, err := c.Write(b)
	return err
}

// TestHandshakes tries who gets in.
func TestHandshakes(t *testing.T) {
	t.Parallel()
	ca, stranger := testenv.NewCA(t, "shop"), testenv.NewCA(t, "stranger")
	server, agent, far := newParty(t, ca, serverID), newParty(t, ca, agentID), newParty(t, stranger, "spiffe://far.example/ns/ambit/sa/agent")
	forged := newParty(t, stranger, agentID) // by its own authority, who does not count here
	far.api.Give(far.issued, certs(stranger), map[string][]*x509.Certificate{"spiffe://shop.example": certs(ca)})
	await(t, "the bundle of the shop", func() bool { return len(far.TrustDomains()) == 2 }, far.Status)
	forged.api.Give(forged.issued, certs(stranger, ca), nil)
	await(t, "the authority of the shop", func() bool {
		b, err := forged.GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString("shop.example"))
		return err == nil && len(b.X509Authorities()) == 2
	}, forged.Status)

	everyone := peers(t, "spiffe://shop.example", "spiffe://far.example")
	anonymous := agent.Client(everyone)
	anonymous.GetClientCertificate = nil
	old := agent.Client(everyone)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	ended := agent.Client(everyone)
	expired := ca.Issue(testenv.Leaf{URIs: []string{agentID}, NotAfter: time.Now().Add(-time.Minute)})
	ended.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{expired.Certificate.Raw}, PrivateKey: expired.Key}, nil
	}
	for name, c := range map[string]struct {
		client, server *tls.Config
		words          string // empty: they connect
	}{
		"by id":                     {agent.Client(peers(t, serverID)), server.Server(peers(t, agentID)), ""},
		"by trust domain":           {agent.Client(peers(t, "spiffe://shop.example")), server.Server(peers(t, "spiffe://shop.example")), ""},
		"client of another id":      {agent.Client(everyone), server.Server(peers(t, agentID+"2", serverID)), agentID + " is not among"},
		"server of another id":      {agent.Client(peers(t, agentID)), server.Server(everyone), serverID + " is not among"},
		"nobody is allowed":         {agent.Client(everyone), server.Server(Peers{}), "is not among"},
		"a name is no id":           {agent.Client(everyone), server.Server(peers(t, "agent.example")), "is not among"},
		"another trust domain":      {far.Client(everyone), server.Server(everyone), "authorities of the trust domain far.example are not known"},
		"forged":                    {forged.Client(everyone), server.Server(everyone), "no authority of shop.example signed it"},
		"no certificate":            {anonymous, server.Server(everyone), "didn't provide a certificate"},
		"expired":                   {ended, server.Server(everyone), "it ended at"},
		"TLS 1.2":                   {old, server.Server(everyone), "version"},
		"server of another domain":  {agent.Client(everyone), far.Server(everyone), "authorities of the trust domain far.example are not known"},
		"server forged":             {agent.Client(everyone), forged.Server(everyone), "no authority of shop.example signed it"},
		"federated one way is none": {far.Client(peers(t, serverID)), server.Server(peers(t, "spiffe://far.example")), "far.example are not known"},
	} {
		t.Run(name, func(t *testing.T) {
			err := handshake(t, c.client, c.server)
			if (err == nil) != (c.words == "") || err != nil && !strings.Contains(err.Error(), c.words) {
				t.Errorf("%v", err)
			}
		})
	}
	before := server.Counters()[peerRefused]
	server.api.Give(server.issued, certs(ca), map[string][]*x509.Certificate{"spiffe://far.example": certs(stranger)})
	await(t, "the federated bundle", func() bool { return len(server.TrustDomains()) == 2 }, server.Status)
	if err := handshake(t, far.Client(peers(t, serverID)), server.Server(peers(t, far.id))); err != nil {
		t.Errorf("federated both ways: %v", err)
	}
	if before == 0 || server.Counters()[peerRefused] != before {
		t.Errorf("refused peers are counted as %d, then %d", before, server.Counters()[peerRefused])
	}
}

// TestHandshakesByName is about certificates of files, which have DNS names.
func TestHandshakesByName(t *testing.T) {
	t.Parallel()
	ca, stranger := testenv.NewCA(t, "shop"), testenv.NewCA(t, "stranger")
	source := func(ca *testenv.CA, l testenv.Leaf, roots ...*testenv.CA) *running {
		f := folder{t, t.TempDir()}
		f.writeAll(f.dir, ca.Issue(l), roots...)
		s := run(t, f.config())
		s.awaitReady()
		return s
	}
	server := source(ca, testenv.Leaf{Names: []string{"nats.example", "127.0.0.1"}}, ca)
	client := source(ca, testenv.Leaf{Names: []string{"n1.example"}}, ca)
	both := source(ca, testenv.Leaf{Names: []string{"n2.example"}, URIs: []string{agentID}}, ca)
	forged := source(stranger, testenv.Leaf{Names: []string{"n1.example", "nats.example"}}, ca)
	for name, c := range map[string]struct {
		client, server *tls.Config
		words          string
	}{
		"by name":        {client.Client(peers(t, "nats.example")), server.Server(peers(t, "n1.example")), ""},
		"by address":     {client.Client(peers(t, "127.0.0.1")), server.Server(peers(t, "n1.example")), ""},
		"by id":          {both.Client(peers(t, "nats.example")), server.Server(peers(t, agentID)), ""},
		"by either":      {both.Client(peers(t, serverID, "nats.example")), server.Server(peers(t, serverID, "n2.example")), ""},
		"other server":   {client.Client(peers(t, "other.example")), server.Server(peers(t, "n1.example")), "not other.example"},
		"other client":   {client.Client(peers(t, "nats.example")), server.Server(peers(t, "n2.example")), "not n2.example"},
		"no such id":     {client.Client(peers(t, "nats.example")), server.Server(peers(t, agentID)), "no URI"},
		"forged client":  {forged.Client(peers(t, "nats.example")), server.Server(peers(t, "n1.example")), "unknown authority"},
		"forged server":  {client.Client(peers(t, "nats.example")), forged.Server(peers(t, "n1.example")), "unknown authority"},
		"nobody allowed": {client.Client(Peers{}), server.Server(peers(t, "n1.example")), "no URI"},
	} {
		t.Run(name, func(t *testing.T) {
			err := handshake(t, c.client, c.server)
			if (err == nil) != (c.words == "") || err != nil && !strings.Contains(err.Error(), c.words) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestParsePeers checks what is taken for a peer.
func TestParsePeers(t *testing.T) {
	for _, text := range []string{"", "spiffe://", "spiffe://shop.example/", "spiffe://shop.example/a//b", "https://shop.example", "SPIFFE://a b", "a b", "*.example", "nats:4222", "-", "a..b", strings.Repeat("a", 300)} {
		if p, err := ParsePeers([]string{text}); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q is %s: %v", text, p, err)
		}
	}
	p := peers(t, "spiffe://shop.example/a", "spiffe://far.example", "nats.example.", "10.0.0.1", "2001:db8::1", "nats_1")
	if got := p.String(); got != "spiffe://shop.example/a, spiffe://far.example, nats.example., 10.0.0.1, 2001:db8::1, nats_1" || p.Empty() || len(p.Names()) != 4 {
		t.Errorf("peers are %s", got)
	}
}
