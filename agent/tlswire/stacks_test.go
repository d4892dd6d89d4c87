package tlswire

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"testing"

	"golang.org/x/crypto/cryptobyte"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// said is what all events of a handshake say together.
type said struct {
	SNI, ALPN                   string // ALPN before TLS 1.3 only
	Offers                      []string
	Offered, Version            uint16
	Resumes, Resumed, ECH       bool
	Retries                     int
	ClientChain, ServerChain    [][]byte
	ClientHellos, ServerHellos  int
	ClientRandom, ServerRandom  [32]byte
	ClientSession, ServerSesson string
}

// String says of certificates no more than their lengths.
func (s said) String() string {
	lengths := func(chain [][]byte) (n []int) {
		for _, c := range chain {
			n = append(n, len(c))
		}
		return n
	}
	return fmt.Sprintf("name %q, offers %q %x, chosen %q %x, resumes %t, resumed %t, ECH %t, hellos %d and %d, retries %d, chains %d and %d",
		s.SNI, s.Offers, s.Offered, s.ALPN, s.Version, s.Resumes, s.Resumed, s.ECH, s.ClientHellos, s.ServerHellos, s.Retries, lengths(s.ClientChain), lengths(s.ServerChain))
}

func (s *said) add(ev *Event) {
	if c := ev.Client; c != nil {
		s.ClientHellos++
		s.SNI, s.Offers, s.Offered, s.Resumes, s.ECH = c.SNI, c.ALPN, c.Version, c.Resumes, c.ECH
		s.ClientRandom, s.ClientSession = c.Random, string(c.SessionID)
	}
	if r := ev.Server; r != nil && r.HelloRetry {
		s.Retries++
	} else if r != nil {
		s.ServerHellos++
		s.Version, s.ALPN, s.Resumed = r.Version, r.ALPN, r.Resumed
		s.ServerRandom, s.ServerSesson = r.Random, string(r.SessionID)
	}
}

// A stack is a way to use crypto/tls, and what is to be seen of it.
type stack struct {
	name           string
	client, server *tls.Config
	warm           bool // shakes hands once before, so that the session is resumed
	want           said // but for randoms and sessions
}

// long is a certificate's extension of some size.
func long(n int) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		value, err := asn1.Marshal(make([]byte, n))
		if err != nil {
			panic(err)
		}
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Value: value})
	}
}

// stacks makes certificates and configurations, new for each test: sessions must not be carried over.
func stacks(t testing.TB) []stack {
	root := testenv.NewCA(t, "root")
	middle := root.Intermediate("middle")
	issue := func(l testenv.Leaf) (tls.Certificate, [][]byte) {
		i := middle.Issue(l)
		chain := [][]byte{i.Certificate.Raw, middle.Certificate.Raw}
		return tls.Certificate{Certificate: chain, PrivateKey: i.Key}, chain
	}
	roots := x509.NewCertPool()
	roots.AddCert(root.Certificate)
	serverCert, serverChain := issue(testenv.Leaf{Names: []string{"db.example", "public.example"}, Change: long(1500)})
	clientCert, clientChain := issue(testenv.Leaf{URIs: []string{"spiffe://example.org/client"}, Change: long(3000)})

	client := func(change func(*tls.Config)) *tls.Config {
		c := &tls.Config{RootCAs: roots, ServerName: "DB.example", Certificates: []tls.Certificate{clientCert}, NextProtos: []string{"h2", "http/1.1"}}
		change(c)
		return c
	}
	server := func(change func(*tls.Config)) *tls.Config {
		c := &tls.Config{Certificates: []tls.Certificate{serverCert}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2"}}
		change(c)
		return c
	}
	same := func(*tls.Config) {}
	only12 := func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }
	offers := []string{"h2", "http/1.1"}
	cached := func(c *tls.Config) { c.ClientSessionCache = tls.NewLRUClientSessionCache(1) }

	full13 := said{SNI: "db.example", Offers: offers, Offered: 0x0304, Version: 0x0304, ClientHellos: 1, ServerHellos: 1}
	full12 := full13
	full12.Version, full12.ALPN, full12.ClientChain, full12.ServerChain = 0x0303, "h2", clientChain, serverChain
	oneWay := full12
	oneWay.ClientChain = nil
	bare := oneWay
	bare.SNI, bare.Offers, bare.ALPN, bare.ClientChain = "", nil, "", [][]byte{}
	offered12, resumed12, resumed13, retried, hidden := full12, full13, full13, full13, full13
	offered12.Offered, offered12.Resumes = 0x0303, true // crypto/tls makes up a session ID, which is an offer before TLS 1.3
	resumed12.Version, resumed12.ALPN, resumed12.Resumes = 0x0303, "h2", true
	resumed13.Resumes, resumed13.Resumed = true, true
	retried.Retries, retried.ClientHellos = 1, 2
	hidden.SNI, hidden.ECH, hidden.Offers = "public.example", true, offers

	configs, keys := encryptedHello(t, "public.example")
	return []stack{
		{"TLS 1.3 with a post-quantum hello", client(same), server(same), false, full13},
		{"TLS 1.3 resumed", client(cached), server(same), true, resumed13},
		{"TLS 1.3 with a HelloRetryRequest", client(func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256} }),
			server(func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP256} }), false, retried},
		{"TLS 1.3 with Encrypted Client Hello", client(func(c *tls.Config) { c.EncryptedClientHelloConfigList = configs }),
			server(func(c *tls.Config) { c.EncryptedClientHelloKeys = keys }), false, hidden},
		{"TLS 1.2, mutual", client(same), server(only12), false, full12},
		{"TLS 1.2, mutual, nothing else offered", client(only12), server(same), false, offered12},
		{"TLS 1.2, server alone", client(same), server(func(c *tls.Config) { only12(c); c.ClientAuth = tls.NoClientCert }), false, oneWay},
		{"TLS 1.2, a client that has no certificate, no name and no protocol", client(func(c *tls.Config) {
			c.Certificates, c.ServerName, c.InsecureSkipVerify, c.NextProtos = nil, "", true, nil
		}), server(func(c *tls.Config) { only12(c); c.ClientAuth = tls.RequestClientCert }), false, bare},
		{"TLS 1.2 resumed", client(cached), server(only12), true, resumed12},
	}
}

// encryptedHello makes a configuration of Encrypted Client Hello (draft-ietf-tls-esni section 4), and its key.
func encryptedHello(t testing.TB, public string) (list []byte, keys []tls.EncryptedClientHelloKey) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var b cryptobyte.Builder
	b.AddUint16(extEncryptedHello)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint8(1)       // number of the configuration
		b.AddUint16(0x0020) // DHKEM(X25519, HKDF-SHA256)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(key.PublicKey().Bytes()) })
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddUint16(0x0001) // HKDF-SHA256
			b.AddUint16(0x0001) // AES-128-GCM
		})
		b.AddUint8(32)
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(public)) })
		b.AddUint16(0) // no extensions
	})
	config := b.BytesOrPanic()
	var l cryptobyte.Builder
	l.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(config) })
	return l.BytesOrPanic(), []tls.EncryptedClientHelloKey{{Config: config, PrivateKey: key.Bytes(), SendAsRetry: true}}
}
