package peer

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

var start = time.Date(2026, 11, 21, 22, 0, 0, 0, time.UTC)

// record is one line of an answer, "name A 10.0.0.1" or "name CNAME other", with the TTL in seconds where it matters.
type record struct {
	line string
	ttl  uint32
}

func fullName(t testing.TB, name string) dnsmessage.Name {
	t.Helper()
	n, err := dnsmessage.NewName(name + ".")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// answer builds a message as resolvers do, with compression.
func answer(t testing.TB, header dnsmessage.Header, question string, kind dnsmessage.Type, records ...record) []byte {
	t.Helper()
	b := dnsmessage.NewBuilder(nil, header)
	b.EnableCompression()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(b.StartQuestions())
	if question != "" {
		check(b.Question(dnsmessage.Question{Name: fullName(t, question), Type: kind, Class: dnsmessage.ClassINET}))
	}
	check(b.StartAnswers())
	for _, r := range records {
		f := strings.Fields(r.line)
		h := dnsmessage.ResourceHeader{Name: fullName(t, f[0]), Class: dnsmessage.ClassINET, TTL: r.ttl}
		switch f[1] {
		case "A":
			check(b.AResource(h, dnsmessage.AResource{A: netip.MustParseAddr(f[2]).As4()}))
		case "AAAA":
			check(b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(f[2]).As16()}))
		case "CNAME":
			check(b.CNAMEResource(h, dnsmessage.CNAMEResource{CNAME: fullName(t, f[2])}))
		case "TXT":
			check(b.TXTResource(h, dnsmessage.TXTResource{TXT: f[2:]}))
		case "HTTPS":
			check(b.UnknownResource(h, dnsmessage.UnknownResource{Type: 65, Data: []byte{0, 1, 0, 0, 4, 0, 4, 10, 9, 9, 9}}))
		}
	}
	message, err := b.Finish()
	check(err)
	return message
}

var response = dnsmessage.Header{Response: true}

func simple(t testing.TB, name, address string) []byte {
	t.Helper()
	kind := "A"
	if strings.Contains(address, ":") {
		kind = "AAAA"
	}
	return answer(t, response, name, dnsmessage.TypeA, record{line: name + " " + kind + " " + address})
}

func TestAnswer(t *testing.T) {
	f := func(what string, message []byte, wantErr error, want map[string]string) {
		t.Helper()
		n := New(Config{})
		added, err := n.Answer(7, message, start)
		if !errors.Is(err, wantErr) || added != len(want) {
			t.Errorf("%s: %d addresses, %v; want %d, %v", what, added, err, len(want), wantErr)
		}
		for address, name := range want {
			if got, _ := n.Name(7, netip.MustParseAddr(address), start); got.Name != name {
				t.Errorf("%s: %s is %+v, want %q", what, address, got, name)
			}
		}
	}
	f("both families", answer(t, response, "api.example.com", dnsmessage.TypeALL,
		record{line: "api.example.com A 10.0.0.1"}, record{line: "api.example.com AAAA fd00::1"}), nil,
		map[string]string{"10.0.0.1": "api.example.com", "fd00::1": "api.example.com"})
	f("aliases lead to the name that was asked for", answer(t, response, "API.Example.com", dnsmessage.TypeA,
		record{line: "api.example.com CNAME lb.example.net"}, record{line: "LB.example.net CNAME x_1.cdn.example"},
		record{line: "x_1.cdn.example A 10.0.0.1"}, record{line: "x_1.cdn.example A 10.0.0.2"}), nil,
		map[string]string{"10.0.0.1": "api.example.com", "10.0.0.2": "api.example.com"})
	f("records of other names are no answer", answer(t, response, "api.example.com", dnsmessage.TypeA,
		record{line: "bank.example A 10.0.0.1"}, record{line: "api.example.com A 10.0.0.2"}), nil, map[string]string{"10.0.0.2": "api.example.com"})
	f("an address that is IPv4 in IPv6 is IPv4", simple(t, "a.example", "::ffff:10.0.0.1"), nil, map[string]string{"10.0.0.1": "a.example"})
	f("other types are skipped", answer(t, response, "a.example", dnsmessage.TypeA,
		record{line: "a.example TXT hello"}, record{line: "a.example HTTPS"}, record{line: "a.example A 10.0.0.1"}), nil, map[string]string{"10.0.0.1": "a.example"})
	f("loopback is an address", simple(t, "db.local", "127.0.0.2"), nil, map[string]string{"127.0.0.2": "db.local"})
	f("filters say no with 0.0.0.0", simple(t, "ads.example", "0.0.0.0"), nil, nil)
	f("question of another type", answer(t, response, "a.example", dnsmessage.TypeMX, record{line: "a.example A 10.0.0.1"}), nil, nil)
	f("no such name", answer(t, dnsmessage.Header{Response: true, RCode: dnsmessage.RCodeNameError}, "a.example", dnsmessage.TypeA), nil, nil)
	f("marked as truncated", answer(t, dnsmessage.Header{Response: true, Truncated: true}, "a.example", dnsmessage.TypeA, record{line: "a.example A 10.0.0.1"}), nil,
		map[string]string{"10.0.0.1": "a.example"})

	f("question only", answer(t, dnsmessage.Header{}, "a.example", dnsmessage.TypeA), ErrNotAnswer, nil)
	f("no question", answer(t, response, "", 0), ErrNotAnswer, nil)
	f("not a host name", simple(t, "a b.example", "10.0.0.1"), ErrName, nil)
	f("wildcard", simple(t, "*.example", "10.0.0.1"), ErrName, nil)
	f("empty", nil, ErrMalformed, nil)
	f("text", []byte("this is not DNS at all, but long enough for a header"), ErrNotAnswer, nil)
	f("text behind a header", append([]byte{0, 1, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0}, "this is no question"...), ErrMalformed, nil)

	long := answer(t, response, "a.example", dnsmessage.TypeA, record{line: "a.example A 10.0.0.1"}, record{line: "a.example A 10.0.0.2"})
	f("cut off in the second record", long[:len(long)-2], ErrMalformed, map[string]string{"10.0.0.1": "a.example"})

	// A name that points to itself.
	loop := append([]byte{0, 1, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0}, 0xc0, 12, 0, 1, 0, 1)
	f("compression loop", loop, ErrMalformed, nil)
}

func TestNamesAreTheWorkloadsOwn(t *testing.T) {
	n := New(Config{Keep: time.Hour})
	address := netip.MustParseAddr("10.0.0.1")
	give := func(cgroup uint64, name string, ttl uint32, at time.Time) {
		t.Helper()
		message := answer(t, response, name, dnsmessage.TypeA, record{name + " A 10.0.0.1", ttl})
		if added, err := n.Answer(cgroup, message, at); added != 1 || err != nil {
			t.Fatalf("%d, %v", added, err)
		}
	}
	f := func(cgroup uint64, after time.Duration, want string) {
		t.Helper()
		if got, ok := n.Name(cgroup, address, start.Add(after)); got.Name != want || ok != (want != "") {
			t.Errorf("cgroup %d after %s: %+v, %v; want %q", cgroup, after, got, ok, want)
		}
	}
	give(1, "one.example", 5, start)
	give(2, "two.example", 5, start)
	f(1, 0, "one.example")
	f(2, 0, "two.example")
	f(3, 0, "")

	give(1, "newer.example", 5, start.Add(time.Minute))
	f(1, time.Minute, "newer.example")
	f(2, time.Minute, "two.example")

	// What is used stays, what is not used goes.
	f(1, time.Minute+59*time.Minute, "newer.example")
	f(1, time.Minute+118*time.Minute, "newer.example")
	f(2, time.Minute+time.Hour+time.Second, "")
	give(2, "two.example", 3*3600, start)
	f(2, 3*time.Hour, "two.example")
	give(3, "long.example", 1<<31-1, start)
	f(3, 25*time.Hour, "")

	// The kernel side gives addresses as the socket has them.
	give(4, "four.example", 5, start)
	if got, _ := n.Name(4, netip.MustParseAddr("::ffff:10.0.0.1"), start); got.Name != "four.example" {
		t.Errorf("mapped address: %+v", got)
	}
}

func TestBounds(t *testing.T) {
	n := New(Config{MaxAddresses: 100, MaxAddressesPerCgroup: 30, MaxCgroups: 20})
	given := 0
	for cgroup := range uint64(50) {
		for i := range 40 {
			message := simple(t, fmt.Sprintf("n%d.example", i), fmt.Sprintf("10.0.%d.%d", cgroup, i))
			if _, err := n.Answer(cgroup, message, start); err != nil {
				t.Fatal(err)
			}
			given++
		}
	}
	kept := 0
	for cgroup := range uint64(50) {
		for i := range 40 {
			if _, ok := n.Name(cgroup, netip.AddrFrom4([4]byte{10, 0, byte(cgroup), byte(i)}), start); ok {
				kept++
			}
		}
	}
	if kept > 100 || kept < 90 || n.total != kept || uint64(given-kept) != n.Counters()["dns-evicted"] {
		t.Errorf("kept %d of %d, total %d, counted %v", kept, given, n.total, n.Counters())
	}
	if _, ok := n.Name(49, netip.MustParseAddr("10.0.49.39"), start); !ok {
		t.Error("the newest name is gone")
	}
}

func TestManyAddresses(t *testing.T) {
	var records []record
	for i := range 200 {
		records = append(records, record{line: fmt.Sprintf("a.example A 10.0.0.%d", i+1)})
	}
	n := New(Config{})
	if added, err := n.Answer(1, answer(t, response, "a.example", dnsmessage.TypeA, records...), start); added != maxAddresses || err != nil {
		t.Errorf("%d, %v", added, err)
	}
	if got := n.Counters()["dns-too-many"]; got != 200-maxAddresses {
		t.Errorf("beyond bounds: %d", got)
	}
}

func TestKnownNamesDoNotAllocate(t *testing.T) {
	n := New(Config{})
	message := simple(t, "a.example", "10.0.0.1")
	if _, err := n.Answer(1, message, start); err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddr("::ffff:10.0.0.1")
	if got := testing.AllocsPerRun(100, func() { n.Name(1, address, start) }); got != 0 {
		t.Errorf("Name: %v allocations", got)
	}
	if got := testing.AllocsPerRun(100, func() { n.Answer(1, message, start) }); got > 1 {
		t.Errorf("Answer: %v allocations", got)
	}
}

// Whatever arrives, names are host names, addresses can be connected to, and the books balance.
func FuzzAnswer(f *testing.F) {
	f.Add(simple(f, "a.example", "10.0.0.1"))
	f.Add(answer(f, response, "a.example", dnsmessage.TypeAAAA, record{line: "a.example CNAME b.example"}, record{line: "b.example AAAA fd00::1"}))
	f.Add(answer(f, dnsmessage.Header{}, "a.example", dnsmessage.TypeA))
	f.Add([]byte{0, 1, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1})
	f.Fuzz(func(t *testing.T, message []byte) {
		n := New(Config{})
		added, _ := n.Answer(1, message, start)
		if added != n.reply.n || n.total > added || added > maxAddresses {
			t.Fatalf("added %d, read %d, holds %d", added, n.reply.n, n.total)
		}
		for _, a := range n.reply.addresses[:added] {
			named, ok := n.Name(1, a, start)
			name := strings.TrimPrefix(named.Name, "*.")
			if !ok || named.Collapsed != (name != named.Name) || name == "" || len(name) > 253 || strings.ToLower(name) != name || strings.ContainsAny(name, " /\\\x00*") {
				t.Fatalf("%s is %q, %v", a, name, ok)
			}
			if a.IsUnspecified() || a.IsMulticast() || a.Is4In6() {
				t.Fatalf("address %s", a)
			}
		}
	})
}

func BenchmarkName(b *testing.B) {
	n := New(Config{})
	if _, err := n.Answer(1, simple(b, "a.example", "10.0.0.1"), start); err != nil {
		b.Fatal(err)
	}
	address := netip.MustParseAddr("10.0.0.1")
	b.ReportAllocs()
	for b.Loop() {
		n.Name(1, address, start)
	}
}

func BenchmarkAnswer(b *testing.B) {
	n := New(Config{})
	message := answer(b, response, "api.example.com", dnsmessage.TypeA, record{line: "api.example.com CNAME lb.example.net"},
		record{line: "lb.example.net A 10.0.0.1"}, record{line: "lb.example.net A 10.0.0.2"})
	b.ReportAllocs()
	b.SetBytes(int64(len(message)))
	for b.Loop() {
		n.Answer(1, message, start)
	}
}
