package svid

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// material is what a source holds at one time. It is never changed.
type material struct {
	own     *tls.Certificate // with its leaf
	id      spiffeid.ID      // of own, if it has one
	bundles *x509bundle.Set  // of the trust domains that are known
	files   authorities      // of certificate files: believed for every name, since the configuration lists the names
}

func (m *material) leaf() *x509.Certificate { return m.own.Leaf }

// name tells whose certificate it is.
func (m *material) name() string {
	if m.id.IsZero() {
		return fmt.Sprintf("certificate of %q", clip(m.leaf().Subject.CommonName))
	}
	return "SVID of " + m.id.String()
}

func clip(text string) string { return oneLine(fmt.Errorf("%s", text)) }

// check says why the certificate is of no use at that time.
func (m *material) check(at time.Time) error {
	switch leaf := m.leaf(); {
	case at.After(leaf.NotAfter):
		return fmt.Errorf("the own certificate ended at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case at.Before(leaf.NotBefore):
		return fmt.Errorf("the own certificate is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// overdue says whether the certificate should have been replaced: issuers do that at half of its life, or at two thirds.
func (m *material) overdue(at time.Time) bool {
	life := m.leaf().NotAfter.Sub(m.leaf().NotBefore)
	return m.leaf().NotAfter.Sub(at) < life/6
}

func (m *material) sameCertificate(n *material) bool {
	return slices.EqualFunc(m.own.Certificate, n.own.Certificate, bytes.Equal)
}

func (m *material) sameAuthorities(n *material) bool {
	return m.files.equal(n.files) && slices.EqualFunc(m.bundles.Bundles(), n.bundles.Bundles(), (*x509bundle.Bundle).Equal)
}

// peers are the authorities to believe of those on the other end of a connection.
func (m *material) peers() x509bundle.Source {
	if m.files != nil {
		return m.files
	}
	return m.bundles
}

// authorities are believed for any trust domain.
type authorities []*x509.Certificate

// GetX509BundleForTrustDomain implements [x509bundle.Source].
func (a authorities) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return x509bundle.FromX509Authorities(td, a), nil
}

func (a authorities) equal(b authorities) bool {
	return slices.EqualFunc(a, b, (*x509.Certificate).Equal)
}

func (a authorities) pool() *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range a {
		p.AddCert(c)
	}
	return p
}
