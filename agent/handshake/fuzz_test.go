package handshake

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/agent/tlswire"
	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// FuzzTracker gives the tracker records and hellos of any kind in any order, of few connections and sockets. It holds its bounds, and what it tells can be
// told.
func FuzzTracker(f *testing.F) {
	f.Add([]byte{1, 1, 1, 0, 2, 1, 1, 0, 8, 1, 1, 1, 20, 1, 1, 0}, casts().workloads[0].Certificate.Raw)
	f.Add([]byte{5, 1, 0, 1, 20, 1, 1, 1, 8, 1, 0, 1}, []byte("h2\x00db.example"))
	f.Fuzz(func(t *testing.T, script, payload []byte) {
		const pending = 6
		tr := New(Config{Judge: casts().judge, Wall: wall, Pending: pending, Certificates: 4, CertificateBytes: 16 << 10})
		now := time.Second
		verify := func() {
			batch := event.NewBatchBuilder("n1", "b", wall(0))
			for _, h := range tr.Due(now) {
				o := event.Observation{
					Time: h.At, Workload: event.Workload{Identity: mustIdentity(t, "spiffe://shop.example/w")}, Direction: event.Inbound, Protocol: event.TCP,
					Peer: event.Peer{Address: netip.MustParseAddr("10.0.0.1"), Identity: h.Peer}, TLS: &h.TLS,
				}
				if err := o.Validate(); err != nil {
					t.Fatalf("%+v cannot be told: %v", h, err)
				}
				batch.Add(&o)
				if (!h.Peer.IsZero() || !h.Own.IsZero() || h.TLS.Verified) && !h.OK {
					t.Fatalf("%+v did not complete, but proved something", h)
				}
			}
			if !batch.Empty() {
				verifyBatch(t, batch)
			}
			if len(tr.queue) > pending || len(tr.connections) > pending || len(tr.wires) > pending || tr.certificates.cache.Len() > 4 {
				t.Fatal("a bound does not hold")
			}
		}
		for len(script) >= 4 {
			kind, who, where, how := script[0], script[1]%8, script[2]%8, script[3]
			script = script[4:]
			now += time.Duration(how) * time.Millisecond
			if kind < 16 {
				tr.Record(&bpf.TLSRecord{
					Kind: bpf.TLSKind(kind), At: now, TGID: uint32(who / 2), Connection: uint64(who), Cookie: uint64(where), Edge: bpf.Number(where), Index: uint32(how % 5),
					Client: how&1 > 0, OK: how&2 > 0, Verified: how&4 > 0, Resumed: how&8 > 0, Version: 0x0300 + uint16(how%6), Payload: append([]byte(nil), payload...),
					Length: len(payload) + int(how/250),
				})
			} else {
				ev := tlswire.Event{At: now, Cookie: uint64(where), Edge: bpf.Number(where), TGID: uint32(who / 2), Out: how&1 > 0}
				var random [32]byte
				copy(random[:], payload)
				switch kind % 3 {
				case 0:
					ev.Client = &tlswire.Client{Random: random, SNI: string(payload[:min(len(payload), 300)]), Version: tls13}
				case 1:
					ev.Server = &tlswire.Server{Random: random, Version: 0x0300 + uint16(how%6), Resumed: how&2 > 0, HelloRetry: how&4 > 0, ALPN: string(payload)}
				default:
					ev.Certificates = [][]byte{payload}
				}
				tr.Wire(&ev)
			}
			if how%7 == 0 {
				verify()
			}
			if how%31 == 0 {
				tr.Lost()
			}
		}
		now += time.Minute
		for range 3 {
			now += patience
			verify()
		}
		tr.verifyEmpty(t)
	})
}

// verifyBatch has a batch be read as by who gets it: one text in it that may not travel takes all others with it.
func verifyBatch(t testing.TB, batch *event.BatchBuilder) {
	t.Helper()
	message, err := batch.Encode(1, 1, wall(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := event.DecodeBatch(message); err != nil {
		t.Fatalf("what was told is refused: %v", err)
	}
}

// FuzzCertificate reads what claims to be a certificate.
func FuzzCertificate(f *testing.F) {
	f.Add(casts().plain.Certificate.Raw)
	f.Add(casts().twoURIs.Certificate.Raw)
	f.Add(casts().chained.Certificate.Raw[:100])
	f.Fuzz(func(t *testing.T, der []byte) {
		tr := casts().tracker()
		c := tr.certificates.get(der, len(der), 1, time.Second)
		if c == nil {
			n := tr.losses[certificateMalformed] + tr.losses[certificateTooLarge]
			if n != 1 {
				t.Errorf("refused %d times", n)
			}
			return
		}
		if len(c.plain.Serial) > 2*maxSerial+4 || len(c.plain.Issuer) > maxIssuer+3 {
			t.Errorf("serial of %d, issuer of %d bytes", len(c.plain.Serial), len(c.plain.Issuer))
		}
		tr.certificates.judge([]*certificate{c}, wall(time.Second))
		verifyTold(t, c)
		if id := event.CertificateIdentity(c.issuer, c.words); !id.IsZero() {
			if _, err := event.ParseIdentity(id.String()); err != nil {
				t.Error(err)
			}
		}
	})
}

func mustIdentity(t testing.TB, text string) event.Identity {
	t.Helper()
	id, err := event.ParseIdentity(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
