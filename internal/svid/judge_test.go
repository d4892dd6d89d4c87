package svid

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// TestJudge judges real certificates of all sorts.
func TestJudge(t *testing.T) {
	ca, other := testenv.NewCA(t, "shop"), testenv.NewCA(t, "other")
	below := ca.Intermediate("below")
	bundles := x509bundle.NewSet(x509bundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString("shop.example"), certs(ca)),
		x509bundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString("other.example"), certs(other)),
		x509bundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString("empty.example"), nil))
	const id = "spiffe://shop.example/ns/shop/sa/checkout"
	now := time.Now()
	issue := func(l testenv.Leaf) []*x509.Certificate { return []*x509.Certificate{ca.Issue(l).Certificate} }
	good := issue(testenv.Leaf{URIs: []string{id}})
	for name, c := range map[string]struct {
		chain []*x509.Certificate
		at    time.Time
		cause Cause
		words string
	}{
		"good":               {good, now, "", ""},
		"good when used":     {issue(testenv.Leaf{URIs: []string{id}, NotAfter: now.Add(-time.Minute)}), now.Add(-2 * time.Minute), "", ""},
		"with intermediate":  {[]*x509.Certificate{below.SVID(id).Certificate, below.Certificate}, now, "", ""},
		"no intermediate":    {[]*x509.Certificate{below.SVID(id).Certificate}, now, CauseUntrusted, "no authority of shop.example"},
		"with DNS names":     {issue(testenv.Leaf{URIs: []string{id}, Names: []string{"checkout.shop.svc"}}), now, "", ""},
		"nothing":            {nil, now, CauseMalformed, "no certificate"},
		"expired":            {issue(testenv.Leaf{URIs: []string{id}, NotAfter: now.Add(-time.Minute)}), now, CauseExpired, "ended at 20"},
		"not yet":            {issue(testenv.Leaf{URIs: []string{id}, NotBefore: now.Add(time.Minute)}), now, CauseNotYetValid, "not valid before 20"},
		"no time":            {good, time.Time{}, CauseNoTime, "time"},
		"before the CA":      {issue(testenv.Leaf{URIs: []string{id}, NotBefore: now.Add(-1000 * time.Hour)}), now.Add(-500 * time.Hour), CauseUntrusted, "authority in its chain"},
		"other's authority":  {[]*x509.Certificate{other.SVID(id).Certificate}, now, CauseUntrusted, "no authority of shop.example"},
		"unknown domain":     {issue(testenv.Leaf{URIs: []string{"spiffe://far.example/a"}}), now, CauseNoBundle, "far.example"},
		"domain's name only": {issue(testenv.Leaf{URIs: []string{"spiffe://empty.example/a"}}), now, CauseNoBundle, "empty.example"},
		"two URIs":           {issue(testenv.Leaf{URIs: []string{id, "spiffe://shop.example/b"}}), now, CauseNotSVID, "more than one URI"},
		"two kinds of URI":   {issue(testenv.Leaf{URIs: []string{id, "https://shop.example"}}), now, CauseNotSVID, "more than one URI"},
		"no URI":             {issue(testenv.Leaf{Names: []string{"shop.example"}}), now, CauseNotSVID, "no URI"},
		"other URI":          {issue(testenv.Leaf{URIs: []string{"https://shop.example/a"}}), now, CauseNotSVID, "scheme"},
		"trust domain":       {issue(testenv.Leaf{URIs: []string{"spiffe://shop.example"}}), now, CauseNotSVID, "not a workload"},
		"bad path":           {issue(testenv.Leaf{URIs: []string{"spiffe://shop.example/a/../b"}}), now, CauseNotSVID, "path"},
		"authority":          {issue(testenv.Leaf{URIs: []string{id}, Authority: true}), now, CauseNotSVID, "authority"},
		"signs certificates": {issue(testenv.Leaf{URIs: []string{id}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}), now, CauseNotSVID, "sign certificates"},
		"signs nothing":      {issue(testenv.Leaf{URIs: []string{id}, KeyUsage: x509.KeyUsageKeyEncipherment}), now, CauseNotSVID, "handshakes"},
		"long chain":         {bytesOf(good[0], 11), now, CauseTooLarge, "11 certificates"},
		"1 MiB":              {issue(testenv.Leaf{URIs: []string{id}, Change: func(c *x509.Certificate) { c.Subject.CommonName = strings.Repeat("x", 1<<20) }}), now, CauseTooLarge, "bytes"},
		"unknown extension": {issue(testenv.Leaf{URIs: []string{id}, Change: func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 3, 6, 1, 4, 1, 99999, 1}, Critical: true, Value: []byte{5, 0}}}
		}}), now, CauseUntrusted, "unhandled critical extension"},
		"long RSA key": {[]*x509.Certificate{good[0], longKey(t)}, now, CauseTooLarge, "RSA key of 16384 bits"},
	} {
		t.Run(name, func(t *testing.T) {
			var der [][]byte
			for _, c := range c.chain {
				der = append(der, c.Raw)
			}
			for way, v := range map[string]Verdict{"certificates": judge(c.chain, bundles, c.at), "DER": judgeDER(der, bundles, c.at)} {
				if v.Verified != (c.cause == "") || v.Cause != c.cause || !strings.Contains(v.Reason, c.words) || (v.Reason == "") != v.Verified {
					t.Errorf("as %s: %+v", way, v)
				}
				if v.Verified && v.ID.String() != id {
					t.Errorf("as %s: it is of %s", way, v.ID)
				}
			}
		})
	}
	if v := judgeDER([][]byte{good[0].Raw[:100]}, bundles, now); v.Cause != CauseMalformed {
		t.Errorf("half a certificate: %+v", v)
	}
	if v := judgeDER([][]byte{make([]byte, 1<<20)}, bundles, now); v.Cause != CauseTooLarge {
		t.Errorf("1 MiB: %+v", v)
	}
	empty, err := New(Config{Socket: "/nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	if v := empty.JudgeDER([][]byte{good[0].Raw}, now); v.Cause != CauseNoBundle || v.ID.String() != id {
		t.Errorf("without bundles: %+v", v)
	}
}

// bytesOf is a chain of n times the same.
func bytesOf(c *x509.Certificate, n int) (out []*x509.Certificate) {
	for range n {
		out = append(out, c)
	}
	return out
}

// longKey is a certificate whose RSA key would take long to verify with. Nobody has the other half of it.
func longKey(t testing.TB) *x509.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	n := new(big.Int).Lsh(big.NewInt(1), 16383)
	der, err := x509.CreateCertificate(rand.Reader, template, &x509.Certificate{}, &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// FuzzJudge feeds whatever may be on the wire. What is verified must be by the authority, which signed two certificates only.
func FuzzJudge(f *testing.F) {
	ca := testenv.NewCA(f, "shop")
	below := ca.Intermediate("below")
	good, under := ca.SVID("spiffe://shop.example/a").Certificate.Raw, below.SVID("spiffe://shop.example/a").Certificate.Raw
	bundles := x509bundle.NewSet(x509bundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString("shop.example"), certs(ca)))
	f.Add(good, []byte(nil))
	f.Add(under, below.Certificate.Raw)
	f.Add(ca.Issue(testenv.Leaf{URIs: []string{"spiffe://shop.example/a", "spiffe://shop.example/b"}}).Certificate.Raw, good)
	f.Add(testenv.NewCA(f, "x").SVID("spiffe://shop.example/a").Certificate.Raw, ca.Certificate.Raw)
	f.Add([]byte{0x30, 0x80}, []byte{0x30})
	at := time.Now()
	covered := func(der []byte) []byte { // what a signature covers: of the same there can be several
		c, err := x509.ParseCertificate(der)
		if err != nil {
			f.Fatal(err)
		}
		return c.RawTBSCertificate
	}
	goodPart, underPart := covered(good), covered(under)
	f.Fuzz(func(t *testing.T, leaf, intermediate []byte) {
		chain := [][]byte{leaf}
		if len(intermediate) > 0 {
			chain = append(chain, intermediate)
		}
		v := judgeDER(chain, bundles, at)
		if v.Verified != (v.Cause == "") || v.Verified != (v.Reason == "") || len(v.Reason) > 8*maxReason || strings.ContainsAny(v.Reason, "\n\r\x1b") {
			t.Errorf("%+v", v)
		}
		if !v.Verified {
			return
		}
		c, err := x509.ParseCertificate(leaf)
		if err != nil || !bytes.Equal(c.RawTBSCertificate, goodPart) && !bytes.Equal(c.RawTBSCertificate, underPart) {
			t.Errorf("a certificate that nobody signed is verified: %x: %v", leaf, err)
		}
	})
}
