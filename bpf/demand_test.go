package bpf

import (
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

type connection struct{ client, server int }

// demandTraffic makes connections as the test says.
func demandTraffic() {
	listeners, open := map[int]int{}, map[int][]connection{}
	var others []*exec.Cmd
	var filled, begun int
	connect := func(to unix.Sockaddr, key int) netip.AddrPort { // gives the client's end
		c, s := pair(listeners[key], 0, to)
		open[key] = append(open[key], connection{c, s})
		return addressOfSocket(c)
	}
	obey(map[string]func(args ...int) any{
		"listen": func(args ...int) any { // port, or 0 for any; answers with the port
			l := listenTCP(args[0], 0, 4096)
			port := boundPort(l)
			listeners[port] = l
			return port
		},
		"serve": func(args ...int) any { // the same over UDP, never answered
			return boundPort(socketUDP(unix.AF_INET, here4(args[0])))
		},
		"datagram": func(args ...int) any {
			sendTo(socketUDP(unix.AF_INET, nil), args[1], here4(args[0]))
			return "sent"
		},
		"open":         func(args ...int) any { return connect(here4(args[0]), args[0]) }, // port
		"open6":        func(args ...int) any { return connect(here6(args[0]), args[0]) },
		"open-service": func(args ...int) any { return connect(at("127.9.9.9", args[0]), args[0]) }, // an address that may stand for a service
		"refuse-service": func(args ...int) any { // port
			fd, err := dial(0, at("127.9.9.9", args[0]))
			if err != unix.ECONNREFUSED {
				panic(err)
			}
			check(unix.Close(fd))
			return "refused"
		},
		"say": func(args ...int) any { // port, bytes to the server, to the client, on every open connection
			for _, c := range open[args[0]] {
				transfer(c.client, c.server, args[1])
				transfer(c.server, c.client, args[2])
			}
			return "said"
		},
		"share": func(args ...int) any { // another process holds the connections, too
			for _, c := range open[args[0]] {
				other := exec.Command("cat")
				must(other.StdinPipe()) // ends it when we end, or unshare
				f := os.NewFile(uintptr(must(unix.FcntlInt(uintptr(c.client), unix.F_DUPFD_CLOEXEC, 0))), "connection")
				other.ExtraFiles = []*os.File{f}
				check(other.Start())
				check(f.Close())
				others = append(others, other)
			}
			return "shared"
		},
		"unshare": func(...int) any {
			for _, o := range others {
				check(o.Process.Kill())
				_ = o.Wait() // it was killed
			}
			return "alone"
		},
		"close": func(args ...int) any { // all connections at once
			for _, c := range open[args[0]] {
				hangUp(c.client, c.server)
			}
			delete(open, args[0])
			return "closed"
		},
		"begin": func(args ...int) any { // to connect to a port whose listener has no room; answered at once
			filled = must(dial(0, here4(args[0])))
			begun = must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0))
			if err := unix.Connect(begun, here4(args[0])); err != unix.EINPROGRESS {
				panic(err)
			}
			return "begun"
		},
		"room": func(args ...int) any { // there now is
			s, _, err := unix.Accept4(listeners[args[0]], unix.SOCK_CLOEXEC)
			check(err)
			awaitEvent(begun, unix.POLLOUT)
			hangUp(filled, s)
			return must(unix.GetsockoptInt(begun, unix.SOL_SOCKET, unix.SO_ERROR))
		},
		"leave": func(args ...int) any { // all that waits for the listener is reset, or refused
			check(unix.Close(listeners[args[0]]))
			awaitEvent(begun, unix.POLLOUT)
			e := must(unix.GetsockoptInt(begun, unix.SOL_SOCKET, unix.SO_ERROR))
			check(unix.Close(filled))
			check(unix.Close(begun))
			return e
		},
		"listen-short": func(args ...int) any {
			listeners[args[0]] = listenTCP(args[0], 0, 0)
			return args[0]
		},
		"refuse": func(args ...int) any { // connect to ports from, to, where nobody listens, each from so many threads at once
			for port := args[0]; port <= args[1]; port++ {
				var all sync.WaitGroup
				for range args[2] {
					all.Go(func() {
						fd, err := dial(0, here4(port))
						if err != unix.ECONNREFUSED {
							panic(err)
						}
						check(unix.Close(fd))
					})
				}
				all.Wait()
			}
			return "refused"
		},
		"user": func(args ...int) any {
			check(syscall.Setuid(args[0]))
			return "changed"
		},
		"open-many": func(args ...int) any { // port, how many
			allowFiles(uint64(2*args[1] + 100))
			for range args[1] {
				connect(here4(args[0]), args[0])
			}
			return "open"
		},
		"close-many": func(args ...int) any { // port: all of them, as fast as it goes; the server first, or the client runs out of ports
			for _, c := range open[args[0]] {
				check(unix.Close(c.server))
				check(unix.Close(c.client))
			}
			delete(open, args[0])
			return "closed"
		},
	})
}

// allowFiles lets this process have so many open files.
func allowFiles(n uint64) {
	var limit unix.Rlimit
	check(unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	if limit.Cur < n {
		check(unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: max(n, limit.Max)}))
	}
}

// awaitEvent waits for a descriptor. Unlike other calls, a poll is not begun again after a signal, and Go's own come any time.
func awaitEvent(fd int, event int16) {
	for {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: event}}, -1); err != unix.EINTR {
			check(err)
			return
		}
	}
}
