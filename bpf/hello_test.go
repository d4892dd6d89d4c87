package bpf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// record is a TLS record of some type: 22 is a handshake's.
func record(kind byte, body string) string {
	return string([]byte{kind, 3, 1, byte(len(body) >> 8), byte(len(body))}) + body
}

// message is a handshake message. Hellos begin with their version.
func message(kind byte, n int) string {
	body := strings.Repeat("ambit ", n/6+1)[:n]
	if kind <= 2 {
		body = "\x03\x03" + body[2:]
	}
	return string([]byte{kind, byte(n >> 16), byte(n >> 8), byte(n)}) + body
}

func handshake(kind byte, n int) string { return record(22, message(kind, n)) }

// fragmented has a message in records of so many bytes.
func fragmented(message string, size int) (out string) {
	for b := range slices.Chunk([]byte(message), size) {
		out += record(22, string(b))
	}
	return out
}

// segments cuts a text.
func segments(text string, size int) (out []string) {
	for b := range slices.Chunk([]byte(text), size) {
		out = append(out, string(b))
	}
	return out
}

const changeCipherSpec = "\x14\x03\x03\x00\x01\x01"

var (
	hello517  = handshake(1, 508)
	hello2000 = handshake(1, 1991)
	encrypted = record(23, strings.Repeat("secret", 300))
	flight    = handshake(2, 90) + handshake(11, 3000)
	keys      = handshake(12, 300) + handshake(14, 0)
)

// spoken are segments that one end of a connection sends, and the stretches of them that are told, by both ends.
var spoken = []struct {
	name     string
	segments []string
	want     []string
	cut      uint64
}{
	{"TLS, a hello", []string{hello517}, []string{hello517}, 0},
	{"TLS, a long hello", []string{hello2000}, []string{hello2000}, 0},
	{"TLS, a hello that is longer than one part", []string{handshake(1, 9000)}, []string{handshake(1, 9000)}, 0},
	{"TLS, a hello in segments", segments(hello2000, 536), []string{hello2000}, 0},
	{"TLS, a hello byte by byte", segments(handshake(1, 80), 1), []string{handshake(1, 80)}, 0},
	{"TLS, a hello in records", []string{fragmented(message(1, 60), 7)}, []string{fragmented(message(1, 60), 7)}, 0},
	{"TLS, a hello in tiny records", segments(fragmented(message(1, 40), 3), 11), []string{fragmented(message(1, 40), 3)}, 0},
	{"TLS, what follows a hello", []string{hello517, changeCipherSpec + encrypted, encrypted}, []string{hello517}, 0},
	{"TLS, what follows in the same segment", []string{handshake(2, 90) + changeCipherSpec + encrypted, encrypted}, []string{handshake(2, 90)}, 0},
	{"TLS, two hellos", []string{hello517, changeCipherSpec + hello2000, encrypted}, []string{hello517, hello2000}, 0},
	{"TLS, two hellos in one segment", []string{hello517 + changeCipherSpec + hello2000}, []string{hello517 + changeCipherSpec + hello2000}, 0},
	{"TLS, certificates", []string{flight + keys, handshake(4, 200) + changeCipherSpec + handshake(20, 36)}, []string{flight}, 0},
	{"TLS, certificates in segments", segments(flight+keys, 100), []string{flight}, 0},
	{"TLS, certificates in records", []string{handshake(2, 90) + fragmented(message(11, 4000), 512) + keys}, []string{handshake(2, 90) + fragmented(message(11, 4000), 512)}, 0},
	{"TLS, messages in one record", []string{record(22, message(2, 90)+message(11, 3000)+message(14, 0)) + encrypted}, []string{record(22, message(2, 90)+message(11, 3000)+message(14, 0))}, 0},
	{"TLS, a new session's ticket", []string{handshake(2, 90) + handshake(4, 200)}, []string{handshake(2, 90)}, 0},
	{"TLS, more than is told", []string{handshake(2, 90) + handshake(11, 16000) + handshake(22, 1000), hello517}, []string{(handshake(2, 90) + handshake(11, 16000) + handshake(22, 1000))[:16384], hello517}, 1},
	{"TLS, behind other words", []string{"220 ready\r\n", "STARTTLS\r\n", hello517}, []string{hello517}, 0},
	{"TLS, that begins late", append(segments(strings.Repeat("x", 70000), 10000), hello517), nil, 0},
	{"no TLS", []string{"GET / HTTP/1.1\r\n\r\n", "\x16", "\x16\x03", "SSH-2.0-x\r\n"}, nil, 0},
	{"no TLS, but records", []string{encrypted, changeCipherSpec, record(21, "\x02\x28"), "\x00" + hello517}, nil, 0},
	{"no TLS, other handshake messages", []string{handshake(11, 500), handshake(0, 100), handshake(20, 36), handshake(3, 100)}, nil, 0},
	{"no TLS, encrypted handshake messages", []string{record(22, "\x01\x55\x66\x77"+strings.Repeat("secret", 6)), record(22, "\x02\x00\x66\x77secret")}, nil, 0},
	{"no TLS, lengths that cannot be", []string{"\x16\x03\x01\xff\xff\x01\x00\x00\x50\x03\x03", "\x16\x03\x01\x00\x00\x01\x00\x00\x50\x03\x03", "\x16\x03\x01\x01\x00\x01\xff\xff\xff\x03\x03"}, nil, 0},
	{"no TLS, versions that cannot be", []string{"\x16\x02" + hello517[2:], "\x16\x03\x05" + hello517[3:], hello517[:9] + "\x02" + hello517[10:], hello517[:10] + "\x09" + hello517[11:]}, nil, 0},
}

var helloScenarios = func() (out []scenario) {
	for _, s := range spoken {
		out = append(out,
			scenario{s.name, func() { speak(here4(443), s.segments) }, s.want},
			scenario{s.name + " (IPv6)", func() { speak(here6(443), s.segments) }, s.want})
	}
	return out
}()

// speak has a client send segments one after the other, and says the cookies of both ends.
func speak(to unix.Sockaddr, segments []string) {
	c, s := pair(listenTCP(portOf(to), 0, 8), 0, to)
	check(unix.SetsockoptInt(c, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	for _, b := range segments {
		if n := must(unix.Write(c, []byte(b))); n != len(b) {
			panic("a segment was sent in parts")
		}
		receive(s, len(b))
	}
	fmt.Println(cookie(c), cookie(s))
}

func cookie(fd int) uint64 { return must(unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)) }

// Hellos come whole from both ends, with who sent them, and nothing else does.
func TestKernelHellos(t *testing.T) {
	w := watch(t, testConfig(t))
	for i, s := range helloScenarios {
		t.Run(s.name, func(t *testing.T) {
			w := w.on(t)
			before := w.losses()
			c := start(t, s.name)
			var client, server uint64
			if _, err := fmt.Sscan(c.end(), &client, &server); err != nil {
				t.Fatal(err)
			}
			got := w.hellosOf(c)
			w.expectStretches(got, client, true, s.want)
			w.expectStretches(got, server, false, s.want)
			edges := map[bool]Number{}
			var served observed
			for _, e := range w.edgesOf(c.cgroup.ID()) {
				if edges[e.Inbound] = e.Number; !e.Inbound {
					served = e
				}
			}
			for _, h := range got {
				pid := uint32(0)
				if h.Out {
					pid = c.pid()
				}
				if h.Edge != edges[!h.Out] || h.Edge == 0 || h.TGID != pid || h.Length != len(h.Payload) || h.At == 0 {
					t.Errorf("%d of %d bytes at %v, out %t, are of edge %d and process %d; want %d and %d", len(h.Payload), h.Length, h.At, h.Out, h.Edge, h.TGID, edges[!h.Out], pid)
				}
				from, to := h.Local, h.Remote // of the client
				if !h.Out {
					from, to = to, from
				}
				if to != netip.AddrPortFrom(served.Address, served.Port) || from.Addr() != to.Addr() || from.Port() == 0 {
					t.Errorf("out %t, from %v to %v, want %v, port %d", h.Out, h.Local, h.Remote, served.Address, served.Port)
				}
			}
			after, cut := w.losses(), 2*spoken[i/2].cut
			if n := after["hello-cut"] - before["hello-cut"]; n != cut {
				t.Errorf("%d hellos were counted as cut, want %d", n, cut)
			}
			if n := after["hello-ring-full"] + after["hello-early"]; n != 0 {
				t.Errorf("losses: %v", after)
			}
		})
	}
}

// hellosOf gives what a child sent and received since the last call.
func (w *watcher) hellosOf(c *child) (got []Hello) {
	w.t.Helper()
	for h, err := range w.Hellos() {
		if err != nil {
			w.t.Fatal(err)
		}
		if h.Cgroup == c.cgroup.ID() {
			h.Payload = slices.Clone(h.Payload)
			got = append(got, h)
		}
	}
	return got
}

func (w *watcher) expectStretches(hellos []Hello, cookie uint64, out bool, want []string) {
	w.t.Helper()
	if got := stretches(hellos, cookie, out); !slices.Equal(got, want) {
		w.t.Errorf("out %t: told are %d stretches\n%.80q\nwant %d\n%.80q", out, len(got), got, len(want), want)
		for i := range min(len(got), len(want)) {
			w.t.Logf("%d: %d bytes, want %d", i, len(got[i]), len(want[i]))
		}
	}
}

// stretches are the bytes that a socket told, joined where one goes on with the next, or says its end again.
func stretches(hellos []Hello, cookie uint64, out bool) (all []string) {
	next := uint32(0)
	for _, h := range hellos {
		if h.Cookie != cookie || h.Out != out {
			continue
		}
		payload := string(h.Payload)
		if again := int(int32(next - h.Sequence)); len(all) > 0 && again >= 0 && again <= len(payload) && strings.HasSuffix(all[len(all)-1], payload[:again]) {
			all[len(all)-1] += payload[again:]
		} else {
			all = append(all, payload)
		}
		next = h.Sequence + uint32(len(payload))
	}
	return all
}

// Parts that come out of order are told while it is known what they belong to; what is old, or somebody's guess, is not.
func TestKernelHellosOutOfOrder(t *testing.T) {
	w := watch(t, testConfig(t))
	f := func(name string, cut uint64, want ...string) {
		t.Run(name, func(t *testing.T) {
			w := w.on(t)
			before := w.losses()["hello-cut"]
			c := start(t, name)
			var server uint64
			if _, err := fmt.Sscan(c.end(), &server); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, h := range w.hellosOf(c) {
				if !h.Out {
					got = append(got, string(h.Payload))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("told are %.60q, want %.60q", got, want)
			}
			if n := w.losses()["hello-cut"] - before; n != cut {
				t.Errorf("%d were counted as cut, want %d", n, cut)
			}
		})
	}
	h := hello2000
	f("TLS, a part ahead of another", 0, h[:600], h[1200:], h[600:1200], h[1200:])
	f("TLS, a record ahead of another", 1, flight[:50])
	f("TLS, guesses", 0, h[:600], h[600:])
}

var disorderScenarios = []scenario{
	{"TLS, a part ahead of another", func() {
		disorder(func(c, s int) {
			at := sendSequence(c)
			sayTo(c, s, hello2000[:600])
			forge(c, s, at+1200, hello2000[1200:])
			sayTo(c, s, hello2000[600:1200])
			sayTo(c, s, hello2000[1200:]) // TCP has not taken the forged one
		})
	}, nil},
	{"TLS, a record ahead of another", func() {
		disorder(func(c, s int) {
			at := sendSequence(c)
			sayTo(c, s, flight[:50])
			forge(c, s, at+500, flight[500:1000])
			sayTo(c, s, flight[50:100])
		})
	}, nil},
	{"TLS, guesses", func() {
		disorder(func(c, s int) {
			sayTo(c, s, hello2000[:600])
			at := sendSequence(c)
			forge(c, s, at+1<<30, hello517)
			forge(c, s, at-1<<30, hello517)
			forge(c, s, at-600, hello2000[:600])
			sayTo(c, s, hello2000[600:])
		})
	}, nil},
}

func disorder(do func(c, s int)) {
	c, s := pair(listenTCP(443, 0, 8), 0, here4(443))
	check(unix.SetsockoptInt(c, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	do(c, s)
	fmt.Println(cookie(s))
}

func sayTo(c, s int, text string) {
	must(unix.Write(c, []byte(text)))
	receive(s, len(text))
}

// A server that is only woken by data has no socket yet when that comes: its end of the hello is counted, and the client's end is told.
func TestKernelHelloBeforeItsSocket(t *testing.T) {
	w := watch(t, testConfig(t))
	c := start(t, "TLS, a deferred accept")
	var client uint64
	if _, err := fmt.Sscan(c.end(), &client); err != nil {
		t.Fatal(err)
	}
	got := w.hellosOf(c)
	if all := stretches(got, client, true); !slices.Equal(all, []string{hello517}) {
		t.Errorf("the client's end is %.60q", all)
	}
	if n := w.losses()["hello-early"]; len(got) != 1 || n != 1 {
		t.Errorf("%d parts were told, %d hellos counted as early", len(got), n)
	}
}

func deferredTraffic() {
	l := listenTCP(443, 0, 8)
	check(unix.SetsockoptInt(l, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 10))
	c := must(dial(0, here4(443)))
	must(unix.Write(c, []byte(hello517)))
	s, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
	check(err)
	receive(s, len(hello517))
	fmt.Println(cookie(c))
}

// Who does not read the ring in time loses hellos, and knows how many.
func TestKernelHelloRingFull(t *testing.T) {
	cfg := testConfig(t)
	spec, err := newSpec(cfg)
	if err != nil {
		t.Fatal(err)
	}
	spec.Maps["hellos"].MaxEntries = 4096
	w := watchSpec(t, cfg, spec)
	before := w.losses()["hello-ring-full"]
	c := start(t, "TLS, many hellos")
	c.end()
	told, lost := len(w.hellosOf(c)), w.losses()["hello-ring-full"]-before
	if lost == 0 || told+int(lost) < 2*manyHellos {
		t.Errorf("%d were told and %d lost, want %d together", told, lost, 2*manyHellos)
	}
	if !eventually(func() bool { // others of the machine may fill it again
		c := start(t, "TLS, a hello")
		c.end()
		return len(w.hellosOf(c)) == 2
	}) {
		t.Error("nothing is told after the ring was read")
	}
}

const manyHellos = 20

func manyHellosTraffic() {
	for range manyHellos {
		l := listenTCP(443, 0, 8)
		c, s := pair(l, 0, here4(443))
		sayTo(c, s, hello517)
		hangUp(c, s)
		check(unix.Close(l))
	}
}

// Who does not want hellos gets none, and loses none.
func TestKernelNoHellos(t *testing.T) {
	cfg := testConfig(t)
	cfg.Hellos = false
	w := watch(t, cfg)
	c := start(t, "TLS, a hello")
	c.end()
	if got := w.hellosOf(c); len(got) != 0 || w.losses()["hello-ring-full"] != 0 {
		t.Errorf("%d hellos are told, losses: %v", len(got), w.losses())
	}
}
