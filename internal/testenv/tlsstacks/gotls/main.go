// Command gotls is a client or a server of crypto/tls that says what it knows of each connection. It is a module of its own, so that old toolchains
// build it. Package tlsstacks says how it is spoken to.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

type end struct {
	ID       string `json:"id"`
	Address  string `json:"address"`
	SNI      string `json:"sni"`
	Version  string `json:"version"`
	ALPN     string `json:"alpn"` // comma-separated
	Cert     string `json:"cert"` // with a "*": one file for each server name, whose first label stands there
	Key      string `json:"key"`
	CA       string `json:"ca"`
	Session  string `json:"session"`
	Insecure bool   `json:"insecure"`
	Wrapped  bool   `json:"wrapped"`
}

type truth struct {
	ID      string `json:"id"`
	Local   string `json:"local"`
	Remote  string `json:"remote"`
	Version string `json:"version"`
	SNI     string `json:"sni"`
	ALPN    string `json:"alpn"`
	Resumed bool   `json:"resumed"`
	Own     string `json:"own"`
	Peer    string `json:"peer"`
	Error   string `json:"error,omitempty"`
}

// wrapped hides the connection's file descriptor from whoever looks for it in the first word behind the interface.
type wrapped struct {
	label [2]uint64
	net.Conn
}

var (
	out      = json.NewEncoder(os.Stdout)
	outLock  sync.Mutex
	versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	names    = map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"}
)

func say(v any) {
	outLock.Lock()
	defer outLock.Unlock()
	if err := out.Encode(v); err != nil {
		os.Exit(0) // whoever asked is gone
	}
}

func main() {
	var err error
	lines := bufio.NewReader(os.Stdin)
	if len(os.Args) == 2 && os.Args[1] == "server" {
		err = serve(lines)
	} else {
		err = dialAll(lines)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "gotls:", err)
		os.Exit(1)
	}
}

func read(lines *bufio.Reader) (ends []end, err error) {
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	return ends, json.Unmarshal(line, &ends)
}

func config(e end) (*tls.Config, error) {
	c := &tls.Config{MinVersion: versions[e.Version], MaxVersion: versions[e.Version], ServerName: e.SNI}
	if e.ALPN != "" {
		c.NextProtos = strings.Split(e.ALPN, ",")
	}
	switch {
	case strings.Contains(e.Cert, "*"):
		c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return load(e, hello.ServerName) }
	case e.Cert != "":
		pair, err := load(e, "")
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{*pair}
	}
	if e.CA != "" {
		text, err := os.ReadFile(e.CA)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(text)
		c.RootCAs, c.ClientCAs = pool, pool
	}
	return c, nil
}

func load(e end, name string) (*tls.Certificate, error) {
	label, _, _ := strings.Cut(name, ".")
	label, _, _ = strings.Cut(label, "--") // what follows makes names of connections different
	pair, err := tls.LoadX509KeyPair(strings.Replace(e.Cert, "*", label, 1), strings.Replace(e.Key, "*", label, 1))
	return &pair, err
}

func wrap(c net.Conn, e end) net.Conn {
	if e.Wrapped {
		return &wrapped{label: [2]uint64{1, 2}, Conn: c}
	}
	return c
}

func know(e end, c net.Conn, t *tls.Conn, err error) truth {
	v := truth{ID: e.ID, Local: c.LocalAddr().String(), Remote: c.RemoteAddr().String()}
	s := t.ConnectionState()
	if err != nil {
		v.SNI, v.Error = s.ServerName, err.Error()
		return v
	}
	v.Version, v.SNI, v.ALPN, v.Resumed = names[s.Version], s.ServerName, s.NegotiatedProtocol, s.DidResume
	if e.Cert != "" {
		own, err := load(e, s.ServerName)
		if err != nil {
			v.Error = err.Error()
			return v
		}
		v.Own = fingerprint(own.Certificate[0])
	}
	if len(s.PeerCertificates) > 0 {
		v.Peer = fingerprint(s.PeerCertificates[0].Raw)
	}
	return v
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

func serve(lines *bufio.Reader) error {
	ends, err := read(lines)
	if err != nil {
		return err
	}
	var addresses []string
	for _, e := range ends {
		cfg, err := config(e)
		if err != nil {
			return err
		}
		cfg.ServerName = ""
		switch {
		case e.CA != "" && e.Insecure:
			cfg.ClientAuth = tls.RequireAnyClientCert
		case e.CA != "":
			cfg.ClientAuth = tls.RequireAndVerifyClientCert
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addresses = append(addresses, l.Addr().String())
		go func(e end, cfg *tls.Config) {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { say(answer(e, c, cfg)) }()
			}
		}(e, cfg)
	}
	say(map[string]any{"listening": addresses})
	_, err = lines.ReadByte()
	return err
}

func answer(e end, c net.Conn, cfg *tls.Config) truth {
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	t := tls.Server(wrap(c, e), cfg)
	err := t.Handshake()
	if err == nil {
		_, err = t.Read(make([]byte, 4096))
	}
	if err == nil {
		_, err = t.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"))
	}
	v := know(e, c, t, err)
	t.Close()
	return v
}

func dialAll(lines *bufio.Reader) error {
	sessions := map[string]tls.ClientSessionCache{}
	say(map[string]any{"ready": true})
	for {
		ends, err := read(lines)
		if err != nil {
			return err
		}
		var all sync.WaitGroup
		for _, e := range ends {
			cfg, err := config(e)
			if err != nil {
				return err
			}
			cfg.InsecureSkipVerify = e.Insecure
			if e.Session != "" {
				if sessions[e.Session] == nil {
					sessions[e.Session] = tls.NewLRUClientSessionCache(1)
				}
				cfg.ClientSessionCache = sessions[e.Session]
			}
			all.Add(1)
			go func(e end) {
				defer all.Done()
				say(dial(e, cfg))
			}(e)
		}
		all.Wait()
		say(map[string]any{"done": true})
	}
}

func dial(e end, cfg *tls.Config) truth {
	c, err := net.Dial("tcp", e.Address)
	if err != nil {
		return truth{ID: e.ID, Error: err.Error()}
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	t := tls.Client(wrap(c, e), cfg)
	if err = t.Handshake(); err == nil {
		_, err = io.WriteString(t, "GET / HTTP/1.1\r\nHost: "+e.SNI+"\r\nConnection: close\r\n\r\n")
	}
	if err == nil {
		var said []byte
		if said, err = io.ReadAll(t); err == nil && !bytes.HasPrefix(said, []byte("HTTP/1.1 200")) && !bytes.HasPrefix(said, []byte("HTTP/1.0 200")) {
			err = fmt.Errorf("the server answers %.40q", said)
		}
	}
	return know(e, c, t, err)
}
