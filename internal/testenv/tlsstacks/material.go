package tlsstacks

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// TrustDomain is that of the SPIFFE ids in Material.
const TrustDomain = "test.example"

// Domain is where server names are: each server's certificate covers it.
const Domain = "svc.test.example"

// Material is an authority and what it has signed, as files.
type Material struct {
	CA    *testenv.CA
	Roots string // file

	t       testing.TB
	dir     string
	foreign *testenv.CA
	made    map[string]Identity
}

// Identity is a certificate in files.
type Identity struct {
	Cert, Key string
	SHA256    string
	Leaf      *x509.Certificate
	ID        string // the SPIFFE id it proves; empty if it proves none
}

// NewMaterial makes an authority, and another one of the same name that nobody trusts: clients present what is signed by a name that is asked for.
func NewMaterial(t testing.TB) *Material {
	t.Helper()
	m := &Material{CA: testenv.NewCA(t, "stacks"), t: t, dir: t.TempDir(), foreign: testenv.NewCA(t, "stacks"), made: map[string]Identity{}}
	m.Roots = m.write("roots.pem", testenv.CertificatePEM(m.CA.Certificate))
	return m
}

func (m *Material) write(name string, text []byte) string {
	m.t.Helper()
	file := filepath.Join(m.dir, name)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		m.t.Fatal(err)
	}
	return file
}

func (m *Material) save(name, id string, issued *testenv.Issued, above ...*testenv.CA) Identity {
	m.t.Helper()
	cert, key := issued.PEM()
	for _, ca := range above {
		cert = append(cert, testenv.CertificatePEM(ca.Certificate)...)
	}
	i := Identity{Cert: m.write(name+".pem", cert), Key: m.write(name+".key", key), SHA256: fingerprint(issued.Certificate.Raw), Leaf: issued.Certificate, ID: id}
	m.made[name] = i
	return i
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// SPIFFE is an SVID; it is a certificate for all server names, too.
func (m *Material) SPIFFE(name string) Identity {
	m.t.Helper()
	id := "spiffe://" + TrustDomain + "/" + name
	return m.save(name, id, m.CA.Issue(testenv.Leaf{URIs: []string{id}, Names: []string{"*." + Domain}}))
}

// Named is a certificate without a SPIFFE id.
func (m *Material) Named(name string) Identity {
	m.t.Helper()
	return m.save(name, "", m.CA.Issue(testenv.Leaf{Names: []string{"*." + Domain}, Change: subject(name)}))
}

// Expired was an SVID until an hour ago.
func (m *Material) Expired(name string) Identity {
	m.t.Helper()
	return m.save(name, "", m.CA.Issue(testenv.Leaf{
		URIs: []string{"spiffe://" + TrustDomain + "/" + name}, Names: []string{"*." + Domain},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
	}))
}

// Foreign claims an id of the trust domain, signed by an authority that nobody trusts.
func (m *Material) Foreign(name string) Identity {
	m.t.Helper()
	return m.save(name, "", m.foreign.Issue(testenv.Leaf{URIs: []string{"spiffe://" + TrustDomain + "/" + name}, Names: []string{"*." + Domain}}))
}

// OtherDomain is signed by the authority, for an id of a trust domain that is not its own.
func (m *Material) OtherDomain(name string) Identity {
	m.t.Helper()
	return m.save(name, "", m.CA.Issue(testenv.Leaf{URIs: []string{"spiffe://other.example/" + name}, Names: []string{"*." + Domain}}))
}

// TwoIDs has two URIs, which makes it no SVID.
func (m *Material) TwoIDs(name string) Identity {
	m.t.Helper()
	id := "spiffe://" + TrustDomain + "/" + name
	return m.save(name, "", m.CA.Issue(testenv.Leaf{URIs: []string{id, id + "/too"}, Names: []string{"*." + Domain}}))
}

// Long is an SVID of some 3 KiB below two intermediate authorities.
func (m *Material) Long(name string) Identity {
	m.t.Helper()
	id := "spiffe://" + TrustDomain + "/" + name
	upper := m.CA.Intermediate(name + " upper")
	lower := upper.Intermediate(name + " lower")
	issued := lower.Issue(testenv.Leaf{URIs: []string{id}, Names: []string{"*." + Domain}, Change: func(c *x509.Certificate) {
		padding, err := asn1.Marshal(bytes.Repeat([]byte{0x5a}, 2600))
		if err != nil {
			m.t.Fatal(err)
		}
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, Value: padding})
	}})
	return m.save(name, id, issued, lower, upper)
}

// ByName is what a reference server presents so: for the server names "x.<Domain>" and "x--anything.<Domain>", the identity that was made with the name "x".
func (m *Material) ByName() (cert, key string) {
	return filepath.Join(m.dir, "*.pem"), filepath.Join(m.dir, "*.key")
}

func subject(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.Subject.CommonName = name }
}

func leafOf(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return leafOfPEM(t, text)
}

func leafOfPEM(t testing.TB, text []byte) string {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("no certificate in %q", text)
	}
	return fingerprint(block.Bytes)
}
