package testenv

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"
)

// CA is an authority that signs certificates for tests. It is safe for concurrent use.
type CA struct {
	Certificate *x509.Certificate
	t           testing.TB
	key         *ecdsa.PrivateKey
}

// NewCA makes an authority that is valid from two days ago for ten days.
func NewCA(t testing.TB, name string) *CA {
	t.Helper()
	key := newKey(t)
	now := time.Now()
	c := sign(t, &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(240 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil, key, key)
	return &CA{Certificate: c, t: t, key: key}
}

// Leaf says what is to be signed. Times that are zero are an hour around now; without a key usage, it is that of an SVID.
type Leaf struct {
	URIs                []string // SPIFFE ids, and what is none
	Names               []string // DNS names and addresses
	NotBefore, NotAfter time.Time
	Authority           bool // a leaf that could sign others
	KeyUsage            x509.KeyUsage
	Change              func(*x509.Certificate) // whatever else
}

// Issued is a certificate with its key.
type Issued struct {
	Certificate *x509.Certificate
	Key         *ecdsa.PrivateKey
	Issuer      *CA
	t           testing.TB
}

// SVID signs a certificate for a SPIFFE id.
func (ca *CA) SVID(id string) *Issued { return ca.Issue(Leaf{URIs: []string{id}}) }

// Issue signs a certificate.
func (ca *CA) Issue(l Leaf) *Issued {
	ca.t.Helper()
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: serial(ca.t), Subject: pkix.Name{Organization: []string{"test"}}, NotBefore: l.NotBefore, NotAfter: l.NotAfter,
		IsCA: l.Authority, BasicConstraintsValid: true, KeyUsage: l.KeyUsage,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if c.NotBefore.IsZero() {
		c.NotBefore = now.Add(-time.Hour)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = now.Add(time.Hour)
	}
	if c.KeyUsage == 0 {
		c.KeyUsage = x509.KeyUsageDigitalSignature
	}
	for _, text := range l.URIs {
		u, err := url.Parse(text)
		if err != nil {
			ca.t.Fatal(err)
		}
		c.URIs = append(c.URIs, u)
	}
	for _, name := range l.Names {
		if ip := net.ParseIP(name); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, name)
		}
	}
	if l.Change != nil {
		l.Change(c)
	}
	key := newKey(ca.t)
	return &Issued{Certificate: sign(ca.t, c, ca.Certificate, key, ca.key), Key: key, Issuer: ca, t: ca.t}
}

// Intermediate makes an authority below.
func (ca *CA) Intermediate(name string) *CA {
	ca.t.Helper()
	i := ca.Issue(Leaf{Authority: true, KeyUsage: x509.KeyUsageCertSign, Change: func(c *x509.Certificate) {
		c.Subject, c.ExtKeyUsage = pkix.Name{CommonName: name}, nil
	}})
	return &CA{Certificate: i.Certificate, t: ca.t, key: i.Key}
}

// PEM is the certificate and its key, as files hold them.
func (i *Issued) PEM() (cert, key []byte) {
	i.t.Helper()
	return CertificatePEM(i.Certificate), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: i.keyDER()})
}

func (i *Issued) keyDER() []byte {
	i.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.Key)
	if err != nil {
		i.t.Fatal(err)
	}
	return der
}

// CertificatePEM is a file of certificates.
func CertificatePEM(certs ...*x509.Certificate) (out []byte) {
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func serial(t testing.TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		t.Fatal(err)
	}
	return n.Add(n, big.NewInt(1))
}

// sign signs with a key of its parent, or its own.
func sign(t testing.TB, c, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
