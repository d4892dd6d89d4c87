package bpf

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestKernelTCP(t *testing.T) {
	watch(t, testConfig(t)).run(t, tcpScenarios)
}

const mptcp = 262

var tcpScenarios = []scenario{
	{"client closes first", func() { exchange(here4(1000), 1000, 5000, clientFirst) }, []string{
		"out tcp 127.0.0.1 1000: opened=1 closed=1 sent=1000 received=5000",
		"in tcp 127.0.0.1 1000: opened=1 closed=1 sent=5000 received=1000",
	}},
	{"server closes first", func() { exchange(here4(1000), 1000, 5000, serverFirst) }, []string{
		"out tcp 127.0.0.1 1000: opened=1 closed=1 sent=1000 received=5000",
		"in tcp 127.0.0.1 1000: opened=1 closed=1 sent=5000 received=1000",
	}},
	{"IPv6", func() { exchange(here6(1000), 100, 200, clientFirst) }, []string{
		"out tcp ::1 1000: opened=1 closed=1 sent=100 received=200",
		"in tcp ::1 1000: opened=1 closed=1 sent=200 received=100",
	}},
	{"IPv4 on an IPv6 socket", func() { exchange(mapped(1000), 100, 200, clientFirst) }, []string{
		"out tcp 127.0.0.1 1000: opened=1 closed=1 sent=100 received=200",
		"in tcp 127.0.0.1 1000: opened=1 closed=1 sent=200 received=100",
	}},
	{"megabytes", func() { exchange(here4(1000), 2<<20, 2<<20, clientFirst) }, []string{
		"out tcp 127.0.0.1 1000: opened=1 closed=1 sent=2097152 received=2097152",
		"in tcp 127.0.0.1 1000: opened=1 closed=1 sent=2097152 received=2097152",
	}},
	{"nothing is said", func() { exchange(here4(1000), 0, 0, clientFirst) }, []string{
		"out tcp 127.0.0.1 1000: opened=1 closed=1",
		"in tcp 127.0.0.1 1000: opened=1 closed=1",
	}},
	{"several connections, two services", func() {
		for range 3 {
			exchange(here4(1000), 10, 20, clientFirst)
		}
		exchange(here4(1001), 10, 20, clientFirst)
	}, []string{
		"out tcp 127.0.0.1 1000: opened=3 closed=3 sent=30 received=60",
		"in tcp 127.0.0.1 1000: opened=3 closed=3 sent=60 received=30",
		"out tcp 127.0.0.1 1001: opened=1 closed=1 sent=10 received=20",
		"in tcp 127.0.0.1 1001: opened=1 closed=1 sent=20 received=10",
	}},
	{"backlog 0", func() {
		l := listenTCP(1000, 0, 0)
		converse(l, 0, here4(1000), 100, 200, clientFirst)
	}, []string{
		"out tcp 127.0.0.1 1000: opened=1 closed=1 sent=100 received=200",
		"in tcp 127.0.0.1 1000: opened=1 closed=1 sent=200 received=100",
	}},
	{"nobody listens", refusedTraffic, []string{"out tcp 127.0.0.1 1: opened=1 failed=1 ECONNREFUSED"}},
	{"refused, then tried again on the same socket", func() {
		fd, err := dial(0, here4(1000))
		if err != unix.ECONNREFUSED {
			panic(err)
		}
		l := listenTCP(1000, 0, 8)
		check(unix.Connect(fd, here4(1000)))
		s, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
		check(err)
		hangUp(fd, s)
	}, []string{
		"out tcp 127.0.0.1 1000: opened=2 failed=1 closed=1 ECONNREFUSED",
		"in tcp 127.0.0.1 1000: opened=1 closed=1",
	}},
	{"timed out", func() {
		filler := fullListener(1000)
		fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		check(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1))
		check(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 100))
		if err := unix.Connect(fd, here4(1000)); err != unix.ETIMEDOUT {
			panic(err)
		}
		filler()
	}, []string{
		"out tcp 127.0.0.1 1000: opened=2 failed=1 closed=1 ETIMEDOUT",
		"in tcp 127.0.0.1 1000: opened=1 closed=1",
	}},
	{"given up by the application", func() {
		filler := fullListener(1000)
		fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0))
		if err := unix.Connect(fd, here4(1000)); err != unix.EINPROGRESS {
			panic(err)
		}
		check(unix.Close(fd))
		filler()
	}, []string{
		"out tcp 127.0.0.1 1000: opened=2 failed=1 closed=1 ECANCELED",
		"in tcp 127.0.0.1 1000: opened=1 closed=1",
	}},
	{"reset by the client", func() {
		c, s := pair(listenTCP(1000, 0, 8), 0, here4(1000))
		send(c, 700)
		receive(s, 700)
		check(unix.SetsockoptLinger(c, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
		check(unix.Close(c))
		check(unix.Close(s))
	}, []string{
		"out tcp 127.0.0.1 1000: opened=1 closed=1 sent=700",
		"in tcp 127.0.0.1 1000: opened=1 closed=1 received=700",
	}},
	{"reset by the server, which left data unread", func() {
		c, s := pair(listenTCP(1000, 0, 8), 0, here4(1000))
		send(c, 600)
		awaitEvent(s, unix.POLLIN)
		check(unix.Close(s))
		awaitEvent(c, unix.POLLIN)
		check(unix.Close(c))
	}, []string{
		"out tcp 127.0.0.1 1000: opened=1 closed=1 sent=600",
		"in tcp 127.0.0.1 1000: opened=1 closed=1 received=600",
	}},
	{"half-closed", func() {
		c, s := pair(listenTCP(1000, 0, 8), 0, here4(1000))
		send(c, 1000)
		check(unix.Shutdown(c, unix.SHUT_WR))
		receive(s, 1000)
		eof(s)
		send(s, 5000)
		check(unix.Close(s))
		receive(c, 5000)
		eof(c)
		check(unix.Close(c))
	}, []string{
		"out tcp 127.0.0.1 1000: opened=1 closed=1 sent=1000 received=5000",
		"in tcp 127.0.0.1 1000: opened=1 closed=1 sent=5000 received=1000",
	}},
	{"never accepted", func() {
		l := listenTCP(1000, 0, 8)
		c := must(dial(0, here4(1000)))
		send(c, 10)
		acknowledged(c)
		check(unix.Close(l))
		check(unix.Close(c))
	}, []string{
		"out tcp 127.0.0.1 1000: opened=1 closed=1 sent=10",
		"in tcp 127.0.0.1 1000: opened=1 closed=1 received=10",
	}},
	{"a listener that another executable inherits", func() {
		l := listenTCP(1000, 0, 8)
		other := exec.Command(copyOfSelf("heir"))
		other.Env = append(os.Environ(), trafficName+"=once", trafficNetwork+"=")
		other.ExtraFiles = []*os.File{os.NewFile(uintptr(l), "listener")}
		other.Stderr = os.Stderr
		check(other.Start())
		c := must(dial(0, here4(1000)))
		send(c, 10)
		check(other.Wait())
		eof(c)
		check(unix.Close(c))
	}, []string{ // the one who listened, not the one who accepted
		"out tcp 127.0.0.1 1000: opened=1 closed=1 sent=10",
		"in tcp 127.0.0.1 1000: opened=1 closed=1 received=10",
	}},
	{"accepted, then handed over to another executable", func() {
		c, s := pair(listenTCP(1000, 0, 8), 0, here4(1000))
		other := exec.Command("cat")
		f := os.NewFile(uintptr(s), "connection")
		other.Stdin = f
		check(other.Start())
		check(f.Close())
		send(c, 10)
		check(unix.Shutdown(c, unix.SHUT_WR))
		check(other.Wait())
		eof(c)
		check(unix.Close(c))
	}, []string{
		"out tcp 127.0.0.1 1000: opened=1 closed=1 sent=10",
		"in tcp 127.0.0.1 1000: opened=1 closed=1 received=10",
	}},
	{"another executable connects", func() {
		l := listenTCP(1000, 0, 8)
		other := exec.Command(copyOfSelf("caller"))
		other.Env = append(os.Environ(), trafficName+"=refused", trafficNetwork+"=")
		other.Stderr = os.Stderr
		check(other.Run())
		converse(l, 0, here4(1000), 1, 1, clientFirst)
	}, []string{
		"out tcp 127.0.0.1 1000: opened=1 closed=1 sent=1 received=1",
		"in tcp 127.0.0.1 1000: opened=1 closed=1 sent=1 received=1",
		"out tcp 127.0.0.1 1: opened=1 failed=1 ECONNREFUSED by caller",
	}},
	{"connects to itself", func() {
		fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		check(unix.Bind(fd, here4(1000)))
		check(unix.Connect(fd, here4(1000)))
		send(fd, 10)
		receive(fd, 10)
		check(unix.Close(fd))
	}, []string{"out tcp 127.0.0.1 1000: opened=1 closed=1 sent=10 received=10"}},
	{"fast open", func() {
		check(os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte("519"), 0)) // both ends, without a cookie
		l := listenTCP(1000, 0, 8)
		check(unix.SetsockoptInt(l, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 8))
		c := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		check(unix.Sendto(c, make([]byte, 30), unix.MSG_FASTOPEN, here4(1000)))
		s, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
		check(err)
		receive(s, 30)
		transfer(s, c, 40)
		hangUp(c, s)
	}, []string{
		"out tcp 127.0.0.1 1000: opened=1 closed=1 sent=30 received=40",
		"in tcp 127.0.0.1 1000: opened=1 closed=1 sent=40 received=30",
	}},
	{"no route", func() { // fails before the first state: not seen
		if _, err := dial(0, &unix.SockaddrInet6{Port: 1000, Addr: netip.MustParseAddr("2001:db8::1").As16()}); err == nil {
			panic("there is a route")
		}
	}, nil},
	{"MPTCP", func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, mptcp)
		if err != nil {
			exchange(here4(1000), 300, 400, clientFirst) // a kernel without it
			return
		}
		check(unix.Close(fd))
		converse(listenTCP(1000, mptcp, 8), mptcp, here4(1000), 300, 400, clientFirst)
	}, []string{
		"out tcp 127.0.0.1 1000: opened=1 closed=1 sent=300 received=400",
		"in tcp 127.0.0.1 1000: opened=1 closed=1 sent=400 received=300",
	}},
}

// onceTraffic accepts one connection on an inherited listener.
func onceTraffic() {
	fd, _, err := unix.Accept(3)
	check(err)
	receive(fd, 10)
	check(unix.Close(fd))
}

// refusedTraffic has one connect refused, at port 1.
func refusedTraffic() {
	if _, err := dial(0, here4(1)); err != unix.ECONNREFUSED {
		panic(fmt.Sprint("connect: ", err))
	}
}

// copyOfSelf makes another executable that does the same.
func copyOfSelf(name string) string {
	path := filepath.Join(os.Getenv(trafficFolder), name)
	check(os.WriteFile(path, must(os.ReadFile("/proc/self/exe")), 0o755))
	return path
}

// fullListener listens with a queue that one connection has filled, so that it drops whatever comes next.
func fullListener(port int) (end func()) {
	l := listenTCP(port, 0, 0)
	c := must(dial(0, here4(port)))
	return func() {
		check(unix.Close(c))
		check(unix.Close(l))
	}
}
