package handshake

import (
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/agent/tlswire"
	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// play gives a tracker handshakes one after another, each from now on, and what was told of them.
func play(t *testing.T, tr *Tracker, now *time.Duration, talks ...*talk) (out []Handshake) {
	t.Helper()
	for _, k := range talks {
		for _, s := range k.steps() {
			*now += time.Millisecond
			if s.record != nil {
				s.record.At = *now
			} else {
				s.wire.At = *now
			}
			s.give(tr)
		}
		*now += patience + 3*quiet
		out = append(out, tr.Due(*now)...)
	}
	if len(out) != len(talks) {
		t.Fatalf("told %d handshakes of %d, %v", len(out), len(talks), tr.Counters())
	}
	return out
}

func chainOf(issued ...*testenv.Issued) (out []*x509.Certificate) {
	for _, i := range issued {
		out = append(out, i.Certificate)
	}
	return out
}

// Whom certificates prove their ends to be.
func TestIdentities(t *testing.T) {
	c := casts()
	noNames := c.ca.Issue(testenv.Leaf{Change: func(x *x509.Certificate) { x.Subject.CommonName = "client 7" }})
	f := func(name string, k talk, server *testenv.Issued, peer, own string, verified bool) {
		t.Helper()
		for _, stack := range []string{"openssl", "go"} {
			for _, version := range []uint16{tls12, tls13} {
				k := k
				k.stack, k.version, k.tgid, k.address, k.freed, k.number = stack, version, 100, 1, true, 3
				if server != nil {
					k.peer = append(chainOf(server), k.peer...)
				}
				now := time.Second
				h := play(t, c.tracker(), &now, &k)[0]
				if got := h.Peer.String(); got != peer && !(peer == "x509" && strings.HasPrefix(got, "x509://") && strings.HasSuffix(got, "/CN=client%207%2CO=test")) {
					t.Errorf("%s, %s: the peer is %q, want %q", name, stack, got, peer)
				}
				if h.Own.String() != own || h.TLS.Verified != verified {
					t.Errorf("%s, %s: own %q, verified %t; want %q, %t", name, stack, h.Own, h.TLS.Verified, own, verified)
				}
				if p := h.TLS.PeerCertificate; p != nil && (p.SHA256 != sumOf(k.peer[0]) || p.Proven != strings.HasPrefix(peer, "spiffe:")) {
					t.Errorf("%s, %s: the peer's certificate is %+v", name, stack, p)
				}
			}
		}
	}
	w := c.workloads
	client, failing := talk{client: true, holds: true}, talk{client: true, fails: true}
	f("an SVID", client, w[0], "spiffe://shop.example/w0", "", true)
	f("an SVID, whatever the program thinks", talk{client: true}, w[0], "spiffe://shop.example/w0", "", true)
	f("two SVIDs", talk{client: true, own: chainOf(w[1])}, w[0], "spiffe://shop.example/w0", "spiffe://shop.example/w1", true)
	f("with what stands between", talk{client: true, peer: []*x509.Certificate{c.intermediate.Certificate}}, c.chained, "spiffe://shop.example/chained", "", true)
	f("a handshake that failed", failing, w[0], "", "", false)
	f("of another trust domain", talk{client: true}, c.foreign, "", "", false)
	f("with two ids", talk{client: true}, c.twoURIs, "", "", false)
	f("expired", talk{client: true}, c.expired, "", "", false)
	f("a server's without SPIFFE id, of another name", client, c.plain, "", "", false)
	f("a client's without SPIFFE id", talk{holds: true, own: chainOf(w[1])}, noNames, "x509", "spiffe://shop.example/w1", true)
	f("a client's that nobody verified", talk{own: chainOf(w[1])}, noNames, "", "spiffe://shop.example/w1", false)
	f("a client's that claims a SPIFFE id", talk{holds: true, own: chainOf(w[1])}, c.foreign, "", "spiffe://shop.example/w1", true)
	f("a client's that failed", talk{holds: true, fails: true, own: chainOf(w[1])}, noNames, "", "", false)
	f("no client certificate", talk{own: chainOf(w[1])}, nil, "", "spiffe://shop.example/w1", false)
}

// A server's name is only proven by a certificate that has it.
func TestServerNames(t *testing.T) {
	c := casts()
	f := func(names []string, holds, want bool) {
		t.Helper()
		for _, stack := range []string{"openssl", "go"} {
			k := &talk{number: 3, stack: stack, client: true, holds: holds, version: tls13, tgid: 1, address: 1, peer: chainOf(c.ca.Issue(testenv.Leaf{Names: names}))}
			now := time.Second
			if h := play(t, c.tracker(), &now, k)[0]; h.TLS.SNI != "s3.shop.example" || h.TLS.Verified != want || !h.Peer.IsZero() {
				t.Errorf("%v, %s: %+v", names, stack, h)
			}
		}
	}
	f([]string{"s3.shop.example"}, true, true)
	f([]string{"*.shop.example"}, true, true)
	f([]string{"s3.shop.example"}, false, false)
	f([]string{"s4.shop.example"}, true, false)
	f(nil, true, false)
}

// What OpenSSL says of its own chain is nothing about the peer's.
func TestOwnChainIsNotThePeers(t *testing.T) {
	c := casts()
	k := &talk{number: 3, stack: "openssl", client: true, version: tls13, tgid: 1, address: 1, own: chainOf(c.workloads[1])}
	k.peer = chainOf(c.ca.Issue(testenv.Leaf{Names: []string{k.server()}}))
	now := time.Second
	if h := play(t, c.tracker(), &now, k)[0]; h.TLS.Verified || h.TLS.OwnCertificate == nil || h.TLS.PeerCertificate == nil {
		t.Errorf("told %+v", h)
	}
}

// An own certificate is judged with what stands between it and its authority, if that is known.
func TestOwnBelowIntermediate(t *testing.T) {
	c := casts()
	tr := c.tracker()
	server := &talk{number: 1, stack: "openssl", version: tls13, tgid: 1, address: 1, own: chainOf(c.chained), freed: true}
	now := time.Second
	if h := play(t, tr, &now, server)[0]; !h.Own.IsZero() {
		t.Errorf("own is %s though nobody knows the issuer", h.Own)
	}
	peer := &talk{number: 2, stack: "go", client: true, version: tls13, tgid: 2, address: 1, peer: []*x509.Certificate{c.chained.Certificate, c.intermediate.Certificate}}
	play(t, tr, &now, peer)
	server.number = 3
	if h := play(t, tr, &now, server)[0]; h.Own.String() != "spiffe://shop.example/chained" {
		t.Errorf("own is %q", h.Own)
	}
}

// Sessions that OpenSSL's clients take up are of whom the full handshakes met before, if that is one.
func TestInference(t *testing.T) {
	c := casts()
	full := func(number int, server *testenv.Issued) *talk {
		return &talk{number: number, stack: "openssl", client: true, version: tls13, tgid: 1, address: 1, freed: true, peer: chainOf(server), holds: true}
	}
	again := func(number int) *talk {
		return &talk{number: number, stack: "openssl", client: true, version: tls13, tgid: 1, address: 1, freed: true, takenUp: true}
	}
	f := func(name, want string, change func(*talk, *step), talks ...*talk) {
		t.Helper()
		tr := c.tracker()
		now := time.Second
		var told []Handshake
		for i, k := range talks {
			for _, s := range k.steps() {
				now += time.Millisecond
				if s.record != nil {
					s.record.At = now
					if s.record.Remote.IsValid() {
						s.record.Remote, s.record.Edge = talks[0].remote(), talks[0].edge()
					}
				} else {
					s.wire.At, s.wire.Edge = now, talks[0].edge()
					if s.wire.Client != nil {
						s.wire.Client.SNI = talks[0].server()
					}
				}
				if change != nil && i < len(talks)-1 {
					change(k, &s)
				}
				if s.record != nil || s.wire != nil {
					s.give(tr)
				}
			}
			now += patience
			told = append(told, tr.Due(now)...)
		}
		h := told[len(told)-1]
		if h.Cookie != talks[len(talks)-1].cookie() || h.Peer.String() != want || (h.TLS.Provenance == "inferred") != (want != "") || h.TLS.Verified {
			t.Errorf("%s: told %+v, want %s", name, h, want)
		}
	}
	const w0 = "spiffe://shop.example/w0"
	f("one before", w0, nil, full(0, c.workloads[0]), again(1))
	f("two of the same before", w0, nil, full(0, c.workloads[0]), full(1, c.ca.SVID(w0)), again(2))
	f("two others before", "", nil, full(0, c.workloads[0]), full(1, c.workloads[1]), again(2))
	f("nothing before", "", nil, again(1))
	other := full(0, c.workloads[0])
	other.tgid = 9
	f("of another process", "", nil, other, again(1))
	f("one that failed before", "", func(_ *talk, s *step) {
		if s.record != nil && s.record.Kind == bpf.RecordDone {
			s.record.OK = false
		}
	}, full(0, c.workloads[0]), again(1))
	f("one before, and one that nobody saw", "", func(k *talk, s *step) {
		if k.number == 1 {
			s.record = nil
		}
	}, full(0, c.workloads[0]), full(1, c.workloads[1]), again(2))
	f("for another server", "", func(_ *talk, s *step) {
		if s.wire != nil && s.wire.Client != nil {
			s.wire.Client.SNI = "other.example"
		}
	}, full(0, c.workloads[0]), again(1))
}

// 200 handshakes at once, of programs whose TLS does not touch its sockets, are told by their hellos, none for another.
func TestMemoryHandshakesAreNotSwapped(t *testing.T) {
	c := casts()
	var lines [][]step
	for i := range 200 {
		k := &talk{number: i, stack: "memory", dear: true, client: i%2 == 0, version: tls13, tgid: uint32(1 + i%2), address: uint64(i), freed: true, proxied: true, holds: true}
		k.peer, k.own = chainOf(c.workloads[i%people]), chainOf(c.workloads[(i+1)%people])
		lines = append(lines, k.steps())
	}
	r := rand.New(rand.NewPCG(1, 2))
	tr := c.tracker()
	now, told := time.Second, 0
	take := func() {
		for _, h := range tr.Due(now) {
			i := int(h.Cookie) - 1000
			if i >= 200 || h.TLS.Provenance != "full" {
				continue
			}
			told++
			peer, own := fmt.Sprintf("spiffe://shop.example/w%d", i%people), fmt.Sprintf("spiffe://shop.example/w%d", (i+1)%people)
			if h.Peer.String() != peer || h.Own.String() != own || h.Edge != bpf.Number(1<<16|i+1) || h.Client != (i%2 == 0) {
				t.Errorf("%d is told as %+v", i, h)
			}
		}
	}
	for len(lines) > 0 {
		i := r.IntN(len(lines))
		s := lines[i][0]
		now += 20 * time.Microsecond
		if s.record != nil {
			s.record.At = now
		} else {
			s.wire.At = now
		}
		s.give(tr)
		if lines[i] = lines[i][1:]; len(lines[i]) == 0 {
			lines = append(lines[:i], lines[i+1:]...)
		}
	}
	for range 300 {
		now += 20 * time.Millisecond
		take()
	}
	if told != 200 {
		t.Errorf("told %d of 200, %v", told, tr.Counters())
	}
}

// The ledger waits for handshakes that were heard of lately; slow ones are told all the same.
func TestSlowHandshake(t *testing.T) {
	c := casts()
	k := &talk{number: 0, stack: "openssl", client: true, version: tls13, tgid: 1, address: 1, peer: chainOf(c.workloads[0]), windows: 2}
	tr := c.tracker()
	now := time.Second
	for i, s := range k.steps() {
		if s.record != nil {
			s.record.At = now
		} else {
			s.wire.At = now
		}
		s.give(tr)
		if out := tr.Due(now); len(out) > 0 {
			t.Fatalf("told %+v before its end", out)
		}
		if !tr.UnderWay(k.edge()) {
			t.Fatalf("not under way after step %d", i)
		}
		if s.wire != nil && s.wire.Client != nil { // the server takes its time
			for range 30 {
				now += 100 * time.Millisecond
				if out := tr.Due(now); len(out) > 0 {
					t.Fatalf("told %+v before its end", out)
				}
			}
			if tr.UnderWay(k.edge()) {
				t.Fatal("under way without news for 3 s")
			}
		}
	}
	out := tr.Due(now + settle)
	if len(out) != 1 || !out[0].OK || out[0].Peer.IsZero() || tr.UnderWay(k.edge()) {
		t.Fatalf("told %+v", out)
	}
}

// A handshake of which only the wire tells waits a second for more; what comes later still is told once more.
func TestWireOnly(t *testing.T) {
	c := casts()
	k := &talk{number: 0, stack: "openssl", client: true, version: tls12, tgid: 1, address: 1, peer: chainOf(c.workloads[0])}
	tr := c.tracker()
	now := time.Second
	var late []step
	for _, s := range k.steps() {
		if s.record != nil {
			late = append(late, s)
			continue
		}
		s.wire.At = now
		s.give(tr)
	}
	(&step{wire: &tlswire.Event{At: now, Cookie: k.cookie(), Certificates: [][]byte{c.workloads[0].Certificate.Raw}}}).give(tr)
	if out := tr.Due(now + quiet - 1); len(out) > 0 || !tr.UnderWay(k.edge()) {
		t.Fatalf("told %+v at once", out)
	}
	out := tr.Due(now + quiet)
	if len(out) != 1 || out[0].TLS.Provenance != "wire-only" || !out[0].Peer.IsZero() || out[0].TLS.Verified || out[0].TLS.PeerCertificate == nil || out[0].TLS.PeerCertificate.Proven {
		t.Fatalf("told %+v", out)
	}
	var blind []uint32
	tr.Blind(func(tgid uint32) { blind = append(blind, tgid) })
	if len(blind) != 1 || blind[0] != 1 {
		t.Errorf("blind to %v", blind)
	}
	now += 2 * quiet
	for _, s := range late {
		s.record.At = now
		s.give(tr)
	}
	out = tr.Due(now + 2*quiet)
	if len(out) != 1 || out[0].TLS.Provenance != "full" || out[0].Peer.IsZero() {
		t.Fatalf("told %+v of what came late", out)
	}
	if g := tr.Gauges(); g["tls-full"] != 1 || g["tls-wire-only"] != 0 {
		t.Errorf("gauges %v", g)
	}
}

// What cannot be bound to a socket says so of its target.
func TestUnbound(t *testing.T) {
	c := casts()
	k := &talk{number: 0, stack: "memory", client: true, version: tls13, tgid: 1, address: 1, peer: chainOf(c.workloads[0]), freed: true}
	tr := c.tracker()
	now := time.Second
	if h := play(t, tr, &now, k)[0]; h.TLS.Provenance != "wire-only" || !h.Peer.IsZero() {
		t.Errorf("told %+v", h)
	}
	var targets []uint32
	tr.Unbound(func(target uint32) { targets = append(targets, target) })
	tr.Unbound(func(uint32) { t.Error("said twice") })
	if len(targets) != 1 || targets[0] != 5 || tr.Counters()["tls-unbound"] != 1 {
		t.Errorf("unbound %v, %v", targets, tr.Counters())
	}
}

// A program that writes to another socket meanwhile is not told to have had its handshake there.
func TestOtherSocketMeanwhile(t *testing.T) {
	c := casts()
	k := &talk{number: 0, stack: "openssl", client: true, version: tls13, tgid: 1, address: 1, peer: chainOf(c.workloads[0]), freed: true}
	tr := c.tracker()
	now := time.Second
	for _, s := range k.steps() {
		now += time.Millisecond
		if s.record != nil {
			s.record.At = now
			if s.record.Kind == bpf.RecordVerified {
				other := *s.record
				other.Kind, other.Cookie, other.Edge = bpf.RecordBound, 77, 77
				tr.Record(&other)
			}
		} else {
			s.wire.At = now
		}
		s.give(tr)
	}
	for _, h := range tr.Due(now + time.Minute) {
		if h.Cookie == 77 || h.Edge == 77 || !h.Peer.IsZero() {
			t.Errorf("told %+v", h)
		}
	}
}

// A server that takes its time to answer is told of as soon as it has.
func TestWireOnlyOfSlowServer(t *testing.T) {
	c := casts()
	k := &talk{number: 0, stack: "other", client: false, version: tls12, tgid: 1, address: 1}
	tr := c.tracker()
	now := time.Second
	tr.Due(now)
	said := 0
	for _, s := range k.steps() {
		if s.wire == nil {
			continue
		}
		if said++; said == 2 {
			for range 40 { // looked at meanwhile
				now += 100 * time.Millisecond
				if out := tr.Due(now); len(out) != 0 {
					t.Fatalf("told before the server spoke: %+v", out)
				}
			}
		}
		s.wire.At = now
		s.give(tr)
	}
	if said < 2 {
		t.Fatal("the server never spoke: it proves nothing")
	}
	if out := tr.Due(now + quiet); len(out) != 1 || !out[0].OK || out[0].TLS.Provenance != "wire-only" || out[0].Remote != k.remote() {
		t.Errorf("told are %+v", out)
	}
}
