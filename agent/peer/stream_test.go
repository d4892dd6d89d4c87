package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"pgregory.net/rapid"
)

// stream puts messages in a row as TCP carries them.
func stream(messages ...[]byte) []byte {
	var s []byte
	for _, m := range messages {
		s = append(binary.BigEndian.AppendUint16(s, uint16(len(m))), m...)
	}
	return s
}

// long is an answer that does not fit into a segment.
func long(t testing.TB, name string, network, addresses int) []byte {
	t.Helper()
	var records []record
	for i := range addresses {
		records = append(records, record{line: fmt.Sprintf("%s A 10.%d.0.%d", name, network, i+1)})
	}
	return answer(t, response, name, dnsmessage.TypeA, records...)
}

type segment struct {
	from, to int
	cut      int // bytes at its end that are not told
}

func (s segment) give(n *Names, all []byte, base uint32, at time.Time) (int, error) {
	return n.Stream(7, 99, base+uint32(s.from), all[s.from:s.to-s.cut], s.to-s.from, at)
}

// known is what a cgroup's addresses are called.
func known(n *Names, cgroup uint64) map[string]string {
	names := map[string]string{}
	t := n.cgroups.Get(cgroup)
	if t == nil {
		return names
	}
	for a, e := range (*t).addresses.All() {
		names[a.String()] = e.told
	}
	return names
}

func checkStreams(t interface{ Fatalf(string, ...any) }, n *Names) {
	held := 0
	for key, f := range n.streams.flows.All() {
		waiting, end := 0, (*f).next
		for _, p := range (*f).ahead {
			if p.at < end || p.end() <= p.at || p.lost < 0 {
				t.Fatalf("flow %v: piece of %d at %d behind %d", key, len(p.data), p.at, end)
			}
			end = p.end()
			waiting += len(p.data) + pieceCost
		}
		if waiting != (*f).waiting || waiting > n.streams.perFlow || (*f).skip < 0 || !(*f).inStep && (*f).unfinished() {
			t.Fatalf("flow %v: %+v, %d waiting", key, *f, waiting)
		}
		held += (*f).held()
	}
	if held != n.streams.held || held > n.streams.total || n.streams.flows.Len() > n.streams.maxFlows {
		t.Fatalf("%d bytes held of %d flows, counted %d", held, n.streams.flows.Len(), n.streams.held)
	}
}

func TestStream(t *testing.T) {
	one, two, three := simple(t, "one.example", "10.0.0.1"), long(t, "two.example", 2, 100), simple(t, "three.example", "10.0.0.3")
	all := stream(one, two, three)
	first, second := 2+len(one), 4+len(one)+len(two)
	f := func(what string, base uint32, gaps uint64, want map[string]int, segments ...segment) {
		t.Helper()
		n := New(Config{})
		total := 0
		for _, s := range segments {
			added, err := s.give(n, all, base, start)
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			total += added
			checkStreams(t, n)
		}
		got := map[string]int{}
		for _, name := range known(n, 7) {
			got[strings.TrimSuffix(name, ".example")]++
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || total < got["one"]+got["two"]+got["three"] {
			t.Errorf("%s: %v, %d in all; want %v", what, got, total, want)
		}
		if c := n.Counters(); c["dns-stream-gaps"] != gaps || c["dns-malformed"] != 0 {
			t.Errorf("%s: %v; want %d gaps", what, c, gaps)
		}
	}
	everything := map[string]int{"one": 1, "two": 100, "three": 1}
	end := len(all)
	// Of the long one, 1000 bytes are its length, header, question, and 60 addresses of 16 bytes each.
	f("at once", 0, 0, everything, segment{to: end})
	f("message by message", 0, 0, everything, segment{to: first}, segment{from: first, to: second}, segment{from: second, to: end})
	f("length by itself", 0, 0, everything, segment{to: 1}, segment{from: 1, to: 2}, segment{from: 2, to: first + 1}, segment{from: first + 1, to: end})
	f("out of order", 0, 0, everything, segment{from: 900, to: end}, segment{from: 40, to: 900}, segment{to: 40})
	f("again and overlapping", 0, 0, everything, segment{to: 300}, segment{to: 300}, segment{from: 500, to: 700}, segment{from: 100, to: 600}, segment{from: 400, to: end},
		segment{to: end})
	f("filling two gaps", 0, 0, everything, segment{from: 100, to: 200}, segment{from: 300, to: 400}, segment{from: 50, to: 500}, segment{to: 60}, segment{from: 500, to: end})

	f("cut in a message", 0, 1, map[string]int{"one": 1, "two": 60, "three": 1}, segment{to: first}, segment{from: first, to: second, cut: second - first - 1000}, segment{from: second, to: end})
	f("cut beyond a message", 0, 1, map[string]int{"one": 1, "two": 60}, segment{to: first}, segment{from: first, to: second + 1, cut: second + 1 - first - 1000}, segment{from: second + 1, to: end})
	f("cut in its last message", 0, 1, map[string]int{"one": 1, "two": 100}, segment{to: second}, segment{from: second, to: end, cut: 1})
	f("cut, and its end is out of order", 0, 1, map[string]int{"one": 1, "two": 60, "three": 1}, segment{from: second, to: end}, segment{from: first, to: second, cut: second - first - 1000}, segment{to: first})

	f("met in its middle", 1<<30, 0, everything, segment{to: first}, segment{from: first, to: second}, segment{from: second, to: end})
	f("met in its middle, cut", 1<<30, 1, map[string]int{"one": 1, "two": 60, "three": 1}, segment{to: first}, segment{from: first, to: second, cut: second - first - 1000}, segment{from: second, to: end})
	f("met within a message", 1<<30, 1, map[string]int{"three": 1}, segment{from: first + 1, to: first + 500}, segment{from: first + 500, to: second}, segment{from: second, to: end})
	f("met in its middle as the numbers begin anew", uint32(1<<32-first-10), 0, everything, segment{to: first}, segment{from: first, to: second}, segment{from: second, to: end})
}

// What never comes is waited for, for a while.
func TestStreamGivesUpGaps(t *testing.T) {
	all := stream(simple(t, "one.example", "10.0.0.1"), long(t, "two.example", 2, 100), simple(t, "three.example", "10.0.0.3"))
	last := len(all) - len(stream(simple(t, "three.example", "10.0.0.3")))
	n := New(Config{})
	f := func(s segment, after time.Duration, want int) {
		t.Helper()
		if added, err := s.give(n, all, 0, start.Add(after)); added != want || err != nil {
			t.Errorf("after %s: %d, %v; want %d", after, added, err, want)
		}
		checkStreams(t, n)
	}
	f(segment{to: 1000}, 0, 1)
	f(segment{from: 1100, to: last}, 0, 0)
	f(segment{from: 1100, to: 1200}, 4*time.Second, 0)
	f(segment{from: last, to: len(all)}, 6*time.Second, 57+1) // what stands before the gap, and the message behind it
	if c := n.Counters(); c["dns-stream-gaps"] != 1 || c["dns-stream-evicted"] != 0 {
		t.Error(c)
	}

	// Of a connection that was met soon after its beginning, only what came before is missing.
	n = New(Config{})
	first := 2 + len(simple(t, "one.example", "10.0.0.1"))
	f(segment{from: first, to: last}, 0, 0)
	f(segment{from: last, to: len(all)}, 6*time.Second, 1)
	if c, names := n.Counters(), known(n, 7); len(names) != 100+1 || c["dns-stream-gaps"] != 1 || c["dns-malformed"] != 0 {
		t.Error(len(names), c)
	}

	// Who is quiet with a message half told is read as far as it came when anything else comes, and on behind it.
	n = New(Config{})
	f(segment{to: 1000}, 0, 1)
	other := func(after time.Duration, addresses int) {
		t.Helper()
		if _, err := n.Answer(8, simple(t, "other.example", "10.9.9.9"), start.Add(after)); err != nil {
			t.Fatal(err)
		}
		if names := known(n, 7); len(names) != addresses {
			t.Errorf("after %s: %d addresses", after, len(names))
		}
		checkStreams(t, n)
	}
	other(4*time.Second, 1)
	other(6*time.Second, 1+57)
	f(segment{from: 1000, to: len(all)}, 7*time.Second, 1)
	other(8*time.Second, 1+57+1)
	if c, g := n.Counters(), n.Gauges(); c["dns-stream-gaps"] != 1 || c["dns-stream-evicted"] != 0 || g["dns-stream-flows"] != 1 {
		t.Error(c, g)
	}
	other(8*time.Second+flowIdle, 1+57+1)
	if c, g := n.Counters(), n.Gauges(); c["dns-stream-gaps"] != 1 || c["dns-stream-evicted"] != 0 || g["dns-stream-flows"] != 0 || g["dns-stream-bytes"] != 0 {
		t.Error(c, g)
	}
}

// What is not DNS is noticed, once, and costs nothing more.
func TestStreamOfSomethingElse(t *testing.T) {
	f := func(what string, first []byte) {
		t.Helper()
		n := New(Config{})
		if added, err := n.Stream(1, 1, 0, first, len(first), start); added != 0 || !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %d, %v", what, added, err)
		}
		random, noise := rand.New(rand.NewPCG(1, 2)), make([]byte, 1400)
		for i := range 100 {
			for j := range noise {
				noise[j] = byte(random.IntN(256))
			}
			if _, err := n.Stream(1, 1, uint32(len(first)+i*len(noise)), noise, len(noise), start); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			checkStreams(t, n)
		}
		if c, g := n.Counters(), n.Gauges(); c["dns-malformed"] != 1 || c["dns-stream-gaps"] != 0 || g["dns-stream-bytes"] != 0 {
			t.Errorf("%s: %v, %v", what, c, g)
		}
	}
	f("text", []byte("\x00\x10SSH-2.0-OpenSSH_9.9\r\n"))
	f("zeros", make([]byte, 65000))
	f("a question", stream(answer(t, dnsmessage.Header{}, "a.example", dnsmessage.TypeA)))
}

// A message that somebody wrote into another one is not taken for one, though the connection is met right before it.
func TestStreamInsideAMessage(t *testing.T) {
	inner := stream(simple(t, "bank.example", "10.6.6.6"))
	rest := append(inner, "and the rest of the record that holds it"...)
	n := New(Config{})
	if added, _ := n.Stream(1, 1, 1<<30, rest, len(rest), start); added != 0 {
		t.Errorf("%d addresses", added)
	}
	if names := known(n, 1); len(names) != 0 {
		t.Error(names)
	}
	if got := n.Counters()["dns-stream-gaps"]; got != 1 {
		t.Errorf("%d gaps", got)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	n := New(Config{MaxFlows: 50, MaxFlowBytes: 20000, MaxStreamBytes: 100000})
	all := stream(long(t, "two.example", 2, 128))
	for flow := range uint64(500) {
		for i := 0; i < len(all); i += 100 {
			if flow%2 == 0 && i == 0 {
				continue // a gap at once
			}
			end := min(i+50, len(all))
			if _, err := n.Stream(flow%3, flow, uint32(i), all[i:end], end-i, start); err != nil {
				t.Fatal(err)
			}
			checkStreams(t, n)
		}
	}
	if c, g := n.Counters(), n.Gauges(); c["dns-stream-evicted"] < 400 || g["dns-stream-flows"] > 50 || g["dns-stream-bytes"] > 100000 {
		t.Error(c, g)
	}
	// One that fills its own room gives up what it waits for.
	n = New(Config{MaxFlowBytes: 20000})
	for i := range 1000 {
		if _, err := n.Stream(1, 1, uint32(10+i*100), make([]byte, 90), 90, start); err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
		checkStreams(t, n)
	}
	if got := n.Counters()["dns-stream-gaps"]; got == 0 {
		t.Error("no gap was counted")
	}
}

// However a stream is cut into segments, and in whatever order, repetition and overlap they come, the answers are the same.
func TestStreamsArePutTogether(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var messages [][]byte
		want := New(Config{})
		for i := range rapid.IntRange(1, 6).Draw(rt, "messages") {
			name := fmt.Sprintf("m%d.example", rapid.IntRange(0, 3).Draw(rt, "name"))
			m := long(t, name, rapid.IntRange(0, 2).Draw(rt, "network"), rapid.IntRange(0, 60).Draw(rt, "addresses"))
			messages = append(messages, m)
			if _, err := want.Answer(7, m, start); err != nil {
				rt.Fatalf("message %d: %v", i, err)
			}
		}
		all := stream(messages...)
		var segments []segment
		for from := 0; from < len(all); {
			to := min(len(all), from+rapid.IntRange(1, 700).Draw(rt, "length"))
			s := segment{from: from, to: to}
			segments = append(segments, s)
			for range rapid.IntRange(0, 2).Draw(rt, "copies") {
				segments = append(segments, segment{
					from: max(0, from-rapid.IntRange(0, 300).Draw(rt, "before")), to: min(len(all), to+rapid.IntRange(0, 300).Draw(rt, "behind")),
				})
			}
			from = to
		}
		segments = rapid.Permutation(segments).Draw(rt, "order")
		n := New(Config{})
		for _, s := range segments {
			if _, err := s.give(n, all, 0, start); err != nil {
				rt.Fatalf("segment %+v: %v", s, err)
			}
			checkStreams(rt, n)
		}
		if got, want := fmt.Sprint(known(n, 7)), fmt.Sprint(known(want, 7)); got != want {
			rt.Fatalf("%s, want %s", got, want)
		}
		if n.Counters()["dns-stream-gaps"] != 0 || n.Gauges()["dns-stream-bytes"] != 0 {
			rt.Fatalf("%v, %v", n.Counters(), n.Gauges())
		}
	})
}

// Whatever arrives, bounds hold, names are host names, and the books balance. The input is a row of segments: two bytes of sequence, one of
// cgroup and flow, one of seconds that pass, one of bytes that are not told, two of length, and the payload.
func FuzzStream(f *testing.F) {
	record := func(sequence uint16, flow, seconds, cut byte, payload []byte) []byte {
		b := append(binary.BigEndian.AppendUint16(nil, sequence), flow, seconds, cut)
		return append(binary.BigEndian.AppendUint16(b, uint16(len(payload))), payload...)
	}
	all := stream(simple(f, "a.example", "10.0.0.1"), long(f, "b.example", 1, 30))
	f.Add(record(0, 1, 0, 0, all))
	f.Add(append(record(100, 1, 0, 0, all[100:]), record(0, 1, 1, 0, all[:120])...))
	f.Add(append(record(0, 1, 0, 9, all[:100]), record(109, 1, 200, 0, all[109:])...))
	f.Add(append(record(40000, 1, 0, 0, all[:47]), record(300, 2, 9, 0, all[300:])...))
	f.Fuzz(func(t *testing.T, input []byte) {
		n := New(Config{MaxFlows: 4, MaxFlowBytes: 4000, MaxStreamBytes: 8000, MaxAddresses: 64, MaxNamesPerDomain: 2, MaxNames: 8, MaxNamesPerCgroup: 4})
		at := start
		for len(input) >= 7 {
			length := min(int(binary.BigEndian.Uint16(input[5:])), len(input)-7)
			payload := input[7 : 7+length]
			at = at.Add(time.Duration(input[3]) * time.Second)
			n.Stream(uint64(input[2]&3), uint64(input[2]>>2), uint32(binary.BigEndian.Uint16(input))<<(input[2]&7), payload, length+int(input[4]), at)
			checkStreams(t, n)
			checkCrowds(t, n.domains)
			input = input[7+length:]
		}
		if n.total > 64 {
			t.Fatalf("%d addresses", n.total)
		}
		for cgroup := range uint64(4) {
			for text, name := range known(n, cgroup) {
				a := netip.MustParseAddr(text)
				if a.IsUnspecified() || a.IsMulticast() || name == "" || strings.ContainsAny(strings.TrimPrefix(name, "*."), " /\\\x00*") {
					t.Fatalf("%s is %q", a, name)
				}
			}
		}
	})
}

func BenchmarkStream(b *testing.B) {
	n := New(Config{})
	all := stream(long(b, "a.example", 1, 100))
	b.ReportAllocs()
	b.SetBytes(int64(len(all)))
	for i := uint64(0); b.Loop(); i++ {
		n.Stream(1, i, 0, all[:1000], 1000, start)
		n.Stream(1, i, 1000, all[1000:], len(all)-1000, start)
	}
}
