package testenv

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Cluster is a Kubernetes API server with an etcd of its own, on loopback: all of a cluster that an agent talks to. There is no kubelet and no
// controller; the test plays them (package node). Methods fail the test, and so are for its own goroutine.
type Cluster struct {
	t    testing.TB
	dir  string
	bin  string
	etcd string // URL
	port int    // of the API server

	token  string // of the administrator
	store  *child
	server *child
}

// The networks of a Cluster. Service addresses are given out by the API server from the first two.
const (
	ServiceRange4 = "10.96.0.0/16"
	ServiceRange6 = "fd00:10:96::/112"
)

// Kubernetes starts an API server and waits until it is ready. Both it and etcd end with the test; what they said is shown if the test failed.
func Kubernetes(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{t: t, bin: kubernetesPrograms(t), dir: t.TempDir()}
	t.Cleanup(func() {
		for _, child := range []*child{c.server, c.store} {
			if child == nil {
				continue
			}
			child.kill()
			if t.Failed() {
				t.Logf("%s said:\n%s", child.name, child.said())
			}
		}
	})
	var secret [16]byte
	rand.Read(secret[:]) // never fails
	c.token = hex.EncodeToString(secret[:])
	if err := c.writeFiles(); err != nil {
		t.Fatalf("prepare a Kubernetes API server: %v", err)
	}
	c.startStore()
	c.port = freePort(t)
	c.Start()
	return c
}

// kubernetesPrograms is the folder of kube-apiserver and etcd. It skips the test where they are not built, and fails it in CI.
func kubernetesPrograms(t testing.TB) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(root, ".cache", "kubernetes")
	for _, program := range []string{"etcd", "kube-apiserver"} {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			missing(t, fmt.Sprintf("no Kubernetes API server: %v; run make kube-apiserver", err))
		}
	}
	return bin
}

func (c *Cluster) startStore() {
	c.t.Helper()
	c.etcd = "http://127.0.0.1:" + strconv.Itoa(freePort(c.t))
	peers := "http://127.0.0.1:" + strconv.Itoa(freePort(c.t))
	c.store = startChild(c.t, c.dir, filepath.Join(c.bin, "etcd"),
		"--data-dir="+filepath.Join(c.dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+c.etcd, "--advertise-client-urls="+c.etcd,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers)
	c.store.await(c.t, time.Minute, func() error { return c.askStore("/v3/maintenance/status", nil, nil) })
}

// Start starts the API server again after Stop, on the same port and data, and waits until it is ready.
func (c *Cluster) Start() {
	c.t.Helper()
	if c.server != nil {
		c.t.Fatal("start Kubernetes API server: it runs")
	}
	certificate, key := filepath.Join(c.dir, "server.crt"), filepath.Join(c.dir, "server.key") // also for service accounts' tokens
	c.server = startChild(c.t, c.dir, filepath.Join(c.bin, "kube-apiserver"),
		"--etcd-servers="+c.etcd, "--etcd-compaction-interval=0",
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port="+strconv.Itoa(c.port), "--endpoint-reconciler-type=none",
		"--tls-cert-file="+certificate, "--tls-private-key-file="+key,
		"--service-account-key-file="+certificate, "--service-account-signing-key-file="+key, "--service-account-issuer=https://kubernetes.default.svc",
		"--token-auth-file="+filepath.Join(c.dir, "tokens.csv"), "--authorization-mode=RBAC",
		"--disable-admission-plugins=ServiceAccount", "--service-cluster-ip-range="+ServiceRange4+","+ServiceRange6)
	c.server.await(c.t, 2*time.Minute, func() error { return c.call("GET", "/readyz", nil, nil) })
}

// Stop kills the API server, as an outage does; etcd and all data stay.
func (c *Cluster) Stop() {
	c.t.Helper()
	if c.server == nil {
		c.t.Fatal("stop Kubernetes API server: it does not run")
	}
	c.server.kill()
	c.server = nil
}

// Compact makes etcd forget all revisions but the newest, so that an API server started from now on cannot continue older watches: "resource
// version too old".
func (c *Cluster) Compact() {
	c.t.Helper()
	var at struct {
		Header struct {
			Revision string `json:"revision"`
		} `json:"header"`
	}
	err := c.askStore("/v3/kv/range", map[string]any{"key": "AA==", "count_only": true}, &at)
	if err == nil {
		err = c.askStore("/v3/kv/compaction", map[string]any{"revision": at.Header.Revision, "physical": true}, nil)
	}
	if err != nil {
		c.t.Fatalf("compact etcd: %v", err)
	}
}

// freePort is a port that nobody listened on a moment ago.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
