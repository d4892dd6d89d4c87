package story

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// shopDomain is the trust domain of the story's services, which have certificates.
const shopDomain = "shop.example"

// authority signs the certificates of the story's services, as SPIRE would.
type authority struct {
	dir  string // where its certificate and those that it signed are
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	a := &authority{dir: dir, key: key, cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, URIs: []*url.URL{{Scheme: "spiffe", Host: shopDomain}},
	}}
	a.cert, err = a.sign(a.cert, a.cert, &key.PublicKey)
	if err != nil {
		return nil, err
	}
	return a, writePEM(a.bundle(), "CERTIFICATE", a.cert.Raw)
}

func (a *authority) bundle() string { return filepath.Join(a.dir, "authority.pem") }

func (a *authority) sign(template, parent *x509.Certificate, key *ecdsa.PublicKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// issue writes a service's certificate and key: <name>.pem and <name>.key.
func (a *authority) issue(name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	cert, err := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		URIs: []*url.URL{{Scheme: "spiffe", Host: shopDomain, Path: "/" + name}},
	}, a.cert, &key.PublicKey)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode key: %w", err)
	}
	return errors.Join(writePEM(filepath.Join(a.dir, name+".pem"), "CERTIFICATE", cert.Raw), writePEM(filepath.Join(a.dir, name+".key"), "PRIVATE KEY", der))
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// service is one of the story's services with a certificate: it answers its peers on an address, or asks there a few times a second, until ctx ends.
func service(ctx context.Context, dir, name, role, address string) error {
	own, err := x509svid.Load(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
	if err != nil {
		return err
	}
	td := spiffeid.RequireTrustDomainFromString(shopDomain)
	bundle, err := x509bundle.Load(td, filepath.Join(dir, "authority.pem"))
	if err != nil {
		return err
	}
	if role == "answer" {
		return answer(ctx, address, tlsconfig.MTLSServerConfig(own, bundle, tlsconfig.AuthorizeMemberOf(td)))
	}
	config := tlsconfig.MTLSClientConfig(own, bundle, tlsconfig.AuthorizeMemberOf(td))
	for tick := time.NewTicker(300 * time.Millisecond); ; {
		if err := converse(ctx, &tls.Dialer{Config: config}, address); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, name+":", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return nil
		}
	}
}

func answer(ctx context.Context, address string, config *tls.Config) error {
	l, err := tls.Listen("tcp", address, config)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err == nil {
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(5 * time.Second))
				io.CopyN(c, c, 5)
			}()
		}
	}
}

func converse(ctx context.Context, d *tls.Dialer, address string) error {
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 64))
	return err
}
