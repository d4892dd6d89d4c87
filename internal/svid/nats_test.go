package svid

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// natsServer is a NATS server that takes mutual TLS only. Users are SPIFFE ids, without a password: the certificate says who it is.
func natsServer(t *testing.T, config *tls.Config, users ...*server.User) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		TLS: true, TLSConfig: config, TLSVerify: true, TLSMap: len(users) > 0, TLSTimeout: 20, Users: users,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server is not ready after 10s")
	}
	return s
}

// TestRotationUnderTraffic rotates the certificates of both ends, and meanwhile the authority, while messages flow: none is lost, no connection
// is made anew, and new connections see the newest certificates.
func TestRotationUnderTraffic(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // runs last
	ca, next := testenv.NewCA(t, "shop"), testenv.NewCA(t, "shop again")
	servers, agents := newParty(t, ca, serverID), newParty(t, ca, agentID)
	s := natsServer(t, servers.Server(peers(t, "spiffe://shop.example")))
	var broken atomic.Int64
	connect := func() *nats.Conn {
		t.Helper()
		nc, err := nats.Connect(s.ClientURL(), nats.Secure(agents.Client(peers(t, serverID))), nats.MaxReconnects(-1),
			nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { // without an error, it was closed
				if err != nil {
					broken.Add(1)
				}
			}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	from, to := connect(), connect()
	var sent, received atomic.Uint64
	if _, err := to.Subscribe("traffic", func(*nats.Msg) { received.Add(1) }); err != nil {
		t.Fatal(err)
	}
	if err := to.Flush(); err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	stop := make(chan struct{})
	g.Go(func() error {
		payload := make([]byte, 200)
		for tick := time.NewTicker(200 * time.Microsecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return from.FlushTimeout(20 * time.Second)
			case <-tick.C:
				if err := from.Publish("traffic", payload); err != nil {
					return err
				}
				sent.Add(1)
			}
		}
	})

	for i := range 20 {
		issuer := ca
		switch {
		case i == 8: // first believe the next authority everywhere, then use it, then drop the former
			servers.bundle, agents.bundle = certs(ca, next), certs(ca, next)
		case i > 8:
			issuer = next
		}
		if i == 15 {
			servers.bundle, agents.bundle = certs(next), certs(next)
		}
		if i == 12 { // the Workload API of the agent goes away for a while
			agents.api.Stop()
			agents.awaitStatus("away since")
		}
		servers.give(issuer)
		if i == 12 {
			agents.api.Start()
		}
		agents.give(issuer)
		at := sent.Load()
		await(t, "traffic", func() bool { return sent.Load() > at+20 }, servers.Status)
		nc := connect()
		state, err := nc.TLSConnectionState()
		if err != nil || !state.PeerCertificates[0].Equal(servers.issued.Certificate) {
			t.Errorf("a new connection after rotation %d sees a former certificate: %v", i, err)
		}
		nc.Close()
	}
	close(stop)
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := to.FlushTimeout(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	await(t, "the last messages", func() bool { return received.Load() == sent.Load() }, servers.Status)
	if n := from.Stats().Reconnects + to.Stats().Reconnects; n != 0 || broken.Load() != 0 {
		t.Errorf("%d reconnects, %d connections broke off", n, broken.Load())
	}
	for name, p := range map[string]*party{"server": servers, "agent": agents} {
		if c := p.Counters(); c[rotated] != 20 || c[peerRefused] != 0 {
			t.Errorf("%s: counters are %v", name, c)
		}
	}
	t.Logf("%d messages over 20 rotations of each end", sent.Load())
}

// TestNATSRefuses checks that a server lets in only who has an SVID of its trust domain, and gives each the rights of its SPIFFE id.
func TestNATSRefuses(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	ca, stranger := testenv.NewCA(t, "shop"), testenv.NewCA(t, "stranger")
	servers, agents, far := newParty(t, ca, serverID), newParty(t, ca, agentID), newParty(t, stranger, "spiffe://far.example/ns/ambit/sa/agent")
	far.api.Give(far.issued, certs(stranger), map[string][]*x509.Certificate{"spiffe://shop.example": certs(ca)})
	await(t, "the bundle of the shop", func() bool { return len(far.TrustDomains()) == 2 }, far.Status)
	s := natsServer(t, servers.Server(peers(t, "spiffe://shop.example")), &server.User{Username: agentID, Permissions: &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{"ambit.v1.obs.*.n1"}},
	}})
	anonymous := agents.Client(peers(t, serverID))
	anonymous.GetClientCertificate = nil
	expired := ca.Issue(testenv.Leaf{URIs: []string{agentID}, NotAfter: time.Now().Add(-time.Minute)})
	ended := anonymous.Clone()
	ended.Certificates = []tls.Certificate{{Certificate: [][]byte{expired.Certificate.Raw}, PrivateKey: expired.Key}}
	unregistered := newParty(t, ca, "spiffe://shop.example/ns/shop/sa/checkout")
	for name, config := range map[string]*tls.Config{
		"another trust domain": far.Client(peers(t, serverID)), "no certificate": anonymous, "expired": ended,
		"no user of NATS": unregistered.Client(peers(t, serverID)), "another server wanted": agents.Client(peers(t, agentID)),
	} {
		if nc, err := nats.Connect(s.ClientURL(), nats.Secure(config)); err == nil {
			nc.Close()
			t.Errorf("%s: it is let in", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	if nc, err := nats.Connect(s.ClientURL()); err == nil {
		nc.Close()
		t.Error("without TLS: it is let in")
	}

	faults := make(chan error, 10)
	nc, err := nats.Connect(s.ClientURL(), nats.Secure(agents.Client(peers(t, serverID))), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { faults <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, subject := range []string{"ambit.v1.obs.0.n1", "ambit.v1.obs.0.n2"} {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-faults:
		if !strings.Contains(err.Error(), "ambit.v1.obs.0.n2") {
			t.Errorf("the server complains of %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("publishing as another node is not refused")
	}
}
