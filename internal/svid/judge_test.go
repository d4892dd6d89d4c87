package svid

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"strconv"
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

// fixedTime is within the lives of fixedChain.
var fixedTime = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// fixedChain is a leaf, its intermediate and their root, with the same bytes each time: fuzzing goes on in other processes.
func fixedChain(t testing.TB) (leaf, intermediate, root *x509.Certificate) {
	t.Helper()
	key := func(n byte) ed25519.PrivateKey {
		return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
	}
	sign := func(n byte, parent *x509.Certificate, by byte, change func(c *x509.Certificate)) *x509.Certificate {
		c := &x509.Certificate{
			SerialNumber: big.NewInt(int64(n)), Subject: pkix.Name{SerialNumber: strconv.Itoa(int(n))}, NotBefore: fixedTime.AddDate(-1, 0, 0), NotAfter: fixedTime.AddDate(1, 0, 0),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: []byte{n},
		}
		change(c)
		if parent == nil {
			parent = c
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, key(n).Public(), key(by))
		if err != nil {
			t.Fatal(err)
		}
		out, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	root = sign(1, nil, 1, func(*x509.Certificate) {})
	intermediate = sign(2, root, 1, func(*x509.Certificate) {})
	leaf = sign(3, intermediate, 2, func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.URIs = false, x509.KeyUsageDigitalSignature, []*url.URL{{Scheme: "spiffe", Host: "shop.example", Path: "/a"}}
	})
	return leaf, intermediate, root
}

// FuzzJudge feeds whatever may be on the wire. What is verified must be the one leaf that was signed.
func FuzzJudge(f *testing.F) {
	leaf, intermediate, root := fixedChain(f)
	bundles := x509bundle.NewSet(x509bundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString("shop.example"), []*x509.Certificate{root}))
	if v := judgeDER([][]byte{leaf.Raw, intermediate.Raw}, bundles, fixedTime); !v.Verified {
		f.Fatalf("the chain is not good to begin with: %+v", v)
	}
	f.Add(leaf.Raw, intermediate.Raw)
	f.Add(leaf.Raw, root.Raw)
	f.Add(intermediate.Raw, root.Raw)
	f.Add([]byte{0x30, 0x80}, []byte{})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		chain := [][]byte{first}
		if len(second) > 0 {
			chain = append(chain, second)
		}
		v := judgeDER(chain, bundles, fixedTime)
		if v.Verified != (v.Cause == "") || v.Verified != (v.Reason == "") || len(v.Reason) > 8*maxReason || strings.ContainsAny(v.Reason, "\n\r\x1b") {
			t.Errorf("%+v", v)
		}
		if !v.Verified {
			return
		}
		if c, err := x509.ParseCertificate(first); err != nil || !bytes.Equal(c.RawTBSCertificate, leaf.RawTBSCertificate) {
			t.Errorf("a certificate that nobody signed is verified: %x: %v", first, err)
		}
	})
}
