package bpf

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A deny actor does what it is told with sockets of its own cgroup, and says what the kernel answered: "ok", or the name of the error.

const actorSockets = "AMBIT_TEST_SOCKETS" // what an actor has from before it was executed again: UDP, TCP

func denyTraffic() {
	kept, inherited := -1, [2]int{-1, -1}
	if fds := os.Getenv(actorSockets); fds != "" {
		must(fmt.Sscan(fds, &inherited[0], &inherited[1]))
	}
	for {
		line, err := steps.ReadString('\n')
		if err != nil {
			return
		}
		w := strings.Fields(line)
		var to netip.AddrPort
		if len(w) > 1 {
			to = netip.MustParseAddrPort(w[1])
		}
		switch w[0] {
		case "keep": // a TCP connection
			var err error
			kept, err = dial(0, sockaddr(to, false))
			answer(err)
		case "keep-udp": // connected
			kept = must(unix.Socket(familyOf(sockaddr(to, false)), unix.SOCK_DGRAM, 0))
			answer(unix.Connect(kept, sockaddr(to, false)))
		case "write": // on what was kept
			_, err := unix.Write(kept, []byte("x"))
			answer(err)
		case "read":
			n, err := unix.Read(kept, make([]byte, 1))
			if n == 0 && err == nil {
				err = unix.EPIPE
			}
			answer(err)
		case "execute":
			udp := must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0))
			tcp := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
			answer(nil)
			env := append(os.Environ(), fmt.Sprintf("%s=%d %d", actorSockets, udp, tcp))
			check(syscall.Exec("/proc/self/exe", os.Args, env))
		case "inherited-udp":
			answer(unix.Sendto(inherited[0], []byte("x"), 0, sockaddr(to, false)))
		case "inherited-tcp":
			answer(unix.Connect(inherited[1], sockaddr(to, false)))
		case "listen":
			kept = socketUDP(unix.AF_INET, sockaddr(to, false))
			l := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
			check(unix.Bind(l, sockaddr(to, false)))
			check(unix.Listen(l, 100))
			answer(nil)
		case "heard": // from whom
			_, from, err := unix.Recvfrom(kept, make([]byte, 10), 0)
			check(err)
			fmt.Println(netip.AddrFrom4(from.(*unix.SockaddrInet4).Addr))
		case "tcp-from", "udp-from":
			kind := unix.SOCK_STREAM
			if w[0] == "udp-from" {
				kind = unix.SOCK_DGRAM
			}
			fd := must(unix.Socket(unix.AF_INET, kind, 0))
			check(unix.Bind(fd, at(w[2], 0)))
			check(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 1})) // of connect, too
			err := unix.Connect(fd, sockaddr(to, false))
			for err == unix.EINTR { // the runtime's signals; a call with a timeout is not restarted, but the next one waits on
				err = unix.Connect(fd, sockaddr(to, false))
			}
			if err == unix.EINPROGRESS || err == unix.EALREADY {
				err = unix.EAGAIN
			}
			if err == nil && kind == unix.SOCK_DGRAM {
				_, err = unix.Write(fd, []byte("x"))
			}
			check(unix.Close(fd))
			answer(err)
		case "many": // connections, and how many were refused
			n, refused := must(strconv.Atoi(w[2])), 0
			for range n {
				fd, err := dial(0, sockaddr(to, false))
				if err != nil {
					refused++
				}
				check(unix.Close(fd))
			}
			fmt.Println(refused)
		default:
			answer(asks[w[0]](to))
		}
	}
}

func answer(err error) {
	switch e := err.(type) {
	case nil:
		fmt.Println("ok")
	case unix.Errno:
		fmt.Println(unix.ErrnoName(e))
	default:
		panic(err)
	}
}

// asks are the ways to reach something once.
var asks = map[string]func(netip.AddrPort) error{
	"tcp": func(to netip.AddrPort) error {
		fd, err := dial(0, sockaddr(to, false))
		check(unix.Close(fd))
		return err
	},
	"tcp-mapped": func(to netip.AddrPort) error {
		fd, err := dial(0, sockaddr(to, true))
		check(unix.Close(fd))
		return err
	},
	"tcp-fast-open": func(to netip.AddrPort) error {
		fd := must(unix.Socket(familyOf(sockaddr(to, false)), unix.SOCK_STREAM, 0))
		defer unix.Close(fd)
		err := unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, sockaddr(to, false))
		if err == unix.EINPROGRESS {
			return nil
		}
		return err
	},
	"udp-connect": func(to netip.AddrPort) error {
		fd := must(unix.Socket(familyOf(sockaddr(to, false)), unix.SOCK_DGRAM, 0))
		defer unix.Close(fd)
		return unix.Connect(fd, sockaddr(to, false))
	},
	"udp-send": func(to netip.AddrPort) error {
		return sendOnce(familyOf(sockaddr(to, false)), nil, sockaddr(to, false))
	},
	"udp-mapped": func(to netip.AddrPort) error { return sendOnce(unix.AF_INET6, nil, sockaddr(to, true)) },
	"udp-wildcard": func(to netip.AddrPort) error {
		return sendOnce(unix.AF_INET6, &unix.SockaddrInet6{}, sockaddr(to, true))
	},
	"sendmmsg": sendmmsg,
	"raw": func(to netip.AddrPort) error { // a UDP datagram, written by hand
		fd := must(unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_UDP))
		defer unix.Close(fd)
		p := to.Port()
		return unix.Sendto(fd, []byte{0x30, 0x39, byte(p >> 8), byte(p), 0, 9, 0, 0, 'x'}, 0, &unix.SockaddrInet4{Addr: to.Addr().As4()})
	},
	"icmp": func(to netip.AddrPort) error {
		fd := must(unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP))
		defer unix.Close(fd)
		return unix.Sendto(fd, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}, 0, &unix.SockaddrInet4{Addr: to.Addr().As4()})
	},
}

func sendOnce(family int, local, to unix.Sockaddr) error {
	fd := socketUDP(family, local)
	defer unix.Close(fd)
	return unix.Sendto(fd, []byte("x"), 0, to)
}

// sendmmsg makes the system call itself.
func sendmmsg(to netip.AddrPort) error {
	fd := socketUDP(unix.AF_INET, nil)
	defer unix.Close(fd)
	name := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4(), Port: to.Port()<<8 | to.Port()>>8}
	data := []byte("x")
	iov := unix.Iovec{Base: &data[0]}
	iov.SetLen(1)
	type mmsghdr struct {
		unix.Msghdr
		_ [8]byte // how much was sent
	}
	m := [2]mmsghdr{}
	for i := range m {
		m[i].Name, m[i].Namelen = (*byte)(unsafe.Pointer(&name)), uint32(unsafe.Sizeof(name))
		m[i].Iov = &iov
		m[i].SetIovlen(1)
	}
	_, _, e := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), uintptr(len(m)), 0, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

func sockaddr(to netip.AddrPort, mapped bool) unix.Sockaddr {
	if to.Addr().Is4() && !mapped {
		return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}
