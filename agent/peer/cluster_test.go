package peer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/event"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func addresses(all ...string) (to []netip.Addr) {
	for _, a := range all {
		to = append(to, ip(a))
	}
	return to
}

func tcp(n uint16) Port { return Port{n, unix.IPPROTO_TCP} }

// onePort is a slice with one TCP port.
func onePort(name, service, port string, number uint16, endpoints ...Endpoint) EndpointSlice {
	return EndpointSlice{Namespace: "shop", Name: name, Service: service, Ports: []SlicePort{{port, tcp(number)}}, Endpoints: endpoints}
}

func takes(p Pod, a string) Endpoint {
	return Endpoint{Addresses: addresses(a), Pod: p.UID, Ready: true, Serving: true}
}

func TestPodsOfBothFamilies(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	p := newPod("a", "one", ip("10.1.0.1"), ip("fd00::a"), ip("::ffff:10.1.0.2"))
	c.tell(second(1), p)
	for _, a := range addresses("10.1.0.1", "fd00::a", "10.1.0.2", "::ffff:10.1.0.1", "fd00::a%eth0") {
		c.want(toward(a, 80), "one")
		c.want(from(a), "one")
	}
	c.want(toward(ip("fd00::1:a"), 80), "unknown")
	p.Addresses = addresses("10.1.0.9", "fd00::a") // its sandbox was made anew
	c.tell(second(2), p)
	c.want(toward(ip("10.1.0.1"), 80), "vacant")
	c.want(toward(ip("10.1.0.9"), 80), "one")
	c.want(toward(ip("fd00::a"), 80), "one")
}

func TestStaticPodsAreOfTheirNode(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	p := newPod("a", "", moved)
	c.tell(second(1), p)
	if a := c.Lookup(from(moved)); a.Identity != event.ContainerIdentity(c.cfg.TrustDomain, "n1", "shop/a") || a.Evidence != event.EvidenceKubernetes {
		t.Errorf("a static pod is %+v", a)
	}
}

func TestTwoClaimOneAddress(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	q := toward(moved, 80)
	lost, other := newPod("lost", "one", moved), newPod("other", "two", moved)
	other.Node = "n2"
	n1 := Node{Name: "n1", Addresses: addresses("192.168.0.1")}
	c.tell(second(1), n1, lost)
	c.want(q, "one")
	c.tell(second(2), other)
	c.want(q, "contested")
	c.want(from(moved), "contested")
	n1.Lost = true // nobody tells any more what becomes of its pods
	c.tell(second(3), n1)
	c.want(q, "two")
	n1.Lost = false
	c.tell(second(4), n1)
	c.want(q, "contested")
	other.Terminating = true
	c.tell(second(5), other)
	c.want(q, "one")
	lost.Terminating = true
	c.tell(second(6), lost)
	c.want(q, "contested")
	c.tell(second(7), Change{Pod: &lost, Deleted: true})
	c.want(q, "two") // its processes may go on for a while, and nobody else is there
	if n := c.Counters()["cluster-contested"]; n != 3 {
		t.Errorf("counted %d times", n)
	}
	c.want(at(q, second(2.5)), "contested")
}

func TestServices(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	a, b, other := newPod("a", "db", ip("10.1.0.1")), newPod("b", "db", ip("10.1.0.2"), ip("fd00::2")), newPod("c", "other", ip("10.1.0.3"))
	db := Service{
		Namespace: "shop", Name: "db", ClusterIPs: addresses("10.96.0.1", "fd96::1"), External: addresses("198.51.100.1"),
		Ports: []ServicePort{{"sql", tcp(5432), 30432}, {"admin", tcp(80), 0}},
	}
	vip, vip6, external := toward(ip("10.96.0.1"), 5432), toward(ip("fd96::1"), 5432), toward(ip("198.51.100.1"), 5432)
	c.tell(second(1), a, b, other, onePort("db-1", "db", "sql", 6432, takes(a, "10.1.0.1"))) // slices may come first
	c.want(toward(ip("10.1.0.1"), 6432), "db")
	c.tell(second(1), db, onePort("db-2", "db", "sql", 6432, takes(b, "10.1.0.2")), onePort("db-6", "db", "sql", 6432, takes(b, "fd00::2")))
	for _, q := range []Query{vip, vip6, external, toward(ip("10.1.0.1"), 6432), toward(ip("fd00::2"), 6432)} {
		c.want(q, "db db.shop.svc")
	}
	c.want(toward(ip("10.1.0.1"), 22), "db") // no port of a service
	c.want(from(ip("10.1.0.1")), "db")
	c.want(Query{Address: ip("10.1.0.1"), Port: 6432, Protocol: unix.IPPROTO_UDP}, "db")
	c.want(toward(ip("10.96.0.1"), 80), "db.shop.svc") // nothing takes it
	c.want(toward(ip("10.96.0.1"), 9), "db.shop.svc")  // a ClusterIP is of its service at all ports
	c.want(toward(ip("198.51.100.1"), 9), "unknown")   // an external address is not
	c.want(from(ip("10.96.0.1")), "unknown")           // nothing comes from it
	c.want(toward(ip("fd96::1"), 80), "db.shop.svc")   //
	c.want(toward(ip("10.1.0.3"), 6432), "other")      //
	mixed := onePort("db-2", "db", "sql", 6432, takes(b, "10.1.0.2"), takes(other, "10.1.0.3"))
	c.tell(second(2), mixed)
	c.want(vip, "db.shop.svc")
	c.want(toward(ip("10.1.0.3"), 6432), "other db.shop.svc")
	mixed.Endpoints[1].Ready = false // it is listed, and gets nothing
	c.tell(second(3), mixed)
	c.want(vip, "db db.shop.svc")
	c.want(toward(ip("10.1.0.3"), 6432), "other db.shop.svc")

	// Where none is ready, those that end may still serve.
	leave := func(s EndpointSlice) EndpointSlice {
		for i := range s.Endpoints {
			s.Endpoints[i].Ready, s.Endpoints[i].Serving, s.Endpoints[i].Terminating = false, true, true
		}
		return s
	}
	c.tell(second(4), leave(onePort("db-1", "db", "sql", 6432, takes(a, "10.1.0.1"))), leave(onePort("db-6", "db", "sql", 6432, takes(b, "fd00::2"))), leave(mixed))
	c.want(vip, "db.shop.svc")
	c.tell(second(5), leave(onePort("db-2", "db", "sql", 6432, takes(b, "10.1.0.2"))))
	c.want(vip, "db db.shop.svc")

	// Slices lag behind pods: what they say of an address' former owner says nothing of the next.
	c.tell(second(6), onePort("db-1", "db", "sql", 6432, takes(a, "10.1.0.1")), Change{Slice: &EndpointSlice{Namespace: "shop", Name: "db-2"}, Deleted: true},
		Change{Slice: &EndpointSlice{Namespace: "shop", Name: "db-6"}, Deleted: true}, Change{Pod: &a, Deleted: true})
	c.want(toward(ip("10.1.0.1"), 6432), "vacant")
	c.want(vip, "db.shop.svc")
	c.tell(second(7), newPod("d", "stranger", ip("10.1.0.1")))
	c.want(toward(ip("10.1.0.1"), 6432), "stranger")
	c.want(vip, "db.shop.svc")
	c.tell(second(8), Change{Service: &db, Deleted: true})
	c.want(vip, "unknown")
	c.want(external, "unknown")
}

func TestPodsOfManyServices(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	p := newPod("a", "db", ip("10.1.0.1"))
	headless := Service{Namespace: "shop", Name: "db-pods", Ports: []ServicePort{{"sql", tcp(5432), 0}}}
	c.tell(second(1), p, headless, onePort("x", "db-pods", "sql", 5432, takes(p, "10.1.0.1")))
	c.want(toward(ip("10.1.0.1"), 5432), "db db-pods.shop.svc")
	second2 := Service{Namespace: "shop", Name: "db", ClusterIPs: addresses("10.96.0.1"), Ports: []ServicePort{{"sql", tcp(5432), 0}}}
	c.tell(second(2), second2, onePort("y", "db", "sql", 5432, takes(p, "10.1.0.1")))
	c.want(toward(ip("10.1.0.1"), 5432), "db") // which of them was meant, nobody knows
	c.tell(second(3), Change{Service: &headless, Deleted: true})
	c.want(toward(ip("10.1.0.1"), 5432), "db db.shop.svc")
}

func TestEndpointsWithoutPods(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	c.tell(second(1), Service{Namespace: "shop", Name: "legacy", ClusterIPs: addresses("10.96.0.1"), Ports: []ServicePort{{"", tcp(1521), 0}}},
		onePort("x", "legacy", "", 1521, Endpoint{Addresses: addresses("203.0.113.5"), Ready: true}))
	c.want(toward(ip("203.0.113.5"), 1521), "unknown") // or whoever writes slices could name any address
	c.want(from(ip("203.0.113.5")), "unknown")
	c.want(toward(ip("10.96.0.1"), 1521), "legacy.shop.svc")
}

// Who may make services and slices in one namespace names with them no addresses but those of its own pods.
func TestForeignClaims(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	victim, web := newPod("v", "victim", ip("10.1.0.1")), newPod("w", "web", ip("10.1.0.2"))
	victim.Namespace = "bank"
	evil := Service{Namespace: "shop", Name: "evil", ClusterIPs: addresses("10.96.0.66"), Ports: []ServicePort{{"", tcp(53), 0}}}
	c.tell(second(1), Node{Name: "n1", Addresses: addresses("192.168.0.1")}, victim, web, evil,
		Service{Namespace: "kube-system", Name: "dns", ClusterIPs: addresses("10.96.0.10"), Ports: []ServicePort{{"", tcp(53), 0}}})
	c.tell(second(2),
		onePort("e1", "evil", "", 443, Endpoint{Addresses: addresses("203.0.113.5", "192.168.0.1", "10.1.0.1"), Ready: true}),
		onePort("e2", "evil", "", 80, takes(victim, "10.1.0.1"), takes(web, "10.1.0.2")))
	c.want(toward(ip("203.0.113.5"), 443), "unknown")
	c.want(toward(ip("192.168.0.1"), 443), "n1")
	victims := c.Lookup(toward(ip("10.1.0.1"), 443))
	for _, port := range []uint16{80, 443} {
		if a := c.Lookup(toward(ip("10.1.0.1"), port)); a.Name != "" || a.Identity.String() != "spiffe://shop.example/ns/bank/sa/victim" {
			t.Errorf("at port %d: %+v, want %+v", port, a, victims)
		}
	}
	c.want(toward(ip("10.1.0.2"), 80), "web evil.shop.svc")

	evil.External = addresses("10.96.0.10", "10.1.0.7")
	c.tell(second(3), evil)
	c.want(toward(ip("10.96.0.10"), 53), "dns.kube-system.svc")
	// An address does not lose its past by that.
	one, two := newPod("1", "one", ip("10.1.0.7")), newPod("2", "two", ip("10.1.0.7"))
	c.tell(second(10), one)
	c.tell(second(20), Change{Pod: &one, Deleted: true})
	c.tell(second(21), two)
	if a := c.Lookup(at(from(ip("10.1.0.7")), second(15))); strings.HasSuffix(a.Identity.String(), "/two") {
		t.Errorf("what the former owner did is the next one's: %+v", a)
	}
}

func TestNodes(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	n1, n2 := Node{Name: "n1", Addresses: addresses("192.168.0.1", "198.51.100.1")}, Node{Name: "n2", Addresses: addresses("192.168.0.2")}
	web := newPod("w", "web", ip("10.1.0.1"))
	exporter := newPod("e", "exporter", ip("192.168.0.1"))
	exporter.HostNetwork, exporter.HostPorts = true, []Port{tcp(9100)}
	proxy := newPod("p", "proxy", ip("10.1.0.2")) // not in the host's network, but with a host port
	proxy.HostPorts = []Port{tcp(443)}
	c.tell(second(1), exporter, web, proxy)
	c.want(toward(ip("192.168.0.1"), 9100), "unknown") // whose address it is, is not told yet
	c.tell(second(1), n1, n2, Service{Namespace: "shop", Name: "web", Ports: []ServicePort{{"", tcp(80), 30080}}}, onePort("x", "web", "", 8080, takes(web, "10.1.0.1")))
	c.want(toward(ip("192.168.0.1"), 9100), "exporter n1")
	c.want(toward(ip("198.51.100.1"), 9100), "exporter n1")
	c.want(toward(ip("192.168.0.2"), 9100), "n2")
	c.want(toward(ip("192.168.0.1"), 443), "proxy n1")
	c.want(toward(ip("10.1.0.2"), 443), "proxy")
	c.want(toward(ip("192.168.0.1"), 10250), "n1")
	c.want(from(ip("192.168.0.1")), "n1") // whoever it was
	for _, a := range []string{"192.168.0.1", "198.51.100.1", "192.168.0.2"} {
		c.want(toward(ip(a), 30080), "web web.shop.svc")
	}
	if a := c.Lookup(toward(ip("192.168.0.2"), 22)); a.NameSource != event.NameNode {
		t.Errorf("the name of a node is from %q", a.NameSource)
	}
	if a := c.Lookup(toward(ip("192.168.0.2"), 30080)); a.NameSource != event.NameService {
		t.Errorf("the name of a NodePort is from %q", a.NameSource)
	}
	rival := newPod("f", "rival", ip("192.168.0.1"))
	rival.HostNetwork, rival.HostPorts = true, []Port{tcp(9100)}
	c.tell(second(2), rival)
	c.want(toward(ip("192.168.0.1"), 9100), "n1")
	c.tell(second(3), Change{Pod: &rival, Deleted: true})
	c.want(toward(ip("192.168.0.1"), 9100), "exporter n1")

	// The API server is an endpoint without pod.
	c.tell(second(4), Service{Namespace: "default", Name: "kubernetes", ClusterIPs: addresses("10.96.0.1"), Ports: []ServicePort{{"https", tcp(443), 0}}},
		EndpointSlice{Namespace: "default", Name: "kubernetes", Service: "kubernetes", Ports: []SlicePort{{"https", tcp(6443)}}, Endpoints: []Endpoint{{Addresses: addresses("192.168.0.2"), Ready: true}}})
	c.want(toward(ip("192.168.0.2"), 6443), "kubernetes.default.svc")
	c.want(toward(ip("10.96.0.1"), 443), "kubernetes.default.svc")
	// Another without a declared port is known by the slice of its service.
	c.tell(second(5), Service{Namespace: "shop", Name: "ingress", ClusterIPs: addresses("10.96.0.2"), Ports: []ServicePort{{"", tcp(80), 0}}},
		Pod{UID: "i", Namespace: "shop", Name: "i", ServiceAccount: "ingress", Node: "n2", HostNetwork: true, Addresses: addresses("192.168.0.2")},
		onePort("i", "ingress", "", 8081, Endpoint{Addresses: addresses("192.168.0.2"), Pod: "i", Ready: true}))
	c.want(toward(ip("192.168.0.2"), 8081), "ingress ingress.shop.svc")
	c.want(toward(ip("10.96.0.2"), 80), "ingress ingress.shop.svc")
	c.tell(second(6), Change{Node: &n2, Deleted: true})
	c.want(toward(ip("192.168.0.2"), 22), "unknown")
	c.want(toward(ip("192.168.0.2"), 30080), "unknown")
}

func TestRangesForPodsAreWorthWaitingFor(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	n := Node{Name: "n1", PodRanges: []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24"), netip.MustParsePrefix("fd01::/64"), netip.MustParsePrefix("::ffff:10.1.3.0/120")}}
	c.tell(second(1), n, Node{Name: "n2", PodRanges: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}, Node{Name: "n3", PodRanges: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}})
	for a, want := range map[string]string{"10.1.2.3": "vacant", "10.1.9.9": "vacant", "10.2.0.0": "unknown", "10.0.255.255": "unknown", "10.0.0.255": "vacant", "fd01::7": "vacant", "fd02::7": "unknown", "9.9.9.9": "unknown"} {
		c.want(toward(ip(a), 80), want)
	}
	c.tell(second(2), Change{Node: &Node{Name: "n2"}, Deleted: true})
	c.want(toward(ip("10.1.9.9"), 80), "unknown")
	c.want(toward(ip("10.1.2.3"), 80), "vacant")
	c.want(toward(ip("10.1.3.3"), 80), "vacant")
}

func TestNeighboursOfPodsAreWorthWaitingFor(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{MaxVacant: 1})
	p := newPod("a", "one", ip("10.1.0.1"), ip("fd00::1"))
	c.tell(second(1), p)
	c.want(toward(ip("10.1.0.200"), 80), "vacant")
	c.want(from(ip("fd00::c8")), "vacant")
	c.want(toward(ip("10.1.1.1"), 80), "unknown")
	c.tell(second(2), Change{Pod: &p, Deleted: true}, newPod("b", "two", ip("10.2.0.1"), ip("10.3.0.1")))
	c.tell(second(3), Change{Pod: &Pod{UID: "b"}, Deleted: true}) // of all four, one is remembered
	vacant := 0
	for _, a := range addresses("10.1.0.200", "fd00::c8", "10.2.0.200", "10.3.0.200") {
		if c.Lookup(toward(a, 80)).State == Vacant {
			vacant++
		}
	}
	if vacant != 1 || len(c.inhabited) != 1 {
		t.Errorf("of 4 neighbourhoods, %d are left, %d counted; want 1", vacant, len(c.inhabited))
	}
	if a := c.Lookup(Query{}); a != (Answer{}) {
		t.Errorf("no address is %+v", a)
	}
}

func TestAlias(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{ClusterDomain: "k8s.example"})
	for name, target := range map[string]string{"db": "DB.prod.example.com.", "twice": "db.shop.svc.k8s.example", "round": "square.shop.svc.k8s.example", "square": "round.shop.svc.k8s.example", "bad": "no spaces.example"} {
		c.tell(second(1), Service{Namespace: "shop", Name: name, ExternalName: target})
	}
	for name, want := range map[string]string{
		"db.shop.svc.k8s.example": "db.prod.example.com", "DB.shop.svc.k8s.example.": "db.prod.example.com", "db.shop.svc": "db.prod.example.com",
		"twice.shop.svc.k8s.example": "db.prod.example.com", "round.shop.svc": "", "bad.shop.svc": "", "db.shop": "", "db": "", "": "", ".": "",
		"db.shop.svc.cluster.local": "", "pod.db.shop.svc.k8s.example": "", "db.prod.example.com": "", "k8s.example": "",
	} {
		if target, ok := c.Alias(name); target != want || ok != (want != "") {
			t.Errorf("%q is %q, %v; want %q", name, target, ok, want)
		}
	}
	c.tell(second(2), Change{Service: &Service{Namespace: "shop", Name: "db"}, Deleted: true})
	if target, ok := c.Alias("db.shop.svc"); ok {
		t.Errorf("a service that is gone is %q", target)
	}
	if n := c.Counters()["cluster-bad-object"]; n != 1 {
		t.Errorf("%d bad objects counted, want 1", n)
	}
}

func TestListing(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	gone, kept := newPod("gone", "one", ip("10.1.0.1")), newPod("kept", "two", ip("10.1.0.2"))
	kept.Version = 90
	web := Service{Namespace: "shop", Name: "web", ClusterIPs: addresses("10.96.0.1")}
	c.tell(second(1), gone, kept, web)
	kept.Version = 3 // the cluster was restored from a backup
	kept.Addresses = addresses("10.1.0.3")
	c.tell(second(2), Change{Begin: KindPod}, newPod("new", "three", ip("10.1.0.4")))
	c.want(toward(ip("10.1.0.1"), 80), "one") // as long as it is not over
	c.tell(second(3), kept, Change{End: KindPod})
	c.want(toward(ip("10.1.0.1"), 80), "vacant")
	c.want(toward(ip("10.1.0.3"), 80), "two")
	c.want(toward(ip("10.1.0.4"), 80), "three")
	c.want(toward(ip("10.96.0.1"), 80), "web.shop.svc")
	c.tell(second(4), Change{End: KindService}) // without a beginning it says nothing
	c.want(toward(ip("10.96.0.1"), 80), "web.shop.svc")
	c.tell(second(5), Change{Begin: KindService}, Change{End: KindService})
	c.want(toward(ip("10.96.0.1"), 80), "unknown")
}

func TestBadObjectsAreRefused(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	long := strings.Repeat("a", 254)
	bad := []any{
		Pod{}, Pod{UID: "u", Name: "p"}, Pod{UID: "u", Namespace: "a/b", Name: "p"}, Pod{UID: "u v", Namespace: "shop", Name: "p"},
		Pod{UID: "u", Namespace: "shop", Name: "p", ServiceAccount: "../admin"}, Pod{UID: "u", Namespace: "shop", Name: long}, Pod{UID: long, Namespace: "shop", Name: "p"},
		Pod{UID: "u", Namespace: "shop", Name: "p", Node: "N1"}, Pod{UID: "", Ended: true},
		Service{}, Service{Namespace: "shop", Name: "-x"}, Service{Namespace: "shop", Name: "x.y"}, Service{Namespace: "Shop", Name: "x"},
		EndpointSlice{}, EndpointSlice{Namespace: "shop", Name: "x"}, EndpointSlice{Namespace: "shop", Name: "", Service: "x"},
		Node{}, Node{Name: "a b"}, Node{Name: "a..b"},
	}
	c.tell(second(1), bad...)
	c.tell(second(1), Change{}, Change{Deleted: true}, Change{Begin: 77}, Change{End: 77}, Change{Pod: &Pod{}, Deleted: true}, Change{Service: &Service{}, Deleted: true},
		Change{Slice: &EndpointSlice{}, Deleted: true}, Change{Node: &Node{}, Deleted: true})
	if n := c.Counters()["cluster-bad-object"]; n != uint64(len(bad))+1 {
		t.Errorf("%d bad objects counted, want %d", n, len(bad)+1)
	}
	for _, a := range []string{"127.0.0.1", "::1", "0.0.0.0", "169.254.169.254", "fe80::1", "224.0.0.1", "::ffff:127.0.0.1"} {
		p := newPod("u"+fmt.Sprint(len(a)), "one", ip(a), netip.Addr{})
		c.tell(second(2), p, Service{Namespace: "shop", Name: "s", External: addresses(a), Ports: []ServicePort{{"", tcp(80), 0}}})
		c.want(toward(ip(a), 80), "unknown")
	}
	if n := c.Counters()["cluster-bad-address"]; n != 7*3 {
		t.Errorf("%d bad addresses counted, want %d", n, 7*3)
	}
	// A pod that turns bad is nobody any more.
	c.tell(second(3), newPod("good", "one", moved))
	turned := newPod("good", "A B", moved)
	c.tell(second(3), turned)
	c.want(toward(moved, 80), "vacant")
}

func TestClusterBounds(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{MaxPods: 2, MaxServices: 2, MaxSlices: 2, MaxEndpoints: 3, MaxNodes: 2, MaxVacant: 2})
	for i := range 5 {
		a := addressOf(1, i)
		p := newPod(fmt.Sprint("u", i), "one", a)
		c.tell(second(1), p, Service{Namespace: "shop", Name: fmt.Sprint("s", i), ClusterIPs: []netip.Addr{addressOf(2, i)}, Ports: []ServicePort{{"", tcp(80), 0}}},
			Node{Name: fmt.Sprint("m", i), Addresses: []netip.Addr{addressOf(3, i)}})
	}
	g := c.Gauges()
	if n := c.Counters()["cluster-too-many"]; n != 9 || g["cluster-pods"] != 2 || g["cluster-services"] != 2 || g["cluster-nodes"] != 2 {
		t.Errorf("%d counted, %v", n, g)
	}
	one := []Endpoint{{Addresses: []netip.Addr{addressOf(1, 0)}, Pod: "u0", Ready: true}}
	c.tell(second(2), onePort("a", "s0", "", 80, one...))
	c.want(toward(addressOf(2, 0), 80), "one s0.shop.svc")
	many := slices.Repeat(one, 4)
	c.tell(second(3), onePort("b", "s0", "", 80, many...)) // not all of them are known now
	c.want(toward(addressOf(2, 0), 80), "s0.shop.svc")
	c.tell(second(4), onePort("b", "s0", "", 80))
	c.want(toward(addressOf(2, 0), 80), "one s0.shop.svc")
	c.tell(second(5), onePort("c", "s0", "", 80)) // and now not all slices
	c.want(toward(addressOf(2, 0), 80), "s0.shop.svc")
	p := Pod{UID: "u0", Namespace: "shop", Name: "u0", ServiceAccount: "one"}
	for i := range 2 * maxPodAddresses {
		p.Addresses = append(p.Addresses, addressOf(9, i))
	}
	c.tell(second(6), p)
	c.want(toward(addressOf(9, maxPodAddresses-1), 80), "one")
	c.want(toward(addressOf(9, maxPodAddresses), 80), "vacant") // for all that is known
	c.tell(second(7), Change{Pod: &p, Deleted: true})
	if v := c.Gauges()["cluster-vacant"]; v != 2 {
		t.Errorf("%d vacant addresses are known, want 2", v)
	}
}

func TestServiceRanges(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	if r := c.ServiceRanges(); len(r) != 0 {
		t.Errorf("an empty cluster has %v", r)
	}
	c.tell(second(1), Service{Namespace: "a", Name: "a", ClusterIPs: addresses("10.96.0.1", "fd96::1")})
	c.tell(second(1), Service{Namespace: "a", Name: "b", ClusterIPs: addresses("10.99.255.1", "fd96::ff"), External: addresses("198.51.100.1")}, Service{Namespace: "a", Name: "headless"})
	if got, want := fmt.Sprint(c.ServiceRanges()), "[10.96.0.0/14 fd96::/120]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	c.tell(second(1), Change{Service: &Service{Namespace: "a", Name: "a"}, Deleted: true})
	if got, want := fmt.Sprint(c.ServiceRanges()), "[10.99.255.1/32 fd96::ff/128]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
