package feed

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// settle is how long a connection must stay open behind the last acknowledged byte before what was written counts as taken: syslog has no
	// answers, and a receiver that has just died does not say so at once.
	settle = 100 * time.Millisecond
	// maxDatagram is what fits in one UDP datagram.
	maxDatagram = 65_507
)

// syslogSender writes messages of RFC 5424: over TLS and TCP with their length before them (RFC 5425, RFC 6587), over UDP and datagram sockets one each.
type syslogSender struct {
	o    *opening
	conn net.Conn
	raw  syscall.Conn  // of the socket below TLS
	gone chan struct{} // closed when the receiver ended the connection
	over sync.WaitGroup
}

func checkSyslog(c *Config) error {
	if c.Address == "" {
		return errors.New("address is missing")
	}
	switch c.Network {
	case "tls":
		return c.checkAddress(c.Address, "address", true)
	case "tcp", "udp":
		if !c.TLS.isZero() {
			return errors.New("tls is for the network tls only")
		}
		return c.checkAddress(c.Address, "address", false)
	case "unix":
		return checkPath(c.Address, "address")
	}
	return errors.New("network is not one of tls, tcp, udp, unix")
}

func openSyslog(o *opening) (sender, error) { return &syslogSender{o: o}, nil }

func (s *syslogSender) close() {
	if s.conn != nil {
		s.conn.Close()
		s.over.Wait()
		s.conn = nil
	}
}

func (s *syslogSender) datagrams() bool { return s.o.Network == "udp" || s.o.Network == "unix" }

func (s *syslogSender) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	var d net.Dialer
	network := map[string]string{"tls": "tcp", "tcp": "tcp", "udp": "udp", "unix": "unixgram"}[s.o.Network]
	conn, err := d.DialContext(ctx, network, s.o.Address)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	s.raw, _ = conn.(syscall.Conn)
	if s.o.Network == "tls" {
		config, err := s.o.TLS.config()
		if err != nil {
			conn.Close()
			return err
		}
		if config.ServerName == "" {
			config.ServerName, _, _ = net.SplitHostPort(s.o.Address)
		}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return fmt.Errorf("connect: %w", err)
		}
		conn = secure
	}
	s.conn, s.gone = conn, make(chan struct{})
	if s.datagrams() {
		return nil
	}
	s.over.Add(1)
	go func(gone chan struct{}) { // receivers say nothing: what is read is the end
		defer s.over.Done()
		defer close(gone)
		buf := make([]byte, 256)
		for {
			if _, err := conn.Read(buf); err != nil {
				return
			}
		}
	}(s.gone)
	return nil
}

func (s *syslogSender) send(ctx context.Context, docs []Document) (receipt, error) {
	if s.conn != nil {
		select {
		case <-s.gone:
			s.close()
		default:
		}
	}
	if s.conn == nil {
		if err := s.dial(ctx); err != nil {
			return receipt{}, err
		}
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.o.Timeout)); err != nil {
		s.close()
		return receipt{}, fmt.Errorf("write: %w", err)
	}
	conn := s.conn // which a failure forgets, meanwhile
	defer context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Now()) })()
	if s.datagrams() {
		return s.each(docs)
	}
	return s.stream(ctx, docs)
}

func (s *syslogSender) message(d *Document) []byte {
	if s.o.Format == "rfc5424" {
		return d.Body
	}
	return syslogMessage(s.o.making, d.Record, "", string(d.Body))
}

// each sends a datagram a document.
func (s *syslogSender) each(docs []Document) (receipt, error) {
	for i := range docs {
		m := s.message(&docs[i])
		if len(m) > maxDatagram {
			return receipt{taken: i}, refusedForGood("a message of %d bytes does not fit in a datagram", len(m))
		}
		if _, err := s.conn.Write(m); err != nil {
			if errors.Is(err, syscall.EMSGSIZE) {
				return receipt{taken: i}, refusedForGood("a message of %d bytes does not fit in a datagram: %w", len(m), err)
			}
			s.close()
			return receipt{taken: i}, fmt.Errorf("write: %w", err)
		}
	}
	return receipt{len(docs), "sent; datagrams have no answer"}, nil
}

// stream writes all documents, and waits until the receiver's machine has acknowledged them and the connection has stayed open.
func (s *syslogSender) stream(ctx context.Context, docs []Document) (receipt, error) {
	var buf bytes.Buffer
	for i := range docs {
		m := s.message(&docs[i])
		buf.WriteString(strconv.Itoa(len(m)) + " ")
		buf.Write(m)
	}
	broken := func(err error) (receipt, error) {
		s.close()
		return receipt{}, fmt.Errorf("write: %w", err)
	}
	if _, err := s.conn.Write(buf.Bytes()); err != nil {
		return broken(err)
	}
	deadline := time.NewTimer(s.o.Timeout)
	defer deadline.Stop()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	quiet := time.NewTimer(settle)
	defer quiet.Stop()
	for empty := false; ; {
		select {
		case <-s.gone:
			return broken(errors.New("the receiver ended the connection"))
		case <-ctx.Done():
			return broken(ctx.Err())
		case <-deadline.C:
			return broken(errors.New("the receiver does not read"))
		case <-quiet.C:
			if empty {
				return receipt{len(docs), "written, and read by the receiver's machine; syslog has no answer"}, nil
			}
			quiet.Reset(settle)
		case <-poll.C:
			n, err := s.unacknowledged()
			if err != nil {
				return broken(err)
			}
			if n == 0 && !empty {
				empty = true
				quiet.Reset(settle)
				poll.Stop()
			}
		}
	}
}

// unacknowledged is how many bytes the receiver's machine has not taken.
func (s *syslogSender) unacknowledged() (n int, err error) {
	raw, err := s.raw.SyscallConn()
	if err != nil {
		return 0, err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { n, inner = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n, errors.Join(err, inner)
}
