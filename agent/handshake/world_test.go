package handshake

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/ambit-nhi/ambit/agent/tlswire"
	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

const people = 64

// ids are those of the authorities, leaves and sessions that tests are made of. Making them is dear.
type cast struct {
	ca, intermediate *testenv.CA
	strangers        []*testenv.CA // authorities of others, as in a list of them
	workloads        [people]*testenv.Issued
	chained          *testenv.Issued // by the intermediate
	plain            *testenv.Issued // no SPIFFE id, db.shop.example
	foreign, twoURIs *testenv.Issued
	expired          *testenv.Issued
}

var casts = sync.OnceValue(func() *cast {
	t := nobody{}
	c := &cast{ca: testenv.NewCA(t, "shop")}
	c.intermediate = c.ca.Intermediate("shop below")
	for i := range 6 {
		c.strangers = append(c.strangers, testenv.NewCA(t, fmt.Sprintf("stranger %d", i)))
	}
	for i := range c.workloads {
		c.workloads[i] = c.ca.SVID(fmt.Sprintf("spiffe://shop.example/w%d", i))
	}
	c.chained = c.intermediate.SVID("spiffe://shop.example/chained")
	c.plain = c.ca.Issue(testenv.Leaf{Names: []string{"db.shop.example"}, Change: func(x *x509.Certificate) { x.Subject.CommonName = "db" }})
	c.foreign = c.strangers[0].SVID("spiffe://other.example/w")
	c.twoURIs = c.ca.Issue(testenv.Leaf{URIs: []string{"spiffe://shop.example/a", "spiffe://shop.example/b"}})
	c.expired = c.ca.Issue(testenv.Leaf{URIs: []string{"spiffe://shop.example/old"}, NotBefore: wallZero.Add(-time.Hour), NotAfter: wallZero.Add(-time.Minute)})
	return c
})

// nobody makes what outlives a test.
type nobody struct{ testing.TB }

func (nobody) Helper()                   {}
func (nobody) Fatal(a ...any)            { panic(fmt.Sprint(a...)) }
func (nobody) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

var wallZero = time.Now().Add(-time.Minute).Truncate(time.Second)

func wall(d time.Duration) time.Time { return wallZero.Add(d) }

// judge is the X.509-SVID standard as go-spiffe has it, with the authority of shop.example.
func (c *cast) judge(chain [][]byte, at time.Time) Verdict {
	td := spiffeid.RequireTrustDomainFromString("shop.example")
	bundles := x509bundle.NewSet(x509bundle.FromX509Authorities(td, []*x509.Certificate{c.ca.Certificate}))
	certs := make([]*x509.Certificate, len(chain))
	for i, der := range chain {
		var err error
		if certs[i], err = x509.ParseCertificate(der); err != nil {
			return Verdict{Cause: "malformed"}
		}
	}
	id, _, err := x509svid.Verify(certs, bundles, x509svid.WithTime(at))
	if err != nil {
		return Verdict{Cause: "untrusted"}
	}
	identity, err := event.ParseIdentity(id.String())
	return Verdict{ID: identity, Verified: err == nil}
}

func (c *cast) tracker() *Tracker { return New(Config{Judge: c.judge, Wall: wall}) }

func sumOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// talk is one handshake as it is, from one end.
type talk struct {
	number      int
	stack       string // openssl, memory (OpenSSL that does not touch its socket), go, other
	client      bool
	version     uint16
	peer, own   []*x509.Certificate // nil: shows none
	takenUp     bool                // resumed
	fails       bool
	holds       bool // by the program's rules
	address     uint64
	tgid        uint32
	freed       bool
	falseHits   int  // authorities that are read from a file first
	looksAtPeer bool // encodes the peer's certificate as if it were its own
	readsOwn    bool // decodes its own certificate first, as if it were the peer's
	dear        bool // probes see the hellos that its process sends
	proxied     bool // another program on the machine forwards its hello
	windows     int  // that return before the handshake is over
}

func (k *talk) cookie() uint64 { return uint64(1000 + k.number) }

func (k *talk) edge() bpf.Number { return bpf.Number(1<<16 | k.number + 1) }

func (k *talk) cgroup() uint64 { return uint64(7 + k.tgid%3) }

func (k *talk) server() string { return fmt.Sprintf("s%d.shop.example", k.number) }

func (k *talk) random(client bool) (r [32]byte) {
	return sha256.Sum256([]byte(fmt.Sprintf("%d %t", k.number, client)))
}

func (k *talk) remote() netip.AddrPort {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 0x0a000000+uint32(k.number))
	return netip.AddrPortFrom(netip.AddrFrom4(a), 443)
}

// step is a record of a probe or an event of the wire.
type step struct {
	at     time.Duration
	talk   *talk
	record *bpf.TLSRecord
	wire   *tlswire.Event
}

func (s *step) give(t *Tracker) {
	if s.record != nil {
		r := *s.record
		r.Payload = append([]byte(nil), r.Payload...)
		t.Record(&r)
		for i := range r.Payload { // it is valid until the next only
			r.Payload[i] = 0xee
		}
		return
	}
	t.Wire(s.wire)
}

var localhost = netip.MustParseAddrPort("127.0.0.1:40000")

// steps are what the kernel tells of it, in the order that it happens.
func (k *talk) steps() (out []step) {
	bound := false
	record := func(kind bpf.TLSKind, der []byte, change func(*bpf.TLSRecord)) {
		r := &bpf.TLSRecord{Kind: kind, Target: 5, TGID: k.tgid, TID: k.tgid, Cgroup: k.cgroup(), Connection: k.address, Payload: der, Length: len(der)}
		if bound {
			r.Cookie, r.Edge, r.Local, r.Remote = k.cookie(), k.edge(), localhost, k.remote()
		}
		if change != nil {
			change(r)
		}
		out = append(out, step{record: r})
	}
	bind := func() {
		if k.stack != "memory" && !bound {
			bound = true
			record(bpf.RecordBound, nil, nil)
		}
	}
	wire := func(sent bool, change func(*tlswire.Event)) {
		ev := &tlswire.Event{Cookie: k.cookie(), Edge: k.edge(), Cgroup: k.cgroup(), Local: localhost, Remote: k.remote(), Out: sent}
		if sent {
			ev.TGID = k.tgid
		}
		change(ev)
		out = append(out, step{wire: ev})
		if k.proxied && sent {
			proxy := *ev
			proxy.Cookie, proxy.Edge, proxy.Cgroup, proxy.TGID = ev.Cookie+1<<20, ev.Edge+1<<8, 99, 4
			out = append(out, step{wire: &proxy})
		}
	}
	random := func(client bool) {
		if k.dear && k.stack != "go" && client == k.client {
			r := k.random(client)
			record(bpf.RecordRandom, r[:], func(r *bpf.TLSRecord) { r.Client = client })
		}
	}
	peers := func() {
		for i, c := range k.peer[:min(len(k.peer), 4)] {
			record(bpf.RecordPeerCertificate, c.Raw, func(r *bpf.TLSRecord) { r.Index = uint32(i) })
		}
		if len(k.peer) > 0 && k.stack != "go" {
			record(bpf.RecordVerified, nil, func(r *bpf.TLSRecord) { r.Verified = k.holds })
		}
	}
	own := func() {
		if len(k.own) == 0 {
			return
		}
		if k.readsOwn { // from a file
			record(bpf.RecordPeerCertificate, k.own[0].Raw, nil)
		}
		if k.stack != "go" { // puts its own chain together
			record(bpf.RecordVerified, nil, func(r *bpf.TLSRecord) {
				r.Verified = true
				if k.client {
					r.Index = 1
				}
			})
		}
		record(bpf.RecordOwnCertificate, k.own[0].Raw, nil)
	}
	probes := k.stack != "other"
	session := []byte{32, byte(k.number)}
	hello := func() {
		wire(k.client, func(ev *tlswire.Event) {
			ev.Client = &tlswire.Client{Random: k.random(true), Version: k.version, SNI: k.server(), Resumes: k.takenUp, SessionID: session}
		})
	}
	answer := func() {
		id := []byte{1}
		if k.takenUp {
			id = session
		}
		wire(!k.client, func(ev *tlswire.Event) {
			ev.Server = &tlswire.Server{Random: k.random(false), Version: k.version, SessionID: id, Resumed: k.version == tls13 && k.takenUp}
		})
	}
	if probes {
		for i := range k.falseHits {
			record(bpf.RecordPeerCertificate, casts().strangers[i].Certificate.Raw, func(r *bpf.TLSRecord) { r.Index = uint32(i) })
		}
		if k.client {
			random(true)
		}
		bind()
	}
	hello()
	if probes && !k.client && k.stack != "go" && k.takenUp {
		var der []byte
		if len(k.peer) > 0 {
			der = k.peer[0].Raw
		}
		record(bpf.RecordSession, der, nil)
	}
	if probes && !k.client {
		random(false)
		if !k.takenUp {
			own()
		}
	}
	answer()
	if probes {
		for range k.windows {
			record(bpf.RecordDone, nil, nil)
		}
		if !k.takenUp || k.stack == "go" {
			peers()
			if k.looksAtPeer && len(k.peer) > 0 && k.stack != "go" {
				record(bpf.RecordOwnCertificate, k.peer[0].Raw, nil)
			}
		}
		if k.client && !k.takenUp && !k.fails {
			own()
		}
		switch {
		case k.stack == "go":
			record(bpf.RecordGoDone, []byte("h2\x00"+k.server()), func(r *bpf.TLSRecord) {
				r.Client, r.Version, r.Resumed, r.OK, r.Verified = k.client, k.version, k.takenUp, !k.fails, k.holds && len(k.peer) > 0 && !k.fails
			})
		default:
			record(bpf.RecordDone, nil, func(r *bpf.TLSRecord) { r.OK = !k.fails })
			if k.fails || k.freed {
				record(bpf.RecordFreed, nil, nil)
			}
		}
	}
	return out
}

// sessionDER is an SSL_SESSION as OpenSSL writes it, as far as its first fields go.
func sessionDER(t testing.TB, certificate []byte, result int) []byte {
	t.Helper()
	type form struct {
		Version    int
		TLS        int
		Cipher     []byte
		ID         []byte
		Key        []byte
		Time       int           `asn1:"explicit,tag:1"`
		Timeout    int           `asn1:"explicit,tag:2"`
		Peer       asn1.RawValue `asn1:"optional"`
		Context    []byte        `asn1:"explicit,tag:4"`
		Result     int           `asn1:"explicit,tag:5"`
		ServerName []byte        `asn1:"explicit,tag:6"`
	}
	f := form{1, tls13, []byte{0x13, 2}, make([]byte, 32), make([]byte, 48), 1, 300, asn1.RawValue{}, []byte("context"), result, []byte("db.shop.example")}
	if certificate != nil {
		f.Peer = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 3, IsCompound: true, Bytes: certificate}
	}
	der, err := asn1.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
