package tlswire

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/bpf"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// part is a part of one direction.
type part struct {
	out  bool
	at   uint32
	data []byte
}

// play adds parts of one connection, and gives what the events say.
func play(t interface{ Errorf(string, ...any) }, s *Streams, parts []part) (got said) {
	for i, p := range parts {
		ev, ok := s.Add(&bpf.Hello{
			At: time.Duration(i), Cookie: 7, Edge: 3, Cgroup: 4, TGID: 5, Out: p.out, Sequence: p.at, Length: len(p.data), Payload: p.data,
		}, noon)
		if !ok {
			continue
		}
		if ev.At != time.Duration(i) || ev.Cookie != 7 || ev.Edge != 3 || ev.Cgroup != 4 || ev.TGID != 5 || ev.Out != p.out {
			t.Errorf("event is of %v, cookie %d, edge %d, cgroup %d, process %d, out %t", ev.At, ev.Cookie, ev.Edge, ev.Cgroup, ev.TGID, ev.Out)
		}
		if (ev.Client != nil) && !p.out || ev.Server != nil && p.out {
			t.Errorf("hello from the wrong side")
		}
		got.add(&ev)
		if ev.Certificates != nil && p.out {
			got.ClientChain = ev.Certificates
		} else if ev.Certificates != nil {
			got.ServerChain = ev.Certificates
		}
	}
	return got
}

// plain is what differs between two handshakes of one kind taken away.
func (s said) plain() said {
	s.ClientRandom, s.ServerRandom, s.ClientSession, s.ServerSesson = [32]byte{}, [32]byte{}, "", ""
	return s
}

func TestStacks(t *testing.T) {
	for _, k := range stacks(t) {
		t.Run(k.name, func(t *testing.T) {
			if k.warm {
				handshake(t, k.client, k.server)
			}
			c, r, state := handshake(t, k.client, k.server)
			if state.DidResume != k.warm || state.Version != k.want.Version {
				t.Fatalf("version %x, resumed %t", state.Version, state.DidResume)
			}
			if state.ServerName != "db.example" && state.ServerName != "DB.example" && state.ServerName != "" {
				t.Fatalf("the server's name is %q", state.ServerName)
			}
			s := New(Config{})
			whole := play(t, s, append(byRecords(true, 100, c), byRecords(false, 200, r)...))
			if got := whole.plain(); !reflect.DeepEqual(got, k.want) {
				t.Errorf("seen:\n%+v\nwant:\n%+v", got, k.want)
			}
			if whole.ClientRandom == [32]byte{} || whole.ServerRandom == [32]byte{} || whole.ClientRandom == whole.ServerRandom {
				t.Errorf("randoms are %x and %x", whole.ClientRandom, whole.ServerRandom)
			}
			if k.warm && k.want.Version < versionTLS13 != (whole.ClientSession == whole.ServerSesson) && k.want.Version < versionTLS13 {
				t.Errorf("sessions are %x and %x", whole.ClientSession, whole.ServerSesson)
			}
			none(t, s)
			if t.Failed() {
				return
			}
			whole.ClientHellos, whole.Retries = 1, 0 // two hellos that one part completes are one event, of the second
			rapid.Check(t, func(rt *rapid.T) {       // however it comes, it says the same
				s := New(Config{})
				parts := shuffled(rt, c, r)
				got := play(rt, s, parts)
				got.ClientHellos, got.Retries = 1, 0
				if !reflect.DeepEqual(got, whole) {
					rt.Errorf("in %d parts, seen:\n%+v\nwant:\n%+v", len(parts), got, whole)
				}
			})
		})
	}
}

// byRecords has each record in a part of its own.
func byRecords(out bool, at uint32, b []byte) (parts []part) {
	for len(b) > 0 {
		n := headerBytes + int(b[3])<<8 + int(b[4])
		parts = append(parts, part{out, at, b[:n]})
		at, b = at+uint32(n), b[n:]
	}
	return parts
}

func none(t *testing.T, s *Streams) {
	t.Helper()
	for cause, n := range s.Counters() {
		if n > 0 {
			t.Errorf("%s is %d", cause, n)
		}
	}
}

// shuffled cuts both directions into parts, sends some twice, and has some overtake a few others.
func shuffled(t *rapid.T, client, server []byte) (parts []part) {
	seed := rapid.Uint64().Draw(t, "seed")
	r := rand.New(rand.NewPCG(seed, 1))
	size := rapid.SampledFrom([]int{9, 100, 536, 1448, 4000}).Draw(t, "size")
	cut := func(out bool, b []byte) (cut []part) {
		first := r.Uint32() // sequence numbers begin anywhere, and overflow
		for at := 0; at < len(b); {
			n := min(len(b)-at, 1+r.IntN(size))
			if at == 0 {
				n = max(n, min(len(b), headerBytes+6)) // the kernel side tells no less to begin with
			}
			from := max(0, at-r.IntN(2)*r.IntN(30)) // overlaps what is there
			if at == 0 {
				from = 0
			}
			cut = append(cut, part{out, first + uint32(from), b[from : at+n]})
			at += n
		}
		for i := 1; i < len(cut); i++ {
			if r.IntN(10) == 0 {
				j := max(1, i-r.IntN(4))
				cut[i], cut[j] = cut[j], cut[i]
			}
			if r.IntN(10) == 0 {
				cut = slices.Insert(cut, i, cut[r.IntN(i)])
			}
		}
		return cut
	}
	a, b := cut(true, client), cut(false, server)
	for len(a)+len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && r.IntN(2) == 0 {
			parts, a = append(parts, a[0]), a[1:]
		} else {
			parts, b = append(parts, b[0]), b[1:]
		}
	}
	return parts
}

// hello is a ClientHello in a record.
func hello(t testing.TB, name string) []byte {
	t.Helper()
	for _, k := range stacks(t)[:1] {
		k.client.ServerName, k.client.InsecureSkipVerify = name, true
		c, _, _ := handshake(t, k.client, k.server)
		return c[:headerBytes+int(c[3])<<8+int(c[4])]
	}
	return nil
}

// records puts a message into records of so many bytes.
func records(message []byte, size int) (out []byte) {
	for b := range slices.Chunk(message, size) {
		out = append(append(out, recordHandshake, 3, 3, byte(len(b)>>8), byte(len(b))), b...)
	}
	return out
}

func TestRecords(t *testing.T) {
	h := hello(t, "many.example")
	for _, size := range []int{1, 3, 5, 100, 5000} {
		s := New(Config{MessageBytes: 32 << 10})
		b := records(h[headerBytes:], size)
		ev, ok := s.Add(&bpf.Hello{Cookie: 1, Payload: b}, noon)
		if !ok || ev.Client.SNI != "many.example" {
			t.Errorf("in records of %d bytes: %t", size, ok)
		}
		none(t, s)
	}
}

func TestRefusals(t *testing.T) {
	h := hello(t, "a.example")
	change := func(at int, b byte) []byte {
		c := slices.Clone(h)
		c[at] = b
		return c
	}
	f := func(name string, b []byte, cause string) {
		t.Run(name, func(t *testing.T) {
			s := New(Config{})
			_, ok := s.Add(&bpf.Hello{Cookie: 1, Payload: b}, noon)
			s.Add(&bpf.Hello{Cookie: 2, Payload: h}, noon.Add(time.Hour))
			want := map[string]uint64{causeMalformed: 0, causeLong: 0, causeIncomplete: 0, causeCrowded: 0}
			if cause != "" {
				want[cause] = 1
			}
			if got := s.Counters(); ok || !reflect.DeepEqual(got, want) {
				t.Errorf("took %t, counted %v, want %s", ok, got, cause)
			}
		})
	}
	f("a message of 16 MiB", change(6, 0xff), causeLong)
	f("a message that is longer than what comes", change(7, h[7]+1), causeIncomplete)
	f("half of a message", h[:len(h)/2], causeIncomplete)
	f("a session ID of 255 bytes", change(43, 255), causeMalformed)
	f("version 0.0", records(slices.Concat([]byte{1, 0, 0, 41, 0, 0}, make([]byte, 32), []byte{0, 0, 2, 0, 1, 1, 0}), 100), causeMalformed)
	f("an alert", []byte{21, 3, 3, 0, 2, 2, 40}, causeIncomplete) // never begun
	f("nothing", nil, "")
	f("a server that chose two protocols", serverHello(0x0303, 16, []byte{0, 6, 2, 'h', '2', 2, 'h', '3'}), causeMalformed)
	f("a server that chose version 9", serverHello(0x0303, 43, []byte{9, 9}), causeMalformed)
	f("a server with an extension twice", serverHello(0x0303, 23, nil, 23), causeMalformed)
}

func serverHello(version uint16, extension byte, data []byte, more ...byte) []byte {
	exts := append([]byte{0, extension, 0, byte(len(data))}, data...)
	for _, m := range more {
		exts = append(exts, 0, m, 0, 0)
	}
	body := slices.Concat([]byte{byte(version >> 8), byte(version)}, bytes.Repeat([]byte{9}, 32), []byte{0, 0x13, 1, 0, 0, byte(len(exts))}, exts)
	return records(append([]byte{2, 0, 0, byte(len(body))}, body...), 1000)
}

func TestNames(t *testing.T) {
	f := func(name, want string) {
		var c Client
		list := append([]byte{0, byte(len(name) >> 8), byte(len(name))}, name...)
		if !c.readServerName(append([]byte{byte(len(list) >> 8), byte(len(list))}, list...)) || c.SNI != want {
			t.Errorf("%q is %q, want %q", name, c.SNI, want)
		}
	}
	f("A-1_b.Example", "a-1_b.example")
	f("10.0.0.1", "10.0.0.1")
	f("", "")
	f("a b", "")
	f("a\x00b", "")
	f("ä.example", "")
	f("a\nb", "")
	f(fmt.Sprintf("%0253d", 1), fmt.Sprintf("%0253d", 1))
	f(fmt.Sprintf("%0254d", 1), "")
}

// Memory stays within its bounds, whatever comes, and what had no room is counted.
func TestBounds(t *testing.T) {
	h := hello(t, "a.example")
	s := New(Config{Streams: 100, Bytes: 20 << 10, MessageBytes: 4 << 10})
	for i := range 1000 {
		s.Add(&bpf.Hello{Cookie: uint64(i), Payload: h[:1200]}, noon)
		g := s.Gauges()
		if g["tls-hello-streams"] > 100 || g["tls-hello-bytes"] > 20<<10 || int(g["tls-hello-streams"]) != len(s.streams) || len(s.streams) != s.order.Len() {
			t.Fatalf("holds %v", g)
		}
	}
	if n := s.Counters()[causeCrowded]; n < 900 {
		t.Errorf("%d were crowded out", n)
	}
	s = New(Config{})
	for i := range 100 {
		s.Add(&bpf.Hello{Cookie: 1, Sequence: uint32(1000 * (i + 1)), Payload: make([]byte, 500)}, noon)
	}
	if g := s.Gauges()["tls-hello-bytes"]; g > 16<<10 {
		t.Errorf("%d bytes are kept before a stream has begun", g)
	}
	s.Add(&bpf.Hello{Cookie: 2, Payload: h}, noon.Add(61*time.Second))
	if g := s.Gauges(); g["tls-hello-streams"] != 1 {
		t.Errorf("after some time there are %v", g)
	}
}

func BenchmarkAdd(b *testing.B) {
	h := hello(b, "a.example")
	s := New(Config{})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, ok := s.Add(&bpf.Hello{Cookie: uint64(i), Payload: h}, noon); !ok {
			b.Fatal("not taken")
		}
	}
}
