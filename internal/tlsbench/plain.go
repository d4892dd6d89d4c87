package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// plains are what programs do that know nothing of TLS: over loopback, by system calls and nothing else.
var plains = []struct {
	name, unit string
	prepare    func(l *listener) (func(i int) error, error)
}{
	{"no TLS, short connections", "connection", (*listener).short},
	{"no TLS, one connection", "request", (*listener).long},
	{"no TLS, small sends", "send", (*listener).sends},
}

func newPlain(name string) (func(n int) error, error) {
	for _, p := range plains {
		if p.name != name {
			continue
		}
		l, err := listen()
		if err != nil {
			return nil, err
		}
		do, err := p.prepare(l)
		return func(n int) error {
			for i := range n {
				if err := do(i); err != nil {
					return err
				}
			}
			return nil
		}, err
	}
	return nil, fmt.Errorf("unknown load %q", name)
}

type listener struct {
	fd   int
	name *unix.SockaddrInet4
}

func listen() (*listener, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return nil, fmt.Errorf("read the port: %w", err)
	}
	if err := unix.Listen(fd, 16); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return &listener{fd, name.(*unix.SockaddrInet4)}, nil
}

func (l *listener) pair() (client, server int, err error) {
	if client, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, 0, fmt.Errorf("make socket: %w", err)
	}
	if err := unix.Connect(client, l.name); err != nil {
		return 0, 0, fmt.Errorf("connect: %w", err)
	}
	if server, _, err = unix.Accept4(l.fd, unix.SOCK_CLOEXEC); err != nil {
		return 0, 0, fmt.Errorf("accept: %w", err)
	}
	return client, server, nil
}

// pass sends from one to the other, and reads all of it.
func pass(from, to int, b []byte) error {
	if _, err := unix.Write(from, b); err != nil {
		return err
	}
	for n := 0; n < len(b); {
		m, err := unix.Read(to, b[n:])
		if err != nil {
			return err
		}
		n += m
	}
	return nil
}

const requestBytes, answerBytes, sendBytes = 200, 400, 64

// short makes a connection for each request; the server ends it first, or the client would run out of ports.
func (l *listener) short() (func(int) error, error) {
	b := make([]byte, answerBytes)
	return func(int) error {
		client, server, err := l.pair()
		if err != nil {
			return err
		}
		return errors.Join(pass(client, server, b[:requestBytes]), pass(server, client, b), unix.Close(server), unix.Close(client))
	}, nil
}

func (l *listener) long() (func(int) error, error) {
	b := make([]byte, answerBytes)
	client, server, err := l.pair()
	return func(int) error { return errors.Join(pass(client, server, b[:requestBytes]), pass(server, client, b)) }, err
}

// sends fills a connection by small pieces, which are read together.
func (l *listener) sends() (func(int) error, error) {
	const together = 64
	b := make([]byte, together*sendBytes)
	client, server, err := l.pair()
	if err == nil {
		err = unix.SetsockoptInt(client, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // each is a packet
	}
	return func(i int) error {
		if _, err := unix.Write(client, b[:sendBytes]); err != nil {
			return err
		}
		if i%together != together-1 {
			return nil
		}
		for n := 0; n < len(b); {
			m, err := unix.Read(server, b)
			if err != nil {
				return err
			}
			n += m
		}
		return nil
	}, err
}
