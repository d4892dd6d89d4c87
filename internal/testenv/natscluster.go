package testenv

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// NATSCluster is a cluster of NATS servers with JetStream on loopback ports, in folders of their own. Its servers keep their ports when they are
// started again. It ends with the test.
type NATSCluster struct {
	Servers []*server.Server // a stopped one is still here

	t       testing.TB
	options []server.Options
}

// StartNATSCluster starts a cluster of so many servers (1 is a server by itself) and waits until it can keep streams. The options of each may be
// changed before.
func StartNATSCluster(t testing.TB, size int, change ...func(*server.Options)) *NATSCluster {
	t.Helper()
	c := &NATSCluster{t: t, Servers: make([]*server.Server, size)}
	ports := freePorts(t, 2*size)
	var routes []*url.URL
	for i := range size {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", ports[i])})
	}
	for i := range size {
		o := server.Options{
			ServerName: fmt.Sprintf("test-%d", i), Host: "127.0.0.1", Port: ports[size+i],
			JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		}
		if size > 1 {
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i]}
			o.Routes = routes
		}
		for _, f := range change {
			f(&o)
		}
		c.options = append(c.options, o)
	}
	t.Cleanup(func() {
		for i := range size {
			c.Stop(i)
		}
	})
	for i := range size {
		c.Start(i)
	}
	c.AwaitLeader()
	return c
}

// URLs are those of all servers.
func (c *NATSCluster) URLs() (urls []string) {
	for _, o := range c.options {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", o.Port))
	}
	return urls
}

// URL is that of all servers, for a client.
func (c *NATSCluster) URL() string { return strings.Join(c.URLs(), ",") }

// Start starts a server that does not run.
func (c *NATSCluster) Start(i int) {
	c.t.Helper()
	o := c.options[i] // the server changes its own
	s, err := server.NewServer(&o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.Servers[i] = s
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		c.t.Fatalf("NATS server %d is not ready after 20s", i)
	}
}

// Stop stops a server, if it runs.
func (c *NATSCluster) Stop(i int) {
	if s := c.Servers[i]; s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// AwaitLeader waits until the cluster has a leader that takes new streams.
func (c *NATSCluster) AwaitLeader() {
	c.t.Helper()
	if len(c.Servers) == 1 {
		return
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		for _, s := range c.Servers {
			if s.Running() && s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(c.Servers) {
				return
			}
		}
		if time.Now().After(deadline) {
			c.t.Fatal("the NATS cluster has no leader after a minute")
		}
	}
}

// StreamLeader is the number of the server that leads a stream, -1 when none does.
func (c *NATSCluster) StreamLeader(stream string) int {
	for i, s := range c.Servers {
		if s.Running() && s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
			return i
		}
	}
	return -1
}

// freePorts finds ports that nobody listens on.
func freePorts(t testing.TB, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // together, so that none comes twice
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
