package peer

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/event"
)

const (
	manyPods     = 10_000
	manyServices = 2_000
	manyNodes    = 100
)

func addressOf(kind byte, i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, kind, byte(i >> 8), byte(i)})
}

func address6Of(kind byte, i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 13: kind, 14: byte(i >> 8), 15: byte(i)})
}

// largeCluster tells of a dual-stack cluster in batches, as a watcher does, with strings of their own in each change.
func largeCluster(tell func([]Change)) {
	var batch []Change
	add := func(c Change) {
		if batch = append(batch, c); len(batch) == 512 {
			tell(batch)
			batch = nil
		}
	}
	for i := range manyNodes {
		add(Change{Node: &Node{
			Name: fmt.Sprintf("ip-10-3-0-%d.eu-central-1.compute.internal", i), Addresses: []netip.Addr{addressOf(3, i)},
			PodRanges: []netip.Prefix{netip.PrefixFrom(addressOf(200, i<<8), 24)},
		}})
	}
	uid := func(i int) string { return fmt.Sprintf("6d0f3a5e-0000-4000-8000-%012d", i) }
	for i := range manyServices {
		namespace, name := fmt.Sprintf("team-%d", i%50), fmt.Sprintf("orders-api-%d", i)
		add(Change{Service: &Service{
			Namespace: namespace, Name: name, Version: uint64(i + 1), ClusterIPs: []netip.Addr{addressOf(2, i), address6Of(2, i)},
			Ports: []ServicePort{{Name: "http", Port: Port{80, unix.IPPROTO_TCP}}, {Name: "metrics", Port: Port{9090, unix.IPPROTO_TCP}}},
		}})
		for family := range 2 {
			s := &EndpointSlice{
				Namespace: namespace, Name: fmt.Sprintf("%s-%05x", name, 2*i+family), Service: name, Version: uint64(i + 1),
				Ports: []SlicePort{{"http", Port{8080, unix.IPPROTO_TCP}}, {"metrics", Port{9090, unix.IPPROTO_TCP}}},
			}
			for k := range manyPods / manyServices {
				n := i*manyPods/manyServices + k
				a := addressOf(1, n)
				if family == 1 {
					a = address6Of(1, n)
				}
				s.Endpoints = append(s.Endpoints, Endpoint{Addresses: []netip.Addr{a}, Pod: uid(n), Ready: true, Serving: true})
			}
			add(Change{Slice: s})
		}
	}
	for n := range manyPods {
		i := n / (manyPods / manyServices)
		add(Change{Pod: &Pod{
			UID: uid(n), Namespace: fmt.Sprintf("team-%d", i%50), Name: fmt.Sprintf("orders-api-%d-7d9c5b8f6d-%05x", i, n), Version: uint64(n + 1),
			ServiceAccount: fmt.Sprintf("orders-%d", i%400), Node: fmt.Sprintf("ip-10-3-0-%d.eu-central-1.compute.internal", n%manyNodes),
			Addresses: []netip.Addr{addressOf(1, n), address6Of(1, n)}, Created: time.Unix(1e9, 0),
		}})
	}
	tell(batch)
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers and weak pointers held on to
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func newLargeCluster(tb testing.TB) *Cluster {
	tb.Helper()
	domain, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		tb.Fatal(err)
	}
	c := NewCluster(ClusterConfig{TrustDomain: domain})
	largeCluster(func(changes []Change) { c.Update(time.Unix(1e9, 0), changes, func([]netip.Addr) {}) })
	return c
}

func TestClusterMemory(t *testing.T) {
	before := heap()
	c := newLargeCluster(t)
	held := heap() - before
	g := c.Gauges()
	t.Logf("%d pods, %d services, %d addresses: %.1f MiB", g["cluster-pods"], g["cluster-services"], g["cluster-addresses"], float64(held)/(1<<20))
	if g["cluster-pods"] != manyPods || g["cluster-services"] != manyServices || g["cluster-addresses"] != 2*manyPods+2*manyServices+manyNodes {
		t.Fatalf("not everything was taken over: %v", g)
	}
	a := c.Lookup(Query{Address: address6Of(2, 7), Port: 80, Protocol: unix.IPPROTO_TCP})
	if a.Name != "orders-api-7.team-7.svc" || a.Identity.String() != "spiffe://shop.example/ns/team-7/sa/orders-7" {
		t.Fatalf("a service is %+v", a)
	}
	if held > 60<<20 {
		t.Errorf("it takes %d MiB", held>>20)
	}
	// Pods come and go, and each address has had another before: it must not grow by that.
	for round := range 3 {
		for n := range manyPods {
			old := Pod{UID: fmt.Sprintf("old-%d-%d", round, n), Namespace: "x", Name: "p", ServiceAccount: "s", Addresses: []netip.Addr{addressOf(byte(100+round), n)}}
			c.Update(time.Unix(1e9, 0), []Change{{Pod: &old}}, nil)
			c.Update(time.Unix(1e9, 0), []Change{{Pod: &old, Deleted: true}}, nil)
		}
	}
	churned := heap() - before
	t.Logf("after %d pods more came and went: %.1f MiB", 3*manyPods, float64(churned)/(1<<20))
	if churned > 60<<20 {
		t.Errorf("it takes %d MiB after pods came and went", churned>>20)
	}
	runtime.KeepAlive(c)
}

func TestLookupDoesNotAllocate(t *testing.T) {
	c := newLargeCluster(t)
	for _, q := range largeQueries() {
		if n := testing.AllocsPerRun(100, func() { c.Lookup(q) }); n != 0 {
			t.Errorf("%+v: %v allocations", q, n)
		}
	}
}

func largeQueries() map[string]Query {
	return map[string]Query{
		"pod":       {Address: addressOf(1, 4321), Port: 8080, Protocol: unix.IPPROTO_TCP},
		"inbound":   {Address: addressOf(1, 4321), Port: 8080, Protocol: unix.IPPROTO_TCP, Inbound: true},
		"at a time": {Address: addressOf(1, 4321), Port: 8080, Protocol: unix.IPPROTO_TCP, At: time.Unix(1e9+5, 0)},
		"service":   {Address: addressOf(2, 1234), Port: 9090, Protocol: unix.IPPROTO_TCP},
		"service6":  {Address: address6Of(2, 1234), Port: 9090, Protocol: unix.IPPROTO_TCP},
		"node":      {Address: addressOf(3, 50), Port: 10250, Protocol: unix.IPPROTO_TCP},
		"elsewhere": {Address: netip.MustParseAddr("203.0.113.9"), Port: 443, Protocol: unix.IPPROTO_TCP},
		"mapped":    {Address: netip.AddrFrom16(addressOf(1, 77).As16()), Port: 8080, Protocol: unix.IPPROTO_TCP},
	}
}

// BenchmarkLookup tells the processor's time too: that of the clock is also of others' work.
func BenchmarkLookup(b *testing.B) {
	c := newLargeCluster(b)
	run := func(name string, next func() Query) {
		b.Run(name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			b.ReportAllocs()
			before := threadTime(b)
			for b.Loop() {
				c.Lookup(next())
			}
			b.ReportMetric(float64(threadTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
	for name, q := range largeQueries() {
		run(name, func() Query { return q })
	}
	i := 0
	run("any pod", func() Query { // most of them not in the processor's cache
		i = (i + 7919) % manyPods
		return Query{Address: addressOf(1, i), Port: 8080, Protocol: unix.IPPROTO_TCP}
	})
}

func threadTime(b *testing.B) int64 {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &r); err != nil {
		b.Fatal(err)
	}
	return r.Utime.Nano() + r.Stime.Nano()
}

func BenchmarkUpdatePod(b *testing.B) {
	c := newLargeCluster(b)
	p := Pod{UID: "u", Namespace: "team-1", Name: "u", ServiceAccount: "s"}
	for i := 0; b.Loop(); i++ {
		p.Addresses = []netip.Addr{addressOf(4, i%1000)}
		c.Update(time.Unix(1e9, 0), []Change{{Pod: &p}}, nil)
	}
}

func BenchmarkLoadCluster(b *testing.B) {
	for b.Loop() {
		newLargeCluster(b)
	}
}

func TestLookupWhileItChanges(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	one := event.KubernetesIdentity(c.cfg.TrustDomain, "shop", "one")
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if a := c.Lookup(toward(moved, 80)); a.State == Known && a.Identity != one || a.State == Vacant && !a.Identity.IsZero() {
					t.Errorf("answered %+v", a)
					return
				}
				c.Lookup(at(from(moved), second(5)))
				c.Alias("db.shop.svc")
				c.Counters()
				c.Gauges()
				c.ServiceRanges()
				c.Generation()
			}
		})
	}
	for i := range 500 {
		p := newPod(fmt.Sprint("u", i), "one", moved)
		s := Service{Namespace: "shop", Name: "db", ClusterIPs: []netip.Addr{addressOf(2, i)}, ExternalName: "db.example.com"}
		c.tell(second(float64(i)), p, s, Node{Name: "n1", PodRanges: []netip.Prefix{netip.PrefixFrom(addressOf(byte(i), 0), 24)}})
		c.Update(second(float64(i)), []Change{{Pod: &p, Deleted: true}}, func([]netip.Addr) { c.Lookup(toward(moved, 80)) })
	}
	close(stop)
	readers.Wait()
}
