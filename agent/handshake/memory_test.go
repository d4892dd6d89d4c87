package handshake

import (
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/bpf"
)

// A program that carries its connections itself may write to any socket while OpenSSL calls it back: node does so with what its handlers send. Its hello
// says which socket a handshake is on.
func TestOtherSocketOfMemoryHandshake(t *testing.T) {
	c := casts()
	const other = 77
	for _, client := range []bool{true, false} {
		k := &talk{number: 0, stack: "memory", dear: true, client: client, version: tls13, tgid: 1, address: 1, freed: true, holds: true}
		k.peer, k.own = chainOf(c.workloads[0]), chainOf(c.workloads[1])
		for at := range k.steps() {
			tr := c.tracker()
			now := time.Second
			var out []Handshake
			for i, s := range k.steps() {
				now += time.Millisecond
				if i >= at && s.record != nil {
					s.record.Cookie, s.record.Edge, s.record.Local, s.record.Remote = other, other, localhost, localhost
				}
				if s.wire != nil {
					s.wire.At = now
				} else if s.record.At = now; i == at {
					bound := *s.record
					bound.Kind, bound.Payload, bound.Length = bpf.RecordBound, nil, 0
					tr.Record(&bound)
				}
				s.give(tr)
			}
			out = append(out, tr.Due(now+2*quiet)...)
			if len(out) != 1 || out[0].TLS.Provenance != "full" || out[0].Peer.String() != "spiffe://shop.example/w0" || out[0].Cookie != k.cookie() || out[0].Edge != k.edge() || out[0].Remote != k.remote() {
				t.Errorf("client %t, from step %d on: told %+v, lost %v", client, at, out, tr.Counters())
			}
			if n := tr.Counters()["tls-unfinished"]; n != 0 {
				t.Errorf("client %t, from step %d on: %d unfinished", client, at, n)
			}
		}
	}
}

// By TLS 1.3 only the program is told which protocol was agreed, and only when it asks.
func TestProtocolIsAskedForLater(t *testing.T) {
	c := casts()
	f := func(name, want string, offered bool, late, told time.Duration) {
		t.Helper()
		k := &talk{number: 0, stack: "openssl", client: true, version: tls13, tgid: 1, address: 1}
		k.peer = chainOf(c.workloads[0])
		tr := c.tracker()
		now := time.Second
		for _, s := range k.steps() {
			if s.record != nil {
				s.record.At = now
			} else if s.wire.At = now; s.wire.Client != nil && offered {
				s.wire.Client.ALPN = []string{"h2"}
			}
			s.give(tr)
		}
		if late > 0 {
			if out := tr.Due(now + late - 1); len(out) != 0 {
				t.Errorf("%s: told %+v too early", name, out)
			}
			tr.Record(&bpf.TLSRecord{At: now + late, Kind: bpf.RecordALPN, Payload: []byte("h2"), Length: 2, TGID: 1, TID: 1, Cgroup: k.cgroup(), Connection: 1, Cookie: k.cookie(), Edge: k.edge()})
		}
		out := tr.Due(now + told)
		if len(out) != 1 || out[0].TLS.ALPN != want {
			t.Errorf("%s: told %+v", name, out)
		}
	}
	f("at once", "h2", true, time.Millisecond, settle)
	f("later", "h2", true, 600*time.Millisecond, 600*time.Millisecond)
	f("never", "", true, 0, quiet)
	f("none was offered", "", false, 0, settle)
}
