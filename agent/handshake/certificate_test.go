package handshake

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"math/big"
	"strings"
	"testing"
	"time"

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
