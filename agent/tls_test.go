package agent

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/agent/handshake"
	"github.com/ambit-nhi/ambit/agent/tlswire"
	"github.com/ambit-nhi/ambit/agent/workload"
	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// Where the probes cannot be loaded, connections are still told with what their hellos say.
func TestKernelTLSWithoutProbes(t *testing.T) {
	testenv.RequireKernel(t)
	mount, err := workload.FindMount()
	check(t, err)
	kernel, err := bpf.Load(bpf.Config{CgroupRoot: mount.Path, EdgesPerCgroup: Default().EdgesPerCgroup, Hellos: true})
	check(t, err)
	defer kernel.Close()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	wall := func(time.Duration) time.Time { return time.Now() }
	w := &tlsWatch{kernel: kernel, streams: tlswire.New(tlswire.Config{}), tracker: handshake.New(handshake.Config{Wall: wall})}
	var told []event.Observation
	l := newLedger(kernel, plain{}, "n1", func(o *event.Observation) { told = append(told, *o) })
	l.handshakes = w.tracker
	c, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{ServerName: "db.shop.example", InsecureSkipVerify: true})
	check(t, err)
	defer c.Close()

	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-poll.C {
		check(t, kernel.Tick())
		now, err := readMoment()
		check(t, err)
		var numbers []bpf.Number
		for n, err := range kernel.NewEdges() {
			check(t, err)
			numbers = append(numbers, n)
		}
		_, err = w.take(now)
		check(t, err)
		_, err = l.announced(now, numbers)
		check(t, err)
		w.tell(now, l, newProven(event.TrustDomain{}, event.IdentityTemplate{}))
		check(t, l.retry(now))
		for _, o := range told {
			if o.Direction != event.Outbound || o.Peer.Port != server.Listener.Addr().(*net.TCPAddr).AddrPort().Port() {
				continue
			}
			if o.TLS == nil || o.TLS.SNI != "db.shop.example" || o.TLS.Provenance != "wire-only" || o.Counts.Connections != 1 {
				t.Fatalf("told %+v with %+v", o, o.TLS)
			}
			if m := w.missing(); len(m) != 1 || w.gauges()["tls-wire-only"] == 0 || len(w.counters()) == 0 {
				t.Errorf("missing %q, gauges %v", m, w.gauges())
			}
			return
		}
	}
	t.Fatalf("it was not told, but %+v", told)
}
