package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

const trustDomain = "bench.example"

// papers are the files of an authority and of the two who shake hands, with SVIDs.
type papers struct {
	folder, authority string
	ca                *x509.Certificate
	key               *ecdsa.PrivateKey
}

func newPapers(folder string) (*papers, error) {
	p := &papers{folder: folder}
	now := time.Now()
	p.ca = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tlsbench"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, URIs: []*url.URL{{Scheme: "spiffe", Host: trustDomain}},
	}
	var err error
	if p.key, err = p.sign("authority", p.ca, nil); err != nil {
		return nil, err
	}
	p.authority = p.file("authority", "crt")
	for i, who := range []string{"client", "server"} {
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{Organization: []string{"tlsbench"}}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
			BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			URIs: []*url.URL{{Scheme: "spiffe", Host: trustDomain, Path: "/" + who}}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		}
		if _, err := p.sign(who, leaf, p.key); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *papers) file(who, kind string) string { return filepath.Join(p.folder, who+"."+kind) }

// sign writes a certificate and its key, signed by another or by itself.
func (p *papers) sign(who string, c *x509.Certificate, by *ecdsa.PrivateKey) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, p.ca, key.Public(), by)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(p.file(who, "crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return nil, err
	}
	return key, os.WriteFile(p.file(who, "key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600)
}
