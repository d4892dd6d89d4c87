package detector

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

func outbound(who string, at time.Time, name string, connections uint64) event.Observation {
	namespace, account, _ := strings.Cut(who, "/")
	return event.Observation{
		Time: at, Node: "n1", Direction: event.Outbound, Protocol: event.TCP,
		Workload: event.Workload{Identity: testIdentity(who), Evidence: event.EvidenceKubernetes, Namespace: namespace, ServiceAccount: account},
		Peer:     event.Peer{Name: name, NameSource: event.NameDNS, Port: 443},
		Counts:   event.Counts{Connections: connections},
	}
}

func mustConfig(t testing.TB, change func(*Config)) Config {
	t.Helper()
	c := onceActive()
	change(&c)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConfigNamesEveryFault(t *testing.T) {
	err := Config{Learn: -time.Hour, MaxIdentities: 1 << 40}.Validate()
	for _, want := range []string{"learn is -1h0m0s", "max identities is 1099511627776", "max resources is 0", "max edges is 0", "max nodes is 0", "findings per minute is 0"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}

func TestKnownEdgeDoesNotAllocate(t *testing.T) {
	for name, told := range map[string]bool{"normal": false, "told": true} {
		t.Run(name, func(t *testing.T) {
			d := New(mustConfig(t, func(c *Config) { c.Learn = time.Minute }))
			d.Cover("n1", "boot", epoch, epoch.Add(time.Hour))
			first := outbound("shop/cart", epoch, "a.example", 1)
			again := first
			d.Observe(&first, nil)
			if told {
				again = outbound("shop/cart", epoch.Add(time.Hour), "b.example", 1)
				if found := d.Observe(&again, nil); len(found) != 1 {
					t.Fatalf("%d findings", len(found))
				}
			}
			out := make([]event.Finding, 0, 4)
			allocs := testing.AllocsPerRun(1000, func() {
				d.Cover("n1", "boot", epoch, again.Time)
				out = d.Observe(&again, out[:0])
			})
			if allocs != 0 {
				t.Errorf("%v allocations", allocs)
			}
		})
	}
}

// The same address in its two forms, and with a zone, is one resource.
func TestMappedAddressesAreIPv4(t *testing.T) {
	d := New(mustConfig(t, func(c *Config) { c.Learn = time.Minute }))
	d.Cover("n1", "boot", epoch, epoch.Add(time.Hour))
	o := outbound("shop/cart", epoch, "", 1)
	o.Peer = event.Peer{Address: netip.MustParseAddr("10.0.0.1"), Port: 443}
	d.Observe(&o, nil)
	o.Time = epoch.Add(time.Hour)
	o.Peer.Address = netip.MustParseAddr("::ffff:10.0.0.1")
	if found := d.Observe(&o, nil); len(found) > 0 {
		t.Errorf("told %s", found[0].Title)
	}
}

func TestPlaces(t *testing.T) {
	for _, tc := range []struct {
		address, dialled, name string
		want                   place
	}{
		{address: "169.254.169.254", want: placeMetadata},
		{address: "::ffff:169.254.169.254", want: placeMetadata},
		{address: "fd00:ec2::254", want: placeMetadata},
		{address: "10.9.9.9", dialled: "169.254.169.254:80", want: placeMetadata}, // redirected by an agent such as kube2iam
		{name: "metadata.google.internal", want: placeMetadata},
		{address: "127.0.0.53", want: placeLoopback},
		{address: "::1", want: placeLoopback},
		{address: "203.0.113.1", want: placePublic},
		{address: "2001:db8::1", want: placePublic},
		{address: "10.0.0.1", want: placeInside},
		{address: "fd12::1", want: placeInside},
		{address: "fe80::1%eth0", want: placeInside},
		{address: "100.64.0.1", want: placeInside},
		{name: "db.shop.svc", want: placeDatabase},
		{name: "vault.shop.svc", want: placeSecret},
		{name: "web.shop.svc", want: placeInside},
	} {
		var o event.Observation
		o.Peer.Name = tc.name
		if tc.address != "" {
			o.Peer.Address = netip.MustParseAddr(tc.address)
		}
		if tc.dialled != "" {
			o.Peer.Dialled = netip.MustParseAddrPort(tc.dialled)
		}
		if got := placeOf(&o); got != tc.want {
			t.Errorf("%+v is %d, want %d", tc, got, tc.want)
		}
	}
}

func TestSpell(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1500 * time.Microsecond: "2ms", 45 * time.Second: "45s", 90 * time.Second: "1m30s", 2 * time.Minute: "2m", time.Hour: "1h",
		26*time.Hour + 20*time.Second: "26h", 90*time.Minute + time.Second: "1h30m", 76 * time.Hour: "3d4h", 96 * time.Hour: "4d",
	} {
		if got := spell(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}

func TestOutcome(t *testing.T) {
	for _, tc := range []struct {
		counts event.Counts
		class  string
		want   string
	}{
		{event.Counts{Connections: 1}, "", "1 connection so far, none failed."},
		{event.Counts{Connections: 1, Failed: 1}, "timeout", "The attempt failed: timeout."},
		{event.Counts{Connections: 1, Failed: 1}, "", "The attempt failed."},
		{event.Counts{Connections: 3, Failed: 2}, "refused", "2 of 3 attempts failed, the last one with: refused."},
		{event.Counts{Connections: 2, Failed: 2, Denied: 2}, "", "All 2 attempts failed; 2 of them were denied."},
		{event.Counts{Connections: 2, BytesSent: 5}, "", "2 connections so far, none failed; 5 bytes were sent and 0 bytes received."},
	} {
		if got := outcome(&event.Observation{Counts: tc.counts, Error: tc.class}); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

// Whatever restarts an agent in a loop, little is kept of it and the long spans stay.
func TestManyBootsAreBounded(t *testing.T) {
	d := New(mustConfig(t, func(c *Config) { c.Learn = time.Hour }))
	w := event.Workload{Identity: testIdentity("shop/cart")}
	d.Sight(&w, "n1", epoch)
	d.Cover("n1", "long", epoch, epoch.Add(time.Hour))
	const loops = 1000
	for i := range loops {
		at := epoch.Add(time.Hour + time.Duration(i)*time.Minute)
		d.Cover("n1", fmt.Sprint("loop", i), at, at.Add(time.Second))
	}
	if p, _ := d.Progress(w.Identity); p.State != Stable || p.Observed < time.Hour {
		t.Errorf("%+v", p)
	}
	if got, want := d.Counters()[causeSpans], uint64(loops+1-maxSpans); got != want {
		t.Errorf("%d forgotten, want %d", got, want)
	}
}

func TestTablesAreBounded(t *testing.T) {
	d := New(mustConfig(t, func(c *Config) { c.Learn, c.MaxEdges, c.MaxNodes, c.MaxIdentities = time.Minute, 10, 2, 5 }))
	for i := range 30 {
		o := outbound(fmt.Sprint("shop/s", i%6), epoch.Add(time.Duration(i)*time.Second), fmt.Sprint("r", i), 1)
		o.Node = fmt.Sprint("n", i%3)
		d.Cover(o.Node, "boot", epoch, o.Time)
		d.Observe(&o, nil)
	}
	d.Cover("n0", "boot", epoch.Add(time.Hour), epoch)
	g, c := d.Gauges(), d.Counters()
	if g["edges"] != 10 || g["nodes"] != 2 || g["identities"] != 5 || g["resources"] != 10 {
		t.Errorf("gauges %v", g)
	}
	if c[causeEdges] != 25-10 || c[causeNodes] == 0 || c[causeIdentities] != 5 || c[causeInvalidSpan] != 1 {
		t.Errorf("counters %v", c)
	}
}

// With more findings than are kept up to date, the oldest gives way and its last change is told.
func TestFindingsAreBounded(t *testing.T) {
	d := New(mustConfig(t, func(c *Config) { c.Learn = time.Minute }))
	d.findings.limit = 2
	o := outbound("shop/cart", epoch, "normal", 1)
	d.Observe(&o, nil)
	at := epoch.Add(time.Hour)
	d.Cover("n1", "boot", epoch, at)
	reach := func(name string) []event.Finding {
		o := outbound("shop/cart", at, name, 1)
		return d.Observe(&o, nil)
	}
	reach("a")
	reach("b")
	if again := reach("a"); len(again) != 0 {
		t.Fatalf("told again at once: %v", again)
	}
	found := reach("c")
	if len(found) != 2 || found[0].Count != 2 || found[0].Resource.String() != "dns:a:443/tcp" || found[1].Resource.String() != "dns:c:443/tcp" {
		t.Errorf("got %v", found)
	}
	reach("a")
	if n := d.Counters()[causeFindings]; n != 1 {
		t.Errorf("%d refused", n)
	}
	if g := d.Gauges()["findings"]; g != 2 {
		t.Errorf("%d held", g)
	}
}

func TestProgressOfUnknownIdentity(t *testing.T) {
	d := New(onceActive())
	if p, ok := d.Progress(testIdentity("shop/cart")); ok {
		t.Errorf("got %+v", p)
	}
	w := event.Workload{Identity: testIdentity("shop/cart")}
	d.Sight(&w, "n1", epoch)
	p, ok := d.Progress(w.Identity)
	if !ok || p.State != Warming || !p.Since.Equal(epoch) || p.Reason != "It was watched for 0s of the 24h that learning takes (0 %), too little to say what is normal." {
		t.Errorf("got %+v", p)
	}
}

// Memory of an edge, with a resource of its own each: the worst case.
func TestMemoryPerEdge(t *testing.T) {
	const identities, each = 100, 1000
	d := New(onceActive())
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range identities {
		for j := range each {
			o := outbound(fmt.Sprint("shop/s", i), epoch, "", 1)
			n := i*each + j
			o.Peer = event.Peer{Address: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), Port: 443}
			d.Observe(&o, nil)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	per := float64(after.HeapAlloc-before.HeapAlloc) / (identities * each)
	t.Logf("%.0f bytes per edge", per)
	if per > 256 {
		t.Errorf("%.0f bytes per edge, want at most 256", per)
	}
	runtime.KeepAlive(d)
}

// onceActive is the default, but for a single occasion that it takes to learn an identity: most stories are about something else.
func onceActive() Config {
	c := Default()
	c.Occasions = 1
	return c
}

// A state comes with the numbers behind it, and to ask for it changes nothing.
func TestStatesSayWhy(t *testing.T) {
	d := New(mustConfig(t, func(c *Config) { c.Learn = time.Hour }))
	f := func(who string, want State, reason string) {
		t.Helper()
		p, ok := d.Progress(testIdentity(who))
		if !ok || p.State != want || !strings.Contains(p.Reason, reason) {
			t.Errorf("%s is %s: %s", who, p.State, p.Reason)
		}
	}
	see := func(who string, at time.Duration, name string) {
		o := outbound(who, epoch.Add(at), name, 1)
		d.Cover("n1", "boot", epoch, o.Time)
		d.Observe(&o, nil)
	}
	d.Declare(testIdentity("shop/old"), epoch.Add(-48*time.Hour), time.Time{})
	see("shop/old", 0, "a.example")
	see("shop/busy", 0, "a.example")
	see("shop/calm", 0, "a.example")
	see("shop/old", 30*time.Minute, "a.example")
	f("shop/old", Partial, "2025-12-30 00:00:00 UTC, 48h before")
	f("shop/calm", Learning, "30m of the 1h that learning takes (50 %)")
	for i := range 30 {
		see("shop/busy", time.Duration(2+i)*time.Hour, fmt.Sprintf("new-%d.example", i))
	}
	f("shop/busy", Unstable, "9.4 new resources a day (4.0 and more are too many")
	f("shop/busy", Unstable, "9.4 new resources a day")
	f("shop/old", Stable, "past the learning time")
	f("shop/calm", Stable, "past the learning time")
}
