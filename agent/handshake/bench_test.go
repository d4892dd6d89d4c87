package handshake

import (
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/bpf"
)

// One handshake, both ends known by certificates that were seen before, at 10,000 a second, with polls every 20 ms.
func BenchmarkHandshake(b *testing.B) {
	for _, stack := range []string{"openssl", "go", "other"} {
		b.Run(stack, func(b *testing.B) {
			tr := casts().tracker()
			c := casts()
			k := &talk{number: 1, stack: stack, client: true, version: tls13, holds: true, address: 1, tgid: 1, freed: true}
			k.peer, k.own = append(k.peer, c.workloads[0].Certificate, c.ca.Certificate), append(k.own, c.workloads[1].Certificate)
			steps := k.steps()
			b.ReportAllocs()
			at := time.Second
			told := 0
			for i := range b.N {
				at += 100 * time.Microsecond
				for _, s := range steps {
					switch cookie := uint64(i + 1); {
					case s.record != nil:
						r := *s.record
						r.At, r.Connection = at, uint64(i)
						if r.Cookie != 0 {
							r.Cookie = cookie
						}
						tr.Record(&r)
					default:
						s.wire.At, s.wire.Cookie = at, cookie
						tr.Wire(s.wire)
					}
				}
				if i%200 == 0 {
					told += len(tr.Due(at))
				}
			}
			told += len(tr.Due(at + patience + quiet))
			if told != b.N || tr.Counters()[causeNames[pendingFull]] > 0 && stack != "other" {
				b.Fatalf("told %d of %d, %v", told, b.N, tr.Counters())
			}
		})
	}
}

// A certificate that is known already.
func BenchmarkKnownCertificate(b *testing.B) {
	tr := casts().tracker()
	r := bpf.TLSRecord{Kind: bpf.RecordPeerCertificate, At: time.Second, TGID: 1, Connection: 1, Cookie: 1, Payload: casts().plain.Certificate.Raw}
	r.Length = len(r.Payload)
	tr.Record(&r)
	b.ReportAllocs()
	for b.Loop() {
		tr.Record(&r)
	}
}
