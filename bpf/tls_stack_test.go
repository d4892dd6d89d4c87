package bpf

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"debug/elf"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// functionSymbols are the names that OpenSSL exports.
var functionSymbols = map[string]Function{
	"SSL_do_handshake": SSLDoHandshake, "SSL_read": SSLRead, "SSL_read_ex": SSLRead, "SSL_write": SSLWrite, "SSL_write_ex": SSLWrite,
	"SSL_free": SSLFree, "SSL_clear": SSLClear, "SSL_get0_alpn_selected": SSLGetALPN, "d2i_X509": D2IX509, "i2d_X509": I2DX509, "d2i_SSL_SESSION": D2ISession, "d2i_SSL_SESSION_ex": D2ISession,
	"BIO_write": BIOWrite, "X509_verify_cert": X509VerifyCert, "X509_STORE_CTX_get_error": X509StoreCtxGetError,
}

func dear(f Function) bool { return f == SSLRead || f == SSLWrite || f == BIOWrite }

// systemOpenSSL finds the libraries that the system's programs use.
func systemOpenSSL(t testing.TB) (libssl, libcrypto string) {
	t.Helper()
	find := func(name string) string {
		for _, folder := range []string{"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/lib/x86_64-linux-gnu"} {
			if path, err := filepath.EvalSymlinks(filepath.Join(folder, name)); err == nil {
				return path
			}
		}
		lacks(t, name+" of OpenSSL 3")
		return ""
	}
	return find("libssl.so.3"), find("libcrypto.so.3")
}

// lacks ends a test for which a part is missing.
func lacks(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("there is no %s", what)
	}
	t.Skipf("there is no %s", what)
}

// targetOf makes a target of a library by its dynamic symbols.
func targetOf(t testing.TB, path string, number uint32, want func(Function) bool) Target {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	target := Target{Number: number, Functions: map[Function][]uint64{}}
	for _, s := range symbols {
		if function := functionSymbols[s.Name]; function != 0 && s.Section != elf.SHN_UNDEF && want(function) {
			target.Functions[function] = append(target.Functions[function], fileOffset(t, f, s.Value))
		}
	}
	for _, s := range symbols {
		if s.Name == "d2i_SSL_SESSION_ex" && s.Section != elf.SHN_UNDEF { // from 3.2: the other one calls it
			target.Functions[D2ISession] = []uint64{fileOffset(t, f, s.Value)}
		}
	}
	if target.Functions[SSLDoHandshake] != nil {
		text := f.Section(".text")
		target.Callers = [][2]uint64{{text.Offset, text.Offset + text.Size}}
	}
	return target
}

func fileOffset(t testing.TB, f *elf.File, address uint64) uint64 {
	t.Helper()
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && address >= p.Vaddr && address < p.Vaddr+p.Filesz {
			return address - p.Vaddr + p.Off
		}
	}
	t.Fatalf("address %#x is in no segment", address)
	return 0
}

const (
	libsslTarget    = 7
	libcryptoTarget = 8
)

// attachOpenSSL watches the system's libraries. Without all, as agents do at first.
func attachOpenSSL(t testing.TB, tls *TLS, all bool) {
	t.Helper()
	want := func(f Function) bool { return all || !dear(f) }
	libssl, libcrypto := systemOpenSSL(t)
	for path, number := range map[string]uint32{libssl: libsslTarget, libcrypto: libcryptoTarget} {
		a, err := tls.Attach(path, targetOf(t, path, number, want))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// An authority issues certificates for tests.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue writes a certificate with its key to folder/name.pem, and gives its DER. extra makes it longer.
func (a *authority) issue(folder, name string, extra int) []byte {
	a.t.Helper()
	a.next++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1000 + a.next), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name + ".test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if extra > 0 {
		template.ExtraExtensions = []pkix.Extension{{Id: []int{1, 3, 6, 1, 4, 1, 99999, 1}, Value: append([]byte{4, 0x82, byte(extra >> 8), byte(extra)}, make([]byte, extra)...)}}
	}
	key := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	var b bytes.Buffer
	err = errors.Join(pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		os.WriteFile(filepath.Join(folder, name+".pem"), b.Bytes(), 0o600))
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

// writeTo writes the authority's own certificate.
func (a *authority) writeTo(folder string) {
	a.t.Helper()
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	if err := os.WriteFile(filepath.Join(folder, "authority.pem"), b, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// issueMany gives the DER of clients and servers 0 to n-1.
func (a *authority) issueMany(folder string, n int) (clients, servers [][]byte) {
	a.writeTo(folder)
	for i := range n {
		clients = append(clients, a.issue(folder, fmt.Sprint("client-", i), 0))
		servers = append(servers, a.issue(folder, fmt.Sprint("server-", i), 0))
	}
	return clients, servers
}
