package agent

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/agent/peer"
	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// One that tries all addresses of the pods' network, most of which nobody has, is told by ranges soon: whether its connections fail at once or wait for
// somebody to have the address.
func TestScansOfThePodNetworkAreToldByRanges(t *testing.T) {
	f := func(failed uint64) {
		t.Helper()
		td, err := event.ParseTrustDomain("shop.example")
		check(t, err)
		a, err := New(Config{Node: "n1", TrustDomain: td, CgroupRoot: t.TempDir()}, new(nats.Conn))
		check(t, err)
		a.cluster.Update(start.wall, []peer.Change{{Node: &peer.Node{Name: "n1", PodRanges: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}}}, nil)

		const edges = 200
		m := &memoryEdges{edges: map[bpf.Number]bpf.Edge{}, counters: map[bpf.Number]bpf.Counters{}, quota: map[uint64]uint32{}}
		told := map[netip.Addr]event.Peer{}
		l := newLedger(m, &clustered{a}, "n1", func(o *event.Observation) { told[o.Peer.Address] = o.Peer })
		for i := range edges {
			n := bpf.Number(1<<16 | i)
			m.edges[n] = bpf.Edge{
				Number: n, Cgroup: 42, Protocol: unix.IPPROTO_TCP, Port: 22, Address: netip.MustParseAddr(fmt.Sprint("10.244.7.", i)), FirstMonotonic: start.monotonic,
			}
			m.counters[n] = bpf.Counters{Opened: 1, Failed: failed, Error: unix.ECONNREFUSED}
			_, err := l.announced(start, []bpf.Number{n})
			check(t, err)
		}
		check(t, l.retry(after(nameWait)))
		if len(told) != edges {
			t.Fatalf("%d of %d edges were told", len(told), edges)
		}
		single := 0
		for _, p := range told {
			if p.Range == (netip.Prefix{}) {
				single++
			}
		}
		if single > 64 {
			t.Errorf("%d of %d addresses are told one by one", single, edges)
		}
	}
	f(1)
	f(0)
}

// clustered knows its peers as an agent does; whose its edges are does not matter.
type clustered struct{ a *Agent }

func (c *clustered) Workload(*bpf.Edge) (*event.Workload, bool) {
	return &event.Workload{Unit: "a.service"}, false
}

func (c *clustered) Peer(e *bpf.Edge, at, _ time.Time) (event.Peer, bool) {
	known := c.a.cluster.Lookup(peer.Query{Address: e.Address, Port: e.Port, Protocol: e.Protocol, At: at})
	return event.Peer{Address: e.Address, Port: e.Port}, known.State.Pending()
}

func (c *clustered) Opened(e *bpf.Edge, w *event.Workload, at time.Time) { c.a.Opened(e, w, at) }

func (c *clustered) Nameless(e *bpf.Edge, p *event.Peer, at time.Time) { c.a.Nameless(e, p, at) }

func (c *clustered) Own(*event.Workload, event.Identity) *event.Workload { return nil }

func (c *clustered) Generation() uint64 { return c.a.cluster.Generation() }
