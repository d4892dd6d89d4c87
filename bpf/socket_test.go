package bpf

import (
	"fmt"
	"net/netip"
	"runtime"

	"golang.org/x/sys/unix"
)

// Plain system calls, for children whose every connection is counted: package net makes some of its own.

func here4(port int) unix.Sockaddr { return at("127.0.0.1", port) }

func here6(port int) unix.Sockaddr { return at("::1", port) }

func mapped(port int) unix.Sockaddr {
	return &unix.SockaddrInet6{Port: port, Addr: netip.MustParseAddr("::ffff:127.0.0.1").As16()}
}

func at(address string, port int) unix.Sockaddr {
	if a := netip.MustParseAddr(address); !a.Is4() {
		return &unix.SockaddrInet6{Port: port, Addr: a.As16()}
	}
	return &unix.SockaddrInet4{Port: port, Addr: netip.MustParseAddr(address).As4()}
}

func familyOf(a unix.Sockaddr) int {
	if _, six := a.(*unix.SockaddrInet6); six {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func addressOfSocket(fd int) netip.AddrPort {
	switch a := must(unix.Getsockname(fd)).(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	panic("a socket without address")
}

func portOf(a unix.Sockaddr) int {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return a.Port
	case *unix.SockaddrInet6:
		return a.Port
	}
	panic(fmt.Sprintf("a port of %T", a))
}

// listenTCP listens on all addresses of both families.
func listenTCP(port, protocol, backlog int) int {
	fd := must(unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, protocol))
	check(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	check(unix.Bind(fd, &unix.SockaddrInet6{Port: port}))
	check(unix.Listen(fd, backlog))
	return fd
}

func boundPort(fd int) int { return portOf(must(unix.Getsockname(fd))) }

func dial(protocol int, to unix.Sockaddr) (int, error) {
	fd := must(unix.Socket(familyOf(to), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, protocol))
	return fd, unix.Connect(fd, to)
}

func pair(l, protocol int, to unix.Sockaddr) (client, server int) {
	client = must(dial(protocol, to))
	server, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
	check(err)
	return client, server
}

type order bool

const (
	clientFirst order = false
	serverFirst order = true
)

// exchange listens, and has one connection with so many bytes each way.
func exchange(to unix.Sockaddr, toServer, toClient int, o order) {
	l := listenTCP(portOf(to), 0, 8)
	converse(l, 0, to, toServer, toClient, o)
	check(unix.Close(l))
}

func converse(l, protocol int, to unix.Sockaddr, toServer, toClient int, o order) {
	c, s := pair(l, protocol, to)
	transfer(c, s, toServer)
	transfer(s, c, toClient)
	if o == serverFirst {
		c, s = s, c
	}
	hangUp(c, s)
}

func hangUp(first, second int) {
	check(unix.Close(first))
	eof(second)
	check(unix.Close(second))
}

func transfer(from, to, n int) {
	sent := make(chan bool)
	go func() {
		send(from, n)
		close(sent)
	}()
	receive(to, n)
	<-sent
}

func send(fd, n int) {
	for b := make([]byte, n); len(b) > 0; {
		b = b[must(unix.Write(fd, b)):]
	}
}

func receive(fd, n int) {
	for b := make([]byte, n); n > 0; {
		m := must(unix.Read(fd, b[:n]))
		if m == 0 {
			panic("the connection ended early")
		}
		n -= m
	}
}

// acknowledged waits until the peer's kernel has all that was sent.
func acknowledged(fd int) {
	for must(unix.IoctlGetInt(fd, unix.SIOCOUTQ)) > 0 {
		runtime.Gosched()
	}
}

func eof(fd int) {
	var b [1]byte
	if n, err := unix.Read(fd, b[:]); n != 0 || err != nil {
		panic(fmt.Sprintf("read %d bytes where the connection should end: %v", n, err))
	}
}

// socketUDP is bound to an address, or to none if that is nil.
func socketUDP(family int, local unix.Sockaddr) int {
	fd := must(unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
	if local != nil {
		check(unix.Bind(fd, local))
	}
	return fd
}

func connectedUDP(to unix.Sockaddr) int {
	fd := socketUDP(familyOf(to), nil)
	check(unix.Connect(fd, to))
	return fd
}

func sendTo(fd, n int, to unix.Sockaddr) { check(unix.Sendto(fd, make([]byte, n), 0, to)) }

// receiveFrom receives one datagram of n bytes.
func receiveFrom(fd, n int) unix.Sockaddr {
	b := make([]byte, 1<<16)
	m, from, err := unix.Recvfrom(fd, b, 0)
	check(err)
	if m != n {
		panic(fmt.Sprintf("received %d bytes, want %d", m, n))
	}
	return from
}
