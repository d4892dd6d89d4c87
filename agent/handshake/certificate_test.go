package handshake

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func TestCertificateAsTold(t *testing.T) {
	f := func(serialNumber *big.Int, want string) {
		t.Helper()
		if got := serial(serialNumber); got != want {
			t.Errorf("%s is %s, want %s", serialNumber, got, want)
		}
	}
	f(big.NewInt(0), "00")
	f(big.NewInt(10), "0A")
	f(big.NewInt(0xabc), "0ABC")
	f(big.NewInt(-255), "-FF")
	f(new(big.Int).Lsh(big.NewInt(1), 8*maxSerial), "01"+strings.Repeat("00", maxSerial-1)+"…")

	c := casts()
	x := c.ca.Issue(testenv.Leaf{Names: []string{"a"}, Change: func(x *x509.Certificate) { x.SerialNumber = big.NewInt(0xc0ffee) }}).Certificate
	tr := c.tracker()
	got := tr.certificates.get(x.Raw, len(x.Raw), 1, time.Second)
	if got.plain.SHA256 != sumOf(x) || got.plain.Serial != "C0FFEE" || got.plain.Issuer != "CN=shop" || !got.plain.NotAfter.Equal(x.NotAfter) || got.plain.Proven {
		t.Errorf("told %+v", got.plain)
	}
	if again := tr.certificates.get(x.Raw, len(x.Raw), 1, time.Second); again != got {
		t.Error("it is read twice")
	}
}

// Authorities change their keys and keep their names. What was seen of their certificates is for the leaves of each.
func TestIssuersOfOneName(t *testing.T) {
	c := casts()
	tr := c.tracker()
	get := func(x *x509.Certificate) *certificate { return tr.certificates.get(x.Raw, len(x.Raw), 1, time.Second) }
	at := wall(time.Second)
	var leaves []*certificate
	const generations = maxNamesakes + 3
	for i := range generations {
		between := c.ca.Intermediate("rotating")
		get(between.Certificate)
		leaf := get(between.SVID("spiffe://shop.example/rotating").Certificate)
		leaves = append(leaves, leaf)
		if i == 0 {
			continue // nobody asked of it while it was known
		}
		if v := tr.certificates.judge([]*certificate{leaf}, at); !v.Verified {
			t.Errorf("generation %d: %s", i, v.Cause)
		}
	}
	if n := len(tr.certificates.authorities[string(leaves[0].issuer)]); n != maxNamesakes {
		t.Errorf("%d authorities of one name are known", n)
	}
	at = at.Add(2 * verdictLife)
	for i, leaf := range leaves {
		if v := tr.certificates.judge([]*certificate{leaf}, at); v.Verified != (i > 0) {
			t.Errorf("generation %d, later: verified %t", i, v.Verified)
		}
	}
}

// verifyTold has an observation with a certificate be sent and read.
func verifyTold(t testing.TB, c *certificate) {
	t.Helper()
	batch := event.NewBatchBuilder("n1", "b", wall(0))
	batch.Add(&event.Observation{
		Time: wall(time.Second), Workload: event.Workload{Identity: mustIdentity(t, "spiffe://shop.example/w")}, Direction: event.Inbound, Protocol: event.TCP,
		Peer: event.Peer{Address: netip.MustParseAddr("10.0.0.1"), Identity: event.CertificateIdentity(c.issuer, c.words)},
		TLS:  &event.TLS{PeerCertificate: c.told(false), OwnCertificate: c.told(true)},
	})
	verifyBatch(t, batch)
}

// Whatever stands in a certificate, those who are told of it can read that, and all that comes along.
func TestHostileCertificatesAreReadable(t *testing.T) {
	c := casts()
	tr := c.tracker()
	f := func(change func(*x509.Certificate)) *certificate {
		t.Helper()
		x := c.ca.Issue(testenv.Leaf{Names: []string{"a"}, Change: change}).Certificate
		got := tr.certificates.get(x.Raw, len(x.Raw), 1, time.Second)
		if got != nil {
			verifyTold(t, got)
		}
		return got
	}
	year := func(n int) time.Time { return time.Date(n, 1, 1, 0, 0, 0, 0, time.UTC) }
	for _, n := range []int{0, 1, 2, 1601, 1950, 2049, 2050, 2262, 9999} {
		if got := f(func(x *x509.Certificate) { x.NotBefore, x.NotAfter = year(n), year(n) }); got == nil && n > 0 {
			t.Errorf("one of the year %d is refused: %v", n, tr.Counters())
		}
	}
	if n := tr.losses[certificateMalformed]; n != 1 { // the calendar has no year 0, and others cannot write it
		t.Errorf("%d are refused, want 1", n)
	}
	for _, name := range []string{"\x1b[2J\n\r\x00", "\u202e\u2028", strings.Repeat("é", maxName/2-32), strings.Repeat(",", maxName-32)} {
		if f(func(x *x509.Certificate) { x.Subject = pkix.Name{CommonName: name} }) == nil {
			t.Errorf("%.20q is refused: %v", name, tr.Counters())
		}
	}
	// With a zone, the last second of the calendar is in no year that can be written.
	last := c.ca.Issue(testenv.Leaf{Names: []string{"a"}, Change: func(x *x509.Certificate) { x.NotAfter = year(10000).Add(-time.Second) }}).Certificate.Raw
	at := bytes.Index(last, []byte("99991231235959Z"))
	zoned := slices.Concat(last[:at+14], []byte("-0100"), last[at+15:])
	for _, length := range []int{at - 1, at - 18, 3, 7} { // of it, of both dates, and of all around them, in their last byte
		zoned[length] += 4
	}
	if x, err := x509.ParseCertificate(zoned); err != nil || x.NotAfter.UTC().Year() != 10000 {
		t.Fatalf("it is not what it should be: %v", err)
	}
	if tr.certificates.get(zoned, len(zoned), 1, time.Second) != nil || tr.losses[certificateMalformed] != 2 {
		t.Errorf("one of the year 10000 is taken: %v", tr.Counters())
	}
	// A subject of a form that takes any bytes (T61String), which is issuer here, too.
	raw, err := asn1.Marshal([]pkix.RelativeDistinguishedNameSET{{{
		Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: asn1.RawValue{Tag: asn1.TagT61String, Bytes: bytes.Repeat([]byte{0xff, 0x1b, 0xc3}, 500)},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	self := &x509.Certificate{SerialNumber: big.NewInt(1), RawSubject: raw, NotBefore: year(2020), NotAfter: year(2040)}
	der, err := x509.CreateCertificate(nil, self, self, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	got := tr.certificates.get(der, len(der), 1, time.Second)
	if got == nil || !utf8.ValidString(got.plain.Issuer) || len(got.plain.Issuer) > maxIssuer+3 {
		t.Fatalf("told as %+v", got)
	}
	verifyTold(t, got)
}

// What is too large, cut or no certificate is refused and counted.
func TestRefusedCertificates(t *testing.T) {
	c := casts()
	tr := c.tracker()
	leaf := c.plain.Certificate.Raw
	long := c.ca.Issue(testenv.Leaf{Change: func(x *x509.Certificate) {
		x.Subject = pkix.Name{Organization: []string{strings.Repeat("o", maxName)}}
	}}).Certificate.Raw
	f := func(der []byte, length int, want cause) {
		t.Helper()
		before := tr.losses[want]
		if got := tr.certificates.get(der, length, 1, time.Second); got != nil || tr.losses[want] != before+1 {
			t.Errorf("%d of %d bytes: %v, %v", len(der), length, got, tr.Counters())
		}
	}
	f(leaf[:len(leaf)-1], len(leaf)-1, certificateMalformed)
	f(leaf[:len(leaf)-1], len(leaf), certificateTooLarge)
	f(make([]byte, 1<<20), 1<<20, certificateTooLarge)
	f(long, len(long), certificateTooLarge)
	f(nil, 0, certificateMalformed)
}

// A flood of certificates is read at a bounded pace, each cgroup's by itself, and takes bounded room.
func TestCertificateFlood(t *testing.T) {
	c := casts()
	cfg := Config{Judge: c.judge, Wall: wall, Certificates: 100, CertificateBytes: 150 << 10}
	tr := New(cfg)
	der := append([]byte(nil), c.plain.Certificate.Raw...)
	read := 0
	for i := range 10000 {
		binary.BigEndian.PutUint32(der[len(der)-4:], uint32(i)) // within the signature
		if tr.certificates.get(der, len(der), 1, time.Second+time.Duration(i)*100*time.Microsecond) != nil {
			read++
		}
		if n := tr.certificates.cache.Len(); n > cfg.Certificates || tr.certificates.bytes > cfg.CertificateBytes {
			t.Fatalf("%d certificates are kept, of %d bytes", n, tr.certificates.bytes)
		}
	}
	if most := readEachBurst + readEach + 1; read > most || uint64(10000-read) != tr.Counters()["tls-certificate-rate"] {
		t.Errorf("%d of one cgroup were read in a second, want %d at most; %v", read, most, tr.Counters())
	}
	if other := c.workloads[0].Certificate.Raw; tr.certificates.get(other, len(other), 2, 2*time.Second) == nil {
		t.Error("another cgroup's certificate is not read")
	}
	sum := 0
	for _, x := range tr.certificates.cache.All() {
		sum += (*x).size()
		if sha256.Sum256((*x).der) != (*x).sum {
			t.Error("a certificate changed")
		}
	}
	if sum != tr.certificates.bytes {
		t.Errorf("%d bytes are kept, %d are counted", sum, tr.certificates.bytes)
	}
}

// A verdict holds for a moment, but not beyond the certificate's end.
func TestVerdictsEnd(t *testing.T) {
	c := casts()
	end := wallZero.Add(time.Hour)
	tr := c.tracker()
	asked := 0
	tr.certificates.cfg.Judge = func(chain [][]byte, at time.Time) Verdict {
		asked++
		return c.judge(chain, at)
	}
	x := c.ca.Issue(testenv.Leaf{URIs: []string{"spiffe://shop.example/brief"}, NotBefore: wallZero.Add(-time.Hour), NotAfter: end}).Certificate
	chain := []*certificate{tr.certificates.get(x.Raw, len(x.Raw), 1, time.Second)}
	f := func(at time.Time, verified bool, want int) {
		t.Helper()
		if v := tr.certificates.judge(chain, at); v.Verified != verified || asked != want {
			t.Errorf("at %s: verified %t, asked %d times, want %t, %d", at, v.Verified, asked, verified, want)
		}
	}
	f(wallZero, true, 1)
	f(wallZero.Add(verdictLife), true, 1)
	f(wallZero.Add(verdictLife+1), true, 2)
	f(end.Add(-time.Second), true, 3)
	f(end.Add(time.Second), false, 4)
	f(end.Add(-time.Second), true, 5)
}
