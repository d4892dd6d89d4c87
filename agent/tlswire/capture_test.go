package tlswire

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
)

// tap keeps what is written through it.
type tap struct {
	net.Conn
	mu      sync.Mutex
	written bytes.Buffer
}

func (c *tap) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.written.Write(b)
	c.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *tap) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.written.Bytes())
}

// handshake has two ends of crypto/tls shake hands and say a byte to each other.
func handshake(t testing.TB, client, server *tls.Config) (fromClient, fromServer []byte, state tls.ConnectionState) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	tc, ts := &tap{Conn: c}, &tap{Conn: s}
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
	if _, err := conn.Write([]byte("c")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil { // tickets of TLS 1.3 come before it
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	c.Close()
	s.Close()
	return tc.bytes(), ts.bytes(), conn.ConnectionState()
}
