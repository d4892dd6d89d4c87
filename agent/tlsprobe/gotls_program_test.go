package tlsprobe

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"runtime"
	"sync"
	"time"
)

// This file is a program of its own: the tests run it in the test binary again, and build it with older toolchains as it stands, with another
// package clause. So it uses the standard library of Go 1.21 only.

// gotlsOrder is one line on the program's standard input: so many pairs of a client and a server, each with certificates of its own.
type gotlsOrder struct {
	Pairs   int
	Version uint16
	ALPN    string
	SNI     string // of pair 0, "%d" stands for the number
	Resume  bool   // the pairs connect twice, and the second time is told
	Plain   bool   // the client shows no certificate
	Wrong   bool   // the client trusts nobody
	Refused bool   // the server trusts nobody
	Wrapped bool   // connections that are not net.TCPConn
	Hop     bool   // goroutines that move from thread to thread in the handshake
	Keep    bool   // connections stay, until an order to Write
	Write   bool   // write on what was kept, once each way, and close
}

// gotlsTruth is what one side knows of its connection.
type gotlsTruth struct {
	Client        bool
	Local, Remote string
	OK            bool
	Version       uint16
	ALPN, SNI     string
	Resumed       bool
	Verified      bool
	Peer, Own     string // SHA-256 of the leaf, empty if none; own only where it was sent
	Chain         int    // certificates of the peer
}

type gotlsCA struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pool        *x509.CertPool
}

func gotlsMain() {
	ca, other, err := newGotlsCA("a"), newGotlsCA("b"), error(nil)
	var kept []*tls.Conn
	out := json.NewEncoder(os.Stdout)
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var order gotlsOrder
		if err = json.Unmarshal(in.Bytes(), &order); err != nil {
			gotlsFail(err)
		}
		if order.Write {
			for _, c := range kept {
				if _, err := c.Write([]byte("x")); err != nil {
					gotlsFail(err)
				}
			}
			for _, c := range kept {
				c.Close()
			}
			kept = nil
			if err := out.Encode([]gotlsTruth{}); err != nil {
				gotlsFail(err)
			}
			continue
		}
		truths, conns := gotlsRun(order, ca, other)
		kept = append(kept, conns...)
		if err := out.Encode(truths); err != nil {
			gotlsFail(err)
		}
	}
}

func gotlsFail(err error) {
	fmt.Fprintln(os.Stderr, "gotls:", err)
	os.Exit(1)
}

func gotlsRun(order gotlsOrder, ca, other *gotlsCA) ([]gotlsTruth, []*tls.Conn) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		gotlsFail(err)
	}
	defer listener.Close()
	var mu sync.Mutex
	var truths []gotlsTruth
	var conns []*tls.Conn
	tell := func(c *tls.Conn, t gotlsTruth) {
		mu.Lock()
		defer mu.Unlock()
		truths = append(truths, t)
		if order.Keep {
			conns = append(conns, c)
		} else {
			c.Close()
		}
	}
	servers := make(map[string]tls.Certificate)
	clients := make([]tls.Certificate, order.Pairs)
	for i := range clients {
		servers[gotlsName(order, i)] = ca.issue(fmt.Sprintf("server-%d", i), gotlsName(order, i))
		clients[i] = ca.issue(fmt.Sprintf("client-%d", i), "")
	}
	serverConfig := &tls.Config{
		MinVersion: order.Version, MaxVersion: order.Version, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool,
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, ok := servers[h.ServerName]
			if !ok {
				return nil, errors.New("no such server")
			}
			return &c, nil
		},
	}
	if order.Plain {
		serverConfig.ClientAuth = tls.NoClientCert
	}
	if order.Refused {
		serverConfig.ClientCAs = other.pool
	}
	if order.ALPN != "" {
		serverConfig.NextProtos = []string{"other", order.ALPN}
	}
	times := 1
	if order.Resume {
		times = 2
	}
	var all sync.WaitGroup
	all.Add(2)
	go func() {
		defer all.Done()
		var each sync.WaitGroup
		defer each.Wait()
		for i := 0; i < order.Pairs*times; i++ {
			raw, err := listener.Accept()
			if err != nil {
				gotlsFail(err)
			}
			each.Add(1)
			go func() {
				defer each.Done()
				gotlsServe(raw, order, serverConfig, tell)
			}()
		}
	}()
	go func() {
		defer all.Done()
		var each sync.WaitGroup
		defer each.Wait()
		for i := 0; i < order.Pairs; i++ {
			config := &tls.Config{
				MinVersion: order.Version, MaxVersion: order.Version, RootCAs: ca.pool, ServerName: gotlsName(order, i),
				ClientSessionCache: tls.NewLRUClientSessionCache(1), Certificates: []tls.Certificate{clients[i]},
			}
			if order.Plain {
				config.Certificates = nil
			}
			if order.Wrong {
				config.RootCAs = other.pool
			}
			if order.ALPN != "" {
				config.NextProtos = []string{order.ALPN}
			}
			each.Add(1)
			go func() {
				defer each.Done()
				for n := 0; n < times; n++ {
					gotlsDial(listener.Addr().String(), order, config, tell)
				}
			}()
		}
	}()
	all.Wait()
	return truths, conns
}

func gotlsName(order gotlsOrder, i int) string {
	return fmt.Sprintf(order.SNI, i)
}

func gotlsServe(raw net.Conn, order gotlsOrder, config *tls.Config, tell func(*tls.Conn, gotlsTruth)) {
	var own []byte
	mine := config.Clone()
	mine.SetSessionTicketKeys([][32]byte{{1}})
	mine.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		c, err := config.GetCertificate(h)
		if err == nil {
			own = c.Certificate[0]
		}
		return c, err
	}
	c := tls.Server(gotlsWrap(raw, order), mine)
	err := c.Handshake()
	t := gotlsKnown(c, raw, false, own, err)
	if err == nil {
		// what the client waits for; a 1.3 client learns of a refusal and takes its ticket here
		_, err = c.Write([]byte("hello"))
	}
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 5))
	}
	if err != nil && t.OK {
		c.Close() // the client went after its side
	}
	tell(c, t)
}

func gotlsDial(address string, order gotlsOrder, config *tls.Config, tell func(*tls.Conn, gotlsTruth)) {
	raw, err := net.Dial("tcp", address)
	if err != nil {
		gotlsFail(err)
	}
	var own []byte
	mine := config.Clone()
	if len(config.Certificates) > 0 {
		mine.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			own = config.Certificates[0].Certificate[0]
			return &config.Certificates[0], nil
		}
	}
	c := tls.Client(gotlsWrap(raw, order), mine)
	err = c.Handshake()
	t := gotlsKnown(c, raw, true, own, err)
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 5))
	}
	if err == nil {
		_, err = c.Write([]byte("hello"))
	}
	if err != nil && !order.Refused && !order.Wrong {
		gotlsFail(err)
	}
	tell(c, t)
}

func gotlsKnown(c *tls.Conn, raw net.Conn, client bool, own []byte, err error) gotlsTruth {
	t := gotlsTruth{Client: client, Local: raw.LocalAddr().String(), Remote: raw.RemoteAddr().String(), OK: err == nil}
	if own != nil {
		t.Own = gotlsHash(own)
	}
	if err != nil {
		return t
	}
	s := c.ConnectionState()
	t.Version, t.ALPN, t.SNI, t.Resumed, t.Verified, t.Chain = s.Version, s.NegotiatedProtocol, s.ServerName, s.DidResume, len(s.VerifiedChains) > 0, len(s.PeerCertificates)
	if t.Chain > 0 {
		t.Peer = gotlsHash(s.PeerCertificates[0].Raw)
	}
	return t
}

func gotlsHash(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// gotlsConn hides what kind of connection it is.
type gotlsConn struct {
	garbage [4]uint64
	net.Conn
	hop bool
}

func (c *gotlsConn) Read(b []byte) (int, error) {
	if c.hop {
		runtime.Gosched()
	}
	return c.Conn.Read(b)
}

func (c *gotlsConn) Write(b []byte) (int, error) {
	if c.hop {
		runtime.Gosched()
	}
	return c.Conn.Write(b)
}

func gotlsWrap(c net.Conn, order gotlsOrder) net.Conn {
	if order.Wrapped || order.Hop {
		return &gotlsConn{garbage: [4]uint64{1, 2, 3, 4}, Conn: c, hop: order.Hop}
	}
	return c
}

func newGotlsCA(name string) *gotlsCA {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		gotlsFail(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		gotlsFail(err)
	}
	ca := &gotlsCA{key: key, pool: x509.NewCertPool()}
	if ca.certificate, err = x509.ParseCertificate(der); err != nil {
		gotlsFail(err)
	}
	ca.pool.AddCert(ca.certificate)
	return ca
}

func (ca *gotlsCA) issue(name, host string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		gotlsFail(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		gotlsFail(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/" + name}},
	}
	if host != "" {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, &key.PublicKey, ca.key)
	if err != nil {
		gotlsFail(err)
	}
	return tls.Certificate{Certificate: [][]byte{der, ca.certificate.Raw}, PrivateKey: key}
}
