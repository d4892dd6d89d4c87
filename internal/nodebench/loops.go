package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// loop is one kind of traffic, over loopback, by system calls and nothing else.
type loop struct {
	name  string
	times int
	run   func() error
}

type loops struct {
	all []*loop
	fds []int
}

func (l *loops) close() {
	for _, fd := range l.fds {
		unix.Close(fd)
	}
}

func newLoops(scale float64) (*loops, error) {
	l := &loops{}
	times := func(n int) int { return max(1000, int(float64(n)*scale)) }
	one, err := l.listen(1)
	if err != nil {
		return nil, err
	}
	many, err := l.listen(1000)
	if err != nil {
		return nil, err
	}
	l.add("connect, 1 edge", times(8000), func(i int) error { return one[0].connect() })
	l.add("connect, 1000 edges", times(8000), func(i int) error { return many[i%len(many)].connect() })
	if err := l.datagrams(times(20000)); err != nil {
		return nil, err
	}
	return l, l.stream(one[0], times(4000))
}

func (l *loops) add(name string, times int, do func(i int) error) {
	l.all = append(l.all, &loop{name, times, func() error {
		for i := range times {
			if err := do(i); err != nil {
				return err
			}
		}
		return nil
	}})
}

func (l *loops) socket(kind int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("make socket: %w", err)
	}
	return fd, nil
}

func (l *loops) bound(kind int) (int, *unix.SockaddrInet4, error) {
	fd, err := l.socket(kind)
	if err != nil {
		return 0, nil, err
	}
	l.fds = append(l.fds, fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, nil, fmt.Errorf("bind: %w", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, nil, fmt.Errorf("read the port: %w", err)
	}
	return fd, name.(*unix.SockaddrInet4), nil
}

// listener and what connects to it.
type listener struct {
	l    *loops
	fd   int
	name *unix.SockaddrInet4
}

func (l *loops) listen(n int) ([]listener, error) {
	var out []listener
	for range n {
		fd, name, err := l.bound(unix.SOCK_STREAM)
		if err != nil {
			return nil, err
		}
		if err := unix.Listen(fd, 16); err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
		out = append(out, listener{l, fd, name})
	}
	return out, nil
}

func (x listener) pair() (client, server int, err error) {
	if client, err = x.l.socket(unix.SOCK_STREAM); err != nil {
		return 0, 0, err
	}
	if err := unix.Connect(client, x.name); err != nil {
		return 0, 0, fmt.Errorf("connect: %w", err)
	}
	if server, _, err = unix.Accept4(x.fd, unix.SOCK_CLOEXEC); err != nil {
		return 0, 0, fmt.Errorf("accept: %w", err)
	}
	return client, server, nil
}

// connect makes one connection and ends it; the server ends it first, or the client would run out of ports.
func (x listener) connect() error {
	client, server, err := x.pair()
	if err != nil {
		return err
	}
	return errors.Join(unix.Close(server), unix.Close(client))
}

func (l *loops) datagrams(times int) error {
	server, name, err := l.bound(unix.SOCK_DGRAM)
	if err != nil {
		return err
	}
	free, err := l.socket(unix.SOCK_DGRAM)
	if err != nil {
		return err
	}
	connected, err := l.socket(unix.SOCK_DGRAM)
	if err != nil {
		return err
	}
	l.fds = append(l.fds, free, connected)
	if err := unix.Connect(connected, name); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	out, in := make([]byte, 64), make([]byte, 64)
	drain := func(i int) error { // now and then, so that the queue does not fill and sending is most of it
		if i%64 != 63 {
			return nil
		}
		for {
			if _, err := unix.Read(server, in); errors.Is(err, unix.EAGAIN) {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
	if err := unix.SetNonblock(server, true); err != nil {
		return err
	}
	l.add("UDP sendto", times, func(i int) error { return errors.Join(unix.Sendto(free, out, 0, name), drain(i)) })
	l.add("UDP connected", times, func(i int) error {
		_, err := unix.Write(connected, out)
		return errors.Join(err, drain(i))
	})
	return nil
}

// stream sends 64 KiB at a time over one connection.
func (l *loops) stream(to listener, times int) error {
	client, server, err := to.pair()
	if err != nil {
		return err
	}
	l.fds = append(l.fds, client, server)
	out, in := make([]byte, 64<<10), make([]byte, 64<<10)
	l.add("TCP stream, 64 KiB", times, func(int) error {
		if _, err := unix.Write(client, out); err != nil {
			return err
		}
		for n := 0; n < len(out); {
			m, err := unix.Read(server, in)
			if err != nil {
				return err
			}
			n += m
		}
		return nil
	})
	return nil
}
