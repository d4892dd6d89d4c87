package enforce

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/ambit-nhi/ambit/event"
)

// fakeNode is what a node would know.
type fakeNode struct {
	workloads []Workload
	reached   map[string][]Endpoint
	from      map[string][]netip.Addr
	named     map[string][]netip.Addr
	services  map[string][]Endpoint
	floor     []Endpoint
	own       []netip.Addr
}

func (n *fakeNode) Workloads() []Workload { return n.workloads }

func (n *fakeNode) Reached(match func(event.Identity) bool) (out []Endpoint) {
	for name, e := range n.reached {
		if match(identity(name)) {
			out = append(out, e...)
		}
	}
	return out
}

func (n *fakeNode) From(match func(event.Identity) bool) (out []netip.Addr) {
	for name, a := range n.from {
		if match(identity(name)) {
			out = append(out, a...)
		}
	}
	return out
}

func (n *fakeNode) Named(name string, _ []uint64) []netip.Addr { return n.named[name] }

func (n *fakeNode) Service(name string) []Endpoint { return n.services[name] }

func (n *fakeNode) Floor() ([]Endpoint, []netip.Addr) { return n.floor, n.own }

func identity(name string) event.Identity {
	id, err := event.ParseIdentity("spiffe://shop.example/ns/shop/sa/" + name)
	if err != nil {
		panic(err)
	}
	return id
}

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// at is some time after the machine started, by both clocks.
func at(after time.Duration) Moment { return Moment{noon.Add(after), time.Hour + after} }

type bench struct {
	t      *testing.T
	key    nkeys.KeyPair
	cfg    Config
	engine *Engine
	serial uint64
}

func newBench(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	key, err := nkeys.CreateAccount()
	check(t, err)
	public, err := key.PublicKey()
	check(t, err)
	b := &bench{t: t, key: key}
	b.cfg = Config{
		Keys: []string{public}, MaxLife: 24 * time.Hour, AutomaticPerMinute: 10, AutomaticMax: 15, Boot: "boot-1", Slots: 100, Sorts: 16, Subjects: 20, Rules: 1000,
	}
	for _, f := range change {
		f(&b.cfg)
	}
	b.engine = New(b.cfg)
	return b
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bench) decision(id, who, to string, change ...func(*event.Decision)) *event.Decision {
	b.t.Helper()
	b.serial++
	d := &event.Decision{
		ID: id, Serial: b.serial, Identity: identity(who).String(), To: to, Direction: event.Outbound, Mode: event.Enforce, Reason: "test", Requester: "tester",
		Issued: noon, Expires: noon.Add(2 * time.Hour),
	}
	for _, f := range change {
		f(d)
	}
	check(b.t, d.Sign(b.key))
	return d
}

func (b *bench) take(d *event.Decision, m Moment) {
	b.t.Helper()
	if got := b.engine.Take(d, m); got.State != event.AckReceived {
		b.t.Fatalf("%s is %+v", d.ID, got)
	}
}

// lines is a table as text.
func lines(t Table) (out []string) {
	for id, s := range t.Cgroups {
		out = append(out, fmt.Sprintf("cgroup %d is %d", id, s))
	}
	for k, r := range t.Rules {
		way, p := "to", "any"
		if k.Inbound {
			way = "from"
		}
		if k.Prefix.IsValid() {
			p = k.Prefix.String()
		}
		out = append(out, fmt.Sprintf("%d %s %s %d/%d: %d until %s, dry %d until %s", k.Subject, way, p, k.Port, k.Protocol, r.Enforce.Slot, r.Enforce.Deadline, r.DryRun.Slot, r.DryRun.Deadline))
	}
	slices.Sort(out)
	return out
}

func (b *bench) expect(n Node, want ...string) {
	b.t.Helper()
	got := lines(b.engine.Resolve(n))
	if !slices.Equal(got, want) {
		b.t.Errorf("the table is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func shop() *fakeNode {
	return &fakeNode{
		workloads: []Workload{{Cgroup: 1, Path: "/a", Identity: identity("web")}, {Cgroup: 2, Path: "/b", Identity: identity("web")}, {Cgroup: 3, Path: "/c", Identity: identity("db")}},
		reached:   map[string][]Endpoint{"db": {{Prefix: prefix("10.0.0.3/32")}, {prefix("10.96.0.3/32"), 5432, 6}}, "far": {{Prefix: prefix("10.0.9.9/32")}}},
		from:      map[string][]netip.Addr{"web": {addr("10.0.0.1"), addr("10.0.0.2")}, "far": {addr("10.0.9.9")}},
		named:     map[string][]netip.Addr{"api.example": {addr("192.0.2.1"), addr("2001:db8::1")}},
		services:  map[string][]Endpoint{"db.shop": {{prefix("10.96.0.3/32"), 5432, 6}}, "kubernetes.default": {{prefix("10.96.0.1/32"), 443, 6}}},
	}
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		to   string
		want []string // without the cgroups of web
	}{
		{"*", []string{"1 to any 0/0: 1 until 3h0m0s, dry 0 until 0s"}},
		{"port:22/tcp", []string{"1 to any 22/6: 1 until 3h0m0s, dry 0 until 0s"}},
		{"net:10.1.0.0/16:53/udp", []string{"1 to 10.1.0.0/16 53/17: 1 until 3h0m0s, dry 0 until 0s"}},
		{"dns:api.example:443", []string{"1 to 192.0.2.1/32 443/0: 1 until 3h0m0s, dry 0 until 0s", "1 to 2001:db8::1/128 443/0: 1 until 3h0m0s, dry 0 until 0s"}},
		{"svc:db.shop", []string{"1 to 10.96.0.3/32 5432/6: 1 until 3h0m0s, dry 0 until 0s"}},
		{"svc:db.shop:5432/udp", nil},
		{"spiffe://shop.example/ns/shop/sa/far", []string{"1 to 10.0.9.9/32 0/0: 1 until 3h0m0s, dry 0 until 0s"}},
	} {
		b := newBench(t)
		b.take(b.decision("d", "web", c.to), at(0))
		want := c.want
		if want != nil {
			want = append(slices.Clone(want), "cgroup 1 is 1", "cgroup 2 is 1")
		}
		b.expect(shop(), want...)
	}
}

// Where the other end is an identity of this node, it refuses, too.
func TestOtherEnd(t *testing.T) {
	b := newBench(t)
	b.take(b.decision("d", "far", "spiffe://shop.example/ns/shop/sa/db:5432"), at(0))
	b.expect(shop(), "1 from 10.0.9.9/32 5432/0: 1 until 3h0m0s, dry 0 until 0s", "cgroup 3 is 1")
	b = newBench(t)
	b.take(b.decision("d", "far", "spiffe://shop.example/ns/shop/sa/web", func(d *event.Decision) { d.Direction = event.Inbound }), at(0))
	b.expect(shop(), "1 to 10.0.9.9/32 0/0: 1 until 3h0m0s, dry 0 until 0s", "cgroup 1 is 1", "cgroup 2 is 1")
	b = newBench(t)
	b.take(b.decision("d", "db", "spiffe://shop.example/ns/shop/sa/far:5432", func(d *event.Decision) { d.Direction = event.Both }), at(0))
	b.expect(shop(), "1 from 10.0.9.9/32 5432/0: 1 until 3h0m0s, dry 0 until 0s", "1 to 10.0.9.9/32 5432/0: 1 until 3h0m0s, dry 0 until 0s", "cgroup 3 is 1")
}

// Of several decisions about the same, that which holds longest counts; dry runs stand beside.
func TestSeveralDecisions(t *testing.T) {
	b := newBench(t)
	b.take(b.decision("short", "db", "*"), at(0))
	long := b.decision("long", "db", "*", func(d *event.Decision) { d.Expires = noon.Add(3 * time.Hour) })
	b.take(long, at(0))
	b.take(b.decision("dry", "db", "*", func(d *event.Decision) { d.Mode = event.DryRun }), at(0))
	b.expect(shop(), "1 to any 0/0: 2 until 4h0m0s, dry 3 until 3h0m0s", "cgroup 3 is 1")
	gone := long.Clone()
	b.serial++
	gone.Serial, gone.Revoked, gone.RevokedBy, gone.RevokedWhy = b.serial, noon, "tester", "over"
	check(t, gone.Sign(b.key))
	if got := b.engine.Take(gone, at(time.Minute)); got.State != event.AckEnded {
		t.Errorf("the revocation is %+v", got)
	}
	b.expect(shop(), "1 to any 0/0: 1 until 3h0m0s, dry 3 until 3h0m0s", "cgroup 3 is 1")
}

// Protected identities are left out of patterns, and the floor is carved out.
func TestRailsOfPatterns(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Protected = []string{"spiffe://shop.example/ns/shop/sa/d*"}
		f, err := event.ParseTarget("svc:kubernetes.default")
		check(t, err)
		c.Floor = []event.Target{f}
	})
	d := b.decision("d", "web", "*", func(d *event.Decision) { d.Identity, d.Glob = "spiffe://shop.example/ns/shop/*", true })
	b.take(d, at(0))
	n := shop()
	n.floor, n.own = []Endpoint{{prefix("10.9.9.9/32"), 4222, 6}}, []netip.Addr{addr("10.0.0.100")}
	b.expect(n,
		"0 from 10.0.0.100/32 0/0: 0 until 2562047h47m16.854775807s, dry 0 until 0s",
		"0 to 10.9.9.9/32 4222/6: 0 until 2562047h47m16.854775807s, dry 0 until 0s",
		"0 to 10.96.0.1/32 443/6: 0 until 2562047h47m16.854775807s, dry 0 until 0s",
		"1 to any 0/0: 1 until 3h0m0s, dry 0 until 0s", "cgroup 1 is 1", "cgroup 2 is 1")
	if h := b.engine.All()[0]; h.State != event.AckInForce || !strings.Contains(h.Why, "sa/db is protected") {
		t.Errorf("it is %s for %q", h.State, h.Why)
	}
	for c, want := range map[Connection]bool{
		{Cgroup: 1, Peer: addr("192.0.2.1"), Port: 80, Protocol: 6}:                true,
		{Cgroup: 1, Peer: addr("10.9.9.9"), Port: 4222, Protocol: 6}:               false,
		{Cgroup: 1, Peer: addr("10.96.0.1"), Port: 443, Protocol: 6}:               false,
		{Cgroup: 1, Peer: addr("10.96.0.1"), Port: 80, Protocol: 6}:                true,
		{Cgroup: 1, Peer: addr("::ffff:127.0.0.1"), Port: 80, Protocol: 6}:         false,
		{Cgroup: 3, Peer: addr("192.0.2.1"), Port: 80, Protocol: 6}:                false,
		{Cgroup: 1, Peer: addr("192.0.2.1"), Port: 80, Protocol: 6, Inbound: true}: false,
	} {
		if _, got := b.engine.Refuses(c, at(0).Boot); got != want {
			t.Errorf("%+v: refused %v", c, got)
		}
	}
	if _, late := b.engine.Refuses(Connection{Cgroup: 1, Peer: addr("192.0.2.1"), Port: 80, Protocol: 6}, 4*time.Hour); late {
		t.Error("a connection is refused after the end")
	}
}

// A number that was given back is another's only after a table without it.
func TestSubjectsRest(t *testing.T) {
	b := newBench(t)
	web, db := b.decision("web", "web", "*"), b.decision("db", "db", "*")
	b.take(web, at(0))
	b.engine.Resolve(shop())
	b.engine.end(b.engine.held["web"], "test")
	b.engine.Forget(b.engine.held["web"])
	b.take(db, at(0))
	if got := b.engine.Resolve(shop()).Cgroups; got[3] != 2 || len(got) != 1 {
		t.Errorf("the subjects are %v: web's number is in the kernel still", got)
	}
	b.take(b.decision("again", "web", "*"), at(0))
	if got := b.engine.Resolve(shop()).Cgroups; got[1] != 1 || got[3] != 2 {
		t.Errorf("the subjects are %v", got)
	}
}

// What ended does not begin again when the clock of the wall is set back, nor is its end told again; a revocation counts whatever that clock says.
func TestEndsForGood(t *testing.T) {
	b := newBench(t)
	over := func(m Moment) {
		t.Helper()
		for _, h := range b.engine.Expire(m) {
			b.engine.Forget(h)
		}
	}
	d := b.decision("d", "db", "*")
	b.take(d, at(0))
	over(at(2 * time.Hour))
	if got := b.engine.Take(d, Moment{noon.Add(time.Hour), 3 * time.Hour}); !got.Known || b.engine.Living() != 0 {
		t.Errorf("after its end it is %+v", got)
	}
	for _, clock := range []time.Duration{-30 * time.Hour, 30 * time.Hour} {
		d := b.decision(fmt.Sprintf("clock%d", clock), "db", "*")
		b.take(d, at(0))
		revoked := d.Clone()
		b.serial++
		revoked.Serial, revoked.Revoked, revoked.RevokedBy, revoked.RevokedWhy = b.serial, noon.Add(time.Minute), "tester", "over"
		forged := revoked.Clone()
		check(t, revoked.Sign(b.key))
		m := Moment{noon.Add(clock), time.Hour + time.Minute}
		if got := b.engine.Take(forged, m); got.State != event.AckRefused || b.engine.Living() != 1 {
			t.Errorf("a forged revocation is %+v", got)
		}
		if got := b.engine.Take(revoked, m); got.State != event.AckEnded || got.Known || b.engine.Living() != 0 {
			t.Errorf("with a clock off by %s, a revocation is %+v", clock, got)
		}
		over(m)
		b.engine.Save()
		m = at(time.Minute)
		if got := b.engine.Take(revoked, m); got.State != event.AckEnded || !got.Known {
			t.Errorf("the same revocation is %+v", got)
		}
		if _, changed, _ := b.engine.Save(); changed {
			t.Error("the same revocation changes something")
		}
		if got := b.engine.Take(d, m); got.State == event.AckReceived {
			t.Errorf("the form before it is %+v", got)
		}
	}
}

// Answers of resolvers on the floor come to sockets that are not connected.
func TestFloorAnswers(t *testing.T) {
	b := newBench(t)
	b.take(b.decision("d", "db", "*", func(d *event.Decision) { d.Direction = event.Both }), at(0))
	n := shop()
	n.floor = []Endpoint{{prefix("10.9.9.9/32"), 53, 0}, {prefix("10.9.9.8/32"), 4222, 6}}
	b.engine.Resolve(n)
	for c, want := range map[Connection]bool{
		{Cgroup: 3, Inbound: true, Peer: addr("10.9.9.9"), Port: 40000, Protocol: 17}: false,
		{Cgroup: 3, Inbound: true, Peer: addr("10.9.9.9"), Port: 40000, Protocol: 6}:  true,
		{Cgroup: 3, Inbound: true, Peer: addr("10.9.9.8"), Port: 40000, Protocol: 17}: true,
	} {
		if _, got := b.engine.Refuses(c, at(0).Boot); got != want {
			t.Errorf("%+v: refused %v", c, got)
		}
	}
}

// What does not fit fails whole, and says so.
func TestBounds(t *testing.T) {
	b := newBench(t)
	for i := range 20 {
		b.take(b.decision(fmt.Sprintf("n%02d", i), "db", fmt.Sprintf("net:10.0.0.0/%d", 8+i)), at(0))
	}
	table := b.engine.Resolve(shop())
	failed := 0
	for _, h := range b.engine.All() {
		if h.State == event.AckFailed && strings.Contains(h.Why, "more than 16 sorts") && h.Entries == 0 {
			failed++
		}
	}
	if failed != 4 || len(table.Rules) != 16 {
		t.Errorf("%d fail, %d rules", failed, len(table.Rules))
	}
	b = newBench(t, func(c *Config) { c.Slots = 4 })
	for i := range 5 {
		got := b.engine.Take(b.decision(fmt.Sprint("s", i), "db", "*"), at(0))
		if want := i < 3; (got.State == event.AckReceived) != want {
			t.Errorf("decision %d is %+v", i, got)
		}
	}
}

func TestCircuitBreaker(t *testing.T) {
	b := newBench(t)
	automatic := func(i int, at time.Duration) *event.Decision {
		return b.decision(fmt.Sprintf("a%d", i), "db", "*", func(d *event.Decision) {
			d.Automatic, d.Issued, d.Expires = true, noon.Add(at), noon.Add(at+time.Hour)
		})
	}
	received := 0
	for i := range 30 {
		if b.engine.Take(automatic(i, time.Duration(i)*time.Second), at(time.Duration(i)*time.Second)).State == event.AckReceived {
			received++
		}
	}
	if received != b.cfg.AutomaticPerMinute {
		t.Errorf("%d are received in half a minute, %d may be", received, b.cfg.AutomaticPerMinute)
	}
	for i := range 30 {
		when := 10*time.Minute + time.Duration(i)*10*time.Second
		if b.engine.Take(automatic(100+i, when), at(when)).State == event.AckReceived {
			received++
		}
	}
	if received != b.cfg.AutomaticMax {
		t.Errorf("%d hold, %d may", received, b.cfg.AutomaticMax)
	}
	// People are not stopped by it.
	b.take(b.decision("person", "db", "*"), at(0))
	if c := b.engine.Counters(); c["deny-refused-breaker"] != 45 || c["deny-refused"] != 45 {
		t.Errorf("counters are %v", c)
	}
}

// The clock of the wall changes nothing of what is held, also over a restart; what was written down counts only with its signature.
func TestRestore(t *testing.T) {
	b := newBench(t)
	d := b.decision("d", "db", "*")
	b.take(d, at(0))
	data, changed, err := b.engine.Save()
	check(t, err)
	if _, again, _ := b.engine.Save(); !changed || again {
		t.Errorf("saved %v, then %v", changed, again)
	}
	for _, c := range []struct {
		name string
		boot string
		at   Moment
		want time.Duration // deadline; 0: it is not held
	}{
		{"at once", "boot-1", at(time.Minute), 3 * time.Hour},
		{"the clock was set a day back", "boot-1", Moment{noon.Add(-24 * time.Hour), 2 * time.Hour}, 3 * time.Hour},
		{"the clock was set a day ahead", "boot-1", Moment{noon.Add(24 * time.Hour), 2 * time.Hour}, 3 * time.Hour},
		{"it has ended", "boot-1", Moment{noon, 3 * time.Hour}, 0},
		{"the machine was started again", "boot-2", Moment{noon.Add(time.Hour), time.Minute}, time.Hour + time.Minute},
		{"the machine was started again, and its clock is behind", "boot-2", Moment{noon.Add(-24 * time.Hour), time.Minute}, 2*time.Hour + time.Minute},
		{"the machine was started again, later", "boot-2", Moment{noon.Add(3 * time.Hour), time.Minute}, 0},
	} {
		cfg := b.cfg
		cfg.Boot = c.boot
		e := New(cfg)
		check(t, e.Restore(data, c.at))
		all := e.All()
		switch {
		case c.want == 0 && len(all) != 0, c.want != 0 && (len(all) != 1 || all[0].Deadline != c.want):
			t.Errorf("%s: %d are held, want until %s", c.name, len(all), c.want)
		case c.want != 0:
			if got := e.Take(d, c.at); !got.Known { // it comes again from the stream
				t.Errorf("%s: taken again, it is %+v", c.name, got)
			}
		}
	}
	var s saved
	check(t, json.Unmarshal(data, &s))
	s.Held[0].Decision.To = "net:10.0.0.0/8"
	altered, err := json.Marshal(s)
	check(t, err)
	e := New(b.cfg)
	check(t, e.Restore(altered, at(0)))
	if len(e.All()) != 0 {
		t.Error("an altered decision is believed")
	}
	if err := New(b.cfg).Restore([]byte("{"), at(0)); err == nil {
		t.Error("half a file is taken")
	}
	// An older form is a replay after the restart, too.
	newer := b.decision("d", "db", "*")
	b.take(newer, at(time.Minute))
	data, _, err = b.engine.Save()
	check(t, err)
	e = New(b.cfg)
	check(t, e.Restore(data, at(time.Minute)))
	if got := e.Take(d, at(2*time.Minute)); got.State != event.AckRefused || !strings.Contains(got.Why, "replay") {
		t.Errorf("the older form is %+v", got)
	}
	if again := e.Take(d, at(2*time.Minute)); !again.Known {
		t.Errorf("the same refusal is told again: %+v", again)
	}
}

// A peer that has shown who it is.
func TestRefusesPeer(t *testing.T) {
	b := newBench(t)
	b.take(b.decision("d", "web", "spiffe://shop.example/ns/shop/sa/far:443/tcp"), at(0))
	b.engine.Resolve(shop())
	c := Connection{Cgroup: 1, Peer: addr("203.0.113.7"), Port: 443, Protocol: 6}
	inbound, other, local := c, c, c
	inbound.Inbound, other.Port, local.Peer = true, 80, addr("127.0.0.1")
	for _, x := range []struct {
		own, peer string
		c         Connection
		want      bool
	}{
		{"web", "far", c, true}, {"web", "db", c, false}, {"db", "far", c, false}, {"web", "far", inbound, false}, {"web", "far", other, false}, {"web", "far", local, false},
		{"far", "web", inbound, true}, {"far", "web", c, false},
	} {
		if _, got := b.engine.RefusesPeer(identity(x.own), identity(x.peer), x.c, at(0).Boot); got != x.want {
			t.Errorf("%s and %s, %+v: %v", x.own, x.peer, x.c, got)
		}
	}
	if _, late := b.engine.RefusesPeer(identity("web"), identity("far"), c, 4*time.Hour); late {
		t.Error("after its end it is refused")
	}
}

func TestShared(t *testing.T) {
	b := newBench(t, func(c *Config) { c.DryRun = true })
	b.take(b.decision("d", "db", "*"), at(0))
	b.take(b.decision("w", "web", "*"), at(0))
	n := shop()
	n.workloads[2].Shared = true
	n.workloads[1].Own = true
	b.expect(n, "1 to any 0/0: 0 until 0s, dry 2 until 3h0m0s", "cgroup 1 is 1")
	for _, h := range b.engine.All() {
		switch h.Decision.ID {
		case "d":
			if h.State != event.AckFailed || !strings.Contains(h.Why, "shared") {
				t.Errorf("a shared cgroup is %s for %q", h.State, h.Why)
			}
		case "w":
			if h.State != event.AckInForce || !strings.Contains(h.Why, "Ambit itself") || !strings.Contains(h.Why, "only counts") {
				t.Errorf("web is %s for %q", h.State, h.Why)
			}
		}
	}
}
