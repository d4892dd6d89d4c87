package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// connections reads how many openssl s_time made: "1234 connections in 1.23s; …".
func connections(said []byte) (int, error) {
	for line := range bytes.Lines(said) {
		if number, _, ok := bytes.Cut(line, []byte(" connections in ")); ok {
			n, err := strconv.Atoi(string(number))
			if err == nil && n == 0 {
				err = errors.New("none came about")
			}
			return n, err
		}
	}
	return 0, fmt.Errorf("openssl s_time says %.200q", said)
}

// newHandshakes makes connections of this program with itself, one after the other.
func newHandshakes(folder string) (func(n int) error, error) {
	text, err := os.ReadFile(filepath.Join(folder, "authority.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	config := func(who string) (*tls.Config, error) {
		pair, err := tls.LoadX509KeyPair(filepath.Join(folder, who+".crt"), filepath.Join(folder, who+".key"))
		return &tls.Config{
			Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, RootCAs: roots, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert,
			SessionTicketsDisabled: true,
		}, err
	}
	server, err := config("server")
	if err != nil {
		return nil, err
	}
	client, err := config("client")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	answered := make(chan error)
	go func() {
		for {
			c, err := l.Accept()
			if err == nil {
				t := tls.Server(c, server)
				err = errors.Join(t.Handshake(), c.Close())
			}
			answered <- err
		}
	}()
	return func(n int) error {
		for range n {
			c, err := tls.Dial("tcp4", l.Addr().String(), client)
			if err == nil {
				err = c.NetConn().Close()
			}
			if err = errors.Join(err, <-answered); err != nil {
				return err
			}
		}
		return nil
	}, nil
}
