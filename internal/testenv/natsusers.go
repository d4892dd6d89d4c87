package testenv

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Users of a NATSUsers server, besides AgentID of each node.
const (
	CollectorID = "spiffe://shop.example/ns/ambit/sa/collector"
	ReaderID    = "spiffe://shop.example/soc"
	natsID      = "spiffe://shop.example/ns/nats/sa/nats"
)

// AgentID is the SPIFFE id of a node's agent, whose name is a token of subjects.
func AgentID(token string) string { return "spiffe://shop.example/ambit/agent/" + token }

// NATSUsers is a NATS server that is configured with the files of deploy/nats. It takes mutual TLS only.
type NATSUsers struct {
	Server *server.Server
	URL    string

	t  testing.TB
	ca *CA
}

// StartNATSUsers starts a server that knows a collector, a reader and the agents of nodes. It ends with the test.
func StartNATSUsers(t testing.TB, nodes ...string) *NATSUsers {
	t.Helper()
	return StartNATSUsersAt(t, "127.0.0.1", nodes...)
}

// StartNATSUsersAt starts one that listens on an address of this machine.
func StartNATSUsersAt(t testing.TB, address string, nodes ...string) *NATSUsers {
	t.Helper()
	return startNATSUsers(t, address, nil, append([]string{"-a", AgentID("%n")}, nodes...)...)
}

// StartNATSCallout starts a server that asks the collector about everybody else than it and a reader; issuer is the public key of the collector's answers. A
// client must show some certificate all the same.
func StartNATSCallout(t testing.TB, issuer string) *NATSUsers {
	t.Helper()
	return startNATSUsers(t, "127.0.0.1", RunUsers(t, "-callout", issuer, CollectorID, ReaderID))
}

// startNATSUsers starts one with more settings, and with agents as users.sh takes them.
func startNATSUsers(t testing.TB, address string, more []byte, agents ...string) *NATSUsers {
	t.Helper()
	u := &NATSUsers{t: t, ca: NewCA(t, "shop")}
	dir := t.TempDir()
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(filepath.Join(NATSFiles(t), "ambit.conf"))
	if err != nil {
		t.Fatal(err)
	}
	write("ambit.conf", data)
	write("users.conf", RunUsers(t, append([]string{"-c", CollectorID, "-r", ReaderID}, agents...)...))
	write("more.conf", more)
	cert, key := u.ca.Issue(Leaf{URIs: []string{natsID}, Names: []string{address}}).PEM()
	write("cert.pem", cert)
	write("key.pem", key)
	write("ca.pem", CertificatePEM(u.ca.Certificate))
	write("nats.conf", fmt.Appendf(nil, `
server_name: test
listen: "%s:-1"
jetstream { store_dir: %q }
tls { cert_file: %q, key_file: %q, ca_file: %q, verify_and_map: true, timeout: 20 }
include "more.conf"
include "ambit.conf"
`, address, filepath.Join(dir, "jetstream"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem")))
	u.Server = StartNATSFile(t, filepath.Join(dir, "nats.conf"))
	u.URL = "tls://" + u.Server.Addr().String()
	return u
}

// TLS is what the owner of a SPIFFE id connects with.
func (u *NATSUsers) TLS(id string) *tls.Config {
	u.t.Helper()
	issued := u.ca.SVID(id)
	roots := x509.NewCertPool()
	roots.AddCert(u.ca.Certificate)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots,
		Certificates: []tls.Certificate{{Certificate: [][]byte{issued.Certificate.Raw}, PrivateKey: issued.Key}},
	}
}

// Files are what the owner of a SPIFFE id connects with, as the keys of a Kubernetes Secret.
func (u *NATSUsers) Files(id string) map[string][]byte {
	u.t.Helper()
	cert, key := u.ca.SVID(id).PEM()
	return map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": CertificatePEM(u.ca.Certificate)}
}

// StartNATSFile starts a server with a configuration file. It ends with the test.
func StartNATSFile(t testing.TB, path string) *server.Server {
	t.Helper()
	o, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	o.NoSigs, o.NoLog = true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the NATS server is not ready after 20s")
	}
	return s
}

// NATSFiles is the folder deploy/nats.
func NATSFiles(t testing.TB) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "deploy", "nats")
}

// RunUsers runs users.sh and gives what it writes.
func RunUsers(t testing.TB, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(filepath.Join(NATSFiles(t), "users.sh"), args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	return out
}
