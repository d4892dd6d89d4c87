package tlswire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// tap keeps what is written through it.
type tap struct {
	net.Conn
	mu      sync.Mutex
	written bytes.Buffer
	cut     cut
}

// cut says how long writes may be, 0 for any: the first of each flight, and those behind it. A first one that ends within a header, and one behind it with
// all else, is what Nagle and a full window make of small writes.
type cut struct{ first, rest int }

func (c *tap) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.written.Write(b)
	c.mu.Unlock()
	size := c.cut.first
	for rest := b; len(rest) > 0; size = c.cut.rest {
		if size == 0 || size > len(rest) {
			size = len(rest)
		}
		if _, err := c.Conn.Write(rest[:size]); err != nil {
			return 0, err
		}
		rest = rest[size:]
	}
	return len(b), nil
}

func (c *tap) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.written.Bytes())
}

// handshake has two ends of crypto/tls shake hands and say a byte to each other.
func handshake(t testing.TB, client, server *tls.Config) (fromClient, fromServer []byte, state tls.ConnectionState) {
	t.Helper()
	r, err := shake(client, server, cut{})
	if err != nil {
		t.Fatal(err)
	}
	return r.fromClient, r.fromServer, r.state
}

// shaken is a handshake that is over.
type shaken struct {
	fromClient, fromServer []byte
	client, server         uint64 // cookies of the sockets
	state                  tls.ConnectionState
}

// shake cuts what is written.
func shake(client, server *tls.Config, pieces cut) (r shaken, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return r, err
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return r, err
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		return r, err
	}
	defer s.Close()
	if r.client, err = cookie(c); err != nil {
		return r, err
	}
	if r.server, err = cookie(s); err != nil {
		return r, err
	}
	tc, ts := &tap{Conn: c, cut: pieces}, &tap{Conn: s, cut: pieces}
	done := make(chan error, 1)
	go func() {
		conn := tls.Server(ts, server)
		_, err := io.ReadFull(conn, make([]byte, 1))
		if err == nil {
			_, err = conn.Write([]byte("s"))
		}
		done <- err
	}()
	conn := tls.Client(tc, client)
	_, err = conn.Write([]byte("c"))
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1)) // tickets of TLS 1.3 come before it
	}
	if err != nil {
		c.Close()
	}
	err = errors.Join(err, <-done)
	r.fromClient, r.fromServer, r.state = tc.bytes(), ts.bytes(), conn.ConnectionState()
	return r, err
}

func cookie(c net.Conn) (cookie uint64, err error) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	err2 := raw.Control(func(fd uintptr) {
		cookie, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE)
	})
	return cookie, errors.Join(err, err2)
}
