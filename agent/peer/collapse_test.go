package peer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"pgregory.net/rapid"
)

// resolver gives a Names answers, a new address for each name.
type resolver struct {
	t    testing.TB
	n    *Names
	last netip.Addr
}

func (r *resolver) ask(cgroup uint64, name string, after time.Duration) netip.Addr {
	r.t.Helper()
	r.last = r.last.Next()
	if added, err := r.n.Answer(cgroup, simple(r.t, name, r.last.String()), start.Add(after)); added != 1 || err != nil {
		r.t.Fatalf("%s: %d, %v", name, added, err)
	}
	return r.last
}

func (r *resolver) want(cgroup uint64, a netip.Addr, after time.Duration, want string) {
	r.t.Helper()
	got, ok := r.n.Name(cgroup, a, start.Add(after))
	if got.Name != want || ok != (want != "") || got.Collapsed != strings.HasPrefix(want, "*.") {
		r.t.Errorf("%s after %s is %+v, %v; want %q", a, after, got, ok, want)
	}
}

func TestMachineNames(t *testing.T) {
	r := resolver{t, New(Config{}), netip.MustParseAddr("10.0.0.0")}
	for name, want := range collapsed {
		r.want(1, r.ask(1, name, 0), 0, want)
	}
	for name := range kept {
		if _, err := netip.ParseAddr(name); err != nil {
			r.want(1, r.ask(1, name, 0), 0, name)
		}
	}
	// However many there are, they are one.
	for i := range 200 {
		r.want(2, r.ask(2, fmt.Sprintf("10-0-1-%d.shop.pod.cluster.local", i), 0), 0, "*.shop.pod.cluster.local")
	}
	r.want(2, r.ask(2, "other.cluster.local", 0), 0, "other.cluster.local")
	held := r.n.domains.held
	for i := range 200 {
		r.want(2, r.ask(2, fmt.Sprintf("dualstack.shop-%d.us-east-1.elb.amazonaws.com", i), 0), 0, "*.us-east-1.elb.amazonaws.com")
	}
	if r.n.domains.held != held {
		t.Errorf("%d names are remembered of what stands for all already", r.n.domains.held-held)
	}
	if g, c := r.n.Gauges(), r.n.Counters(); g["dns-collapsed-domains"] != 0 || c["dns-names-collapsed"] != 0 {
		t.Error(g, c)
	}
}

func TestTooManyNames(t *testing.T) {
	r := resolver{t, New(Config{}), netip.MustParseAddr("10.0.0.0")}
	var addresses []netip.Addr
	for i := range 64 {
		addresses = append(addresses, r.ask(1, fmt.Sprintf("n%d.example.co.uk", i), 0))
		r.ask(1, fmt.Sprintf("n%d.example.co.uk", i), 0)
	}
	apex, other := r.ask(1, "example.co.uk", 0), r.ask(1, "n1.other.co.uk", 0)
	for i, a := range addresses {
		r.want(1, a, 0, fmt.Sprintf("n%d.example.co.uk", i))
	}
	r.want(1, r.ask(2, "n64.example.co.uk", 0), 0, "")
	new := r.ask(1, "a.b.c.example.co.uk", 0)
	for _, a := range append(addresses, new) {
		r.want(1, a, 0, "*.example.co.uk")
	}
	r.want(1, apex, 0, "example.co.uk")
	r.want(1, other, 0, "n1.other.co.uk")
	r.want(2, r.ask(2, "n1.example.co.uk", 0), 0, "n1.example.co.uk")
	if g, c := r.n.Gauges(), r.n.Counters(); g["dns-collapsed-domains"] != 1 || c["dns-names-collapsed"] != 1 || c["dns-domains-evicted"] != 0 {
		t.Error(g, c)
	}

	// It stays while it is used, by old names too, and ends when it was idle.
	r.want(1, addresses[3], 59*time.Minute, "*.example.co.uk")
	r.want(1, r.ask(1, "n70.example.co.uk", 118*time.Minute), 118*time.Minute, "*.example.co.uk")
	r.want(1, addresses[4], 118*time.Minute, "")
	r.want(1, r.ask(1, "n71.example.co.uk", 4*time.Hour), 4*time.Hour, "n71.example.co.uk")
	if g := r.n.Gauges(); g["dns-collapsed-domains"] != 0 {
		t.Error(g)
	}
}

// An answer that is good for long keeps its domain too.
func TestTooManyNamesOfLongAnswers(t *testing.T) {
	n := New(Config{MaxNamesPerDomain: 1})
	for i := range 2 {
		name := fmt.Sprintf("n%d.example.com", i)
		if _, err := n.Answer(1, answer(t, response, name, dnsmessage.TypeA, record{fmt.Sprintf("%s A 10.0.0.%d", name, i), 7200 * uint32(1+i)}), start); err != nil {
			t.Fatal(err)
		}
	}
	r := resolver{t, n, netip.MustParseAddr("10.1.0.0")}
	r.want(1, r.ask(1, "n3.example.com", 3*time.Hour), 3*time.Hour, "*.example.com")
	r.want(1, netip.MustParseAddr("10.0.0.1"), 3*time.Hour, "*.example.com")
}

func TestTenantsStayApart(t *testing.T) {
	r := resolver{t, New(Config{}), netip.MustParseAddr("10.0.0.0")}
	for i := range 300 {
		for _, suffix := range []string{"s3.xx-new-9.amazonaws.com", "blob.core.windows.net", "storage.googleapis.com", "example"} {
			name := fmt.Sprintf("tenant-%d.%s", i, suffix)
			r.want(1, r.ask(1, name, 0), 0, name)
		}
	}
	for i := range 65 {
		r.ask(1, fmt.Sprintf("svc-%d.shop.svc.cluster.local", i), 0)
	}
	r.want(1, r.last, 0, "*.shop.svc.cluster.local")
	r.want(1, r.ask(1, "db.bank.svc.cluster.local", 0), 0, "db.bank.svc.cluster.local")
}

func TestDomainsAreBounded(t *testing.T) {
	n := New(Config{MaxNames: 500, MaxNamesPerCgroup: 200, MaxCgroups: 10})
	r := resolver{t, n, netip.MustParseAddr("10.0.0.0")}
	for cgroup := range uint64(30) {
		for i := range 100 {
			r.ask(cgroup, fmt.Sprintf("n%d.d%d.example", i%9, i), 0)
			r.ask(cgroup, fmt.Sprintf("n%d.many.example", i), 0)
			checkCrowds(t, n.domains)
		}
		r.want(cgroup, r.last, 0, "*.many.example")
	}
	if n.Counters()["dns-domains-evicted"] == 0 {
		t.Error("evictions were not counted")
	}
}

// A name whose domain was forgotten for others is counted anew when it is asked for again.
func TestForgottenDomains(t *testing.T) {
	n := New(Config{MaxNamesPerDomain: 2, MaxNamesPerCgroup: 3})
	r := resolver{t, n, netip.MustParseAddr("10.0.0.0")}
	a := r.ask(1, "n1.one.example", 0)
	for i := range 3 {
		r.ask(1, fmt.Sprintf("n.d%d.example", i), 0)
	}
	if n.domains.evicted != 1 {
		t.Errorf("%d evicted", n.domains.evicted)
	}
	r.want(1, a, 0, "n1.one.example")
	if _, err := n.Answer(1, simple(t, "n1.one.example", a.String()), start); err != nil {
		t.Fatal(err)
	}
	r.ask(1, "n2.one.example", 0)
	r.want(1, r.ask(1, "n3.one.example", 0), 0, "*.one.example")
	r.want(1, a, 0, "*.one.example")
	checkCrowds(t, n.domains)
}

// Whatever is asked for, what it is told as is the name, or a part of it that is not shared by parties; and the same answers are told alike.
func TestNamesHold(t *testing.T) {
	list := list(t)
	rapid.Check(t, func(rt *rapid.T) {
		n, again := New(Config{MaxNamesPerDomain: 2, Keep: time.Hour}), New(Config{MaxNamesPerDomain: 2, Keep: time.Hour})
		at := start
		label := rapid.SampledFrom([]string{"a", "b", "c", "d", "10-0-0-1", "d111abcdef8"})
		suffix := rapid.SampledFrom([]string{"example.com", "example.co.uk", "s3.amazonaws.com", "cloudfront.net", "shop.svc.cluster.local", "shop.pod.cluster.local", "local"})
		distinct := map[string]bool{}
		for i := range rapid.IntRange(1, 60).Draw(rt, "answers") {
			name := strings.Join(append(rapid.SliceOfN(label, 1, 3).Draw(rt, "labels"), suffix.Draw(rt, "suffix")), ".")
			address := netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(1, 20).Draw(rt, "address"))})
			at = at.Add(time.Duration(rapid.IntRange(0, 30).Draw(rt, "minutes")) * time.Minute)
			message := simple(t, name, address.String())
			var told [2]Named
			for j, n := range []*Names{n, again} {
				if _, err := n.Answer(1, message, at); err != nil {
					rt.Fatalf("answer %d: %v", i, err)
				}
				told[j], _ = n.Name(1, address, at)
				checkCrowds(rt, n.domains)
			}
			got, domain := told[0], list.domain(name)
			if got != told[1] {
				rt.Fatalf("%s is told as %v and as %v", name, told[0], told[1])
			}
			if got.Name != list.collapse(name) && (got.Name != "*."+domain || !got.Collapsed) {
				rt.Fatalf("%s is told as %v", name, got)
			}
			distinct[list.collapse(name)] = true
			if len(distinct) <= 2 && got.Name != list.collapse(name) {
				rt.Fatalf("%s is told as %v, though there are few", name, got)
			}
		}
	})
}

// What counts is the name that was answered, not those that were tried along the search domains before.
func TestSearchDomains(t *testing.T) {
	n := New(Config{})
	missing := dnsmessage.Header{Response: true, RCode: dnsmessage.RCodeNameError}
	give := func(header dnsmessage.Header, name string, kind dnsmessage.Type, records ...record) {
		t.Helper()
		if added, err := n.Answer(1, answer(t, header, name, kind, records...), start); added != len(records) || err != nil {
			t.Errorf("%s: %d, %v", name, added, err)
		}
	}
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		for _, domain := range []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"} {
			give(missing, "api.example.com."+domain, kind)
		}
	}
	give(response, "api.example.com", dnsmessage.TypeA, record{line: "api.example.com A 10.0.0.1"})
	give(response, "api.example.com", dnsmessage.TypeAAAA, record{line: "api.example.com AAAA fd00::1"})
	give(response, "db.shop.svc.cluster.local", dnsmessage.TypeA, record{line: "db.shop.svc.cluster.local A 10.96.0.7"})
	give(response, "db.shop.svc.cluster.local", dnsmessage.TypeAAAA) // it exists, without such an address
	give(missing, "db", dnsmessage.TypeA)
	want := map[string]string{"10.0.0.1": "api.example.com", "fd00::1": "api.example.com", "10.96.0.7": "db.shop.svc.cluster.local"}
	if got := known(n, 1); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	if n.domains.held != 2 {
		t.Errorf("%d names are remembered, want those of the two that exist", n.domains.held)
	}
}

// Aliases lead to addresses wherever they stand.
func TestAliasesInAnyOrder(t *testing.T) {
	records := []record{
		{line: "api.example.com CNAME a.example.net"}, {line: "a.example.net CNAME b.example.net"}, {line: "b.example.net CNAME c.example.net"},
		{line: "c.example.net A 10.0.0.1"}, {line: "c.example.net A 10.0.0.2"}, {line: "bank.example A 10.6.6.6"}, {line: "x.example CNAME y.example"},
	}
	rapid.Check(t, func(rt *rapid.T) {
		n := New(Config{})
		message := answer(t, response, "api.example.com", dnsmessage.TypeA, rapid.Permutation(records).Draw(rt, "order")...)
		if added, err := n.Answer(1, message, start); added != 2 || err != nil {
			rt.Fatalf("%d, %v", added, err)
		}
		if got := known(n, 1); got["10.0.0.1"] != "api.example.com" || got["10.0.0.2"] != "api.example.com" {
			rt.Fatal(got)
		}
	})
	// Two that lead to each other lead nowhere, and a chain without end does end.
	n := New(Config{})
	loop := answer(t, response, "a.example", dnsmessage.TypeA, record{line: "b.example CNAME a.example"}, record{line: "a.example CNAME b.example"},
		record{line: "b.example A 10.0.0.1"})
	if added, err := n.Answer(1, loop, start); added != 1 || err != nil {
		t.Errorf("%d, %v", added, err)
	}
	var chain []record
	for i := range 100 {
		chain = append([]record{{line: fmt.Sprintf("n%d.example CNAME n%d.example", i, i+1)}}, chain...)
	}
	if added, err := n.Answer(1, answer(t, response, "n0.example", dnsmessage.TypeA, append(chain, record{line: "n100.example A 10.0.0.1"})...), start); added != 0 || err != nil {
		t.Errorf("%d, %v", added, err)
	}
}

func BenchmarkNewNames(b *testing.B) {
	n := New(Config{})
	var messages [][]byte
	for i := range 5000 {
		messages = append(messages, simple(b, fmt.Sprintf("n%d.d%d.example", i, i%500), "10.0.0.1"))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n.Answer(1, messages[i%len(messages)], start)
	}
}
