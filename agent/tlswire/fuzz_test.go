package tlswire

import (
	"testing"

	"github.com/ambit-nhi/ambit/bpf"
)

func FuzzHello(f *testing.F) {
	for _, k := range stacks(f) {
		c, s, _ := handshake(f, k.client, k.server)
		f.Add(c[headerBytes+4:])
		f.Add(s[headerBytes+4:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if c, err := parseClient(body); err == nil {
			if c.Version < versionSSL3 || c.Version > versionTLS13 || c.SNI != "" && !isName([]byte(c.SNI)) || len(c.ALPN) > maxALPN || len(c.SessionID) > 32 {
				t.Errorf("%+v", c)
			}
			for _, p := range c.ALPN {
				if p == "" || !isPrintable([]byte(p)) {
					t.Errorf("offers %q", p)
				}
			}
		}
		if s, err := parseServer(body); err == nil {
			if s.Version < versionSSL3 || s.Version > versionTLS13 || !isPrintable([]byte(s.ALPN)) || len(s.SessionID) > 32 || s.Resumed && s.Version < versionTLS13 {
				t.Errorf("%+v", s)
			}
		}
		if chain, err := parseCertificates(body); err == nil {
			n := 3
			for _, c := range chain {
				n += 3 + len(c)
			}
			if n != len(body) || len(chain) > maxChain {
				t.Errorf("%d certificates take %d of %d bytes", len(chain), n, len(body))
			}
		}
	})
}

// FuzzStream adds parts as the input says: a byte for the stream, two for the place, two for the length.
func FuzzStream(f *testing.F) {
	for _, k := range stacks(f)[:5] {
		c, s, _ := handshake(f, k.client, k.server)
		for _, b := range [][]byte{c, s} {
			n := min(len(b), 2000)
			f.Add(append([]byte{1, 0, 0, byte(n >> 8), byte(n)}, b[:n]...))
			f.Add(append(append([]byte{1, 0, 0, 0, 100}, b[:100]...), append([]byte{1, 0, 100, 7, 0}, b[100:]...)...))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		s := New(Config{Streams: 4, Bytes: 8 << 10, MessageBytes: 4 << 10})
		for len(in) >= 5 {
			n := min(int(in[3])<<8|int(in[4]), len(in)-5)
			h := bpf.Hello{Cookie: uint64(in[0] & 7), Out: in[0]&8 != 0, Sequence: uint32(in[1])<<8 | uint32(in[2]), Payload: in[5 : 5+n]}
			in = in[5+n:]
			ev, ok := s.Add(&h, noon)
			if ok != (ev.Client != nil || ev.Server != nil || ev.Certificates != nil) {
				t.Fatalf("ok is %t of %+v", ok, ev)
			}
			held := 0
			for e := s.order.Front(); e != nil; e = e.Next() {
				held += e.Value.(*stream).bytes()
			}
			if held != s.bytes || held > 8<<10 || len(s.streams) > 4 || len(s.streams) != s.order.Len() {
				t.Fatalf("%d bytes in %d streams, counted as %d", held, len(s.streams), s.bytes)
			}
		}
	})
}
