package bpf

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

func TestKernelUDP(t *testing.T) {
	watch(t, testConfig(t)).run(t, udpScenarios)
}

var udpScenarios = []scenario{
	{"connected client", func() { connectedExchange(here4(1000)) }, []string{
		"out udp 127.0.0.1 1000: opened=1 sent=100 received=40",
		"in udp 127.0.0.1 1000: opened=2 sent=40 received=100",
	}},
	{"connected client, IPv6", func() { connectedExchange(here6(1000)) }, []string{
		"out udp ::1 1000: opened=1 sent=100 received=40",
		"in udp ::1 1000: opened=2 sent=40 received=100",
	}},
	{"connected client, IPv4 on an IPv6 socket", func() { connectedExchange(mapped(1000)) }, []string{
		"out udp 127.0.0.1 1000: opened=1 sent=100 received=40",
		"in udp 127.0.0.1 1000: opened=2 sent=40 received=100",
	}},
	{"unconnected client", func() { unconnectedExchange(here4(1000)) }, []string{
		"out udp 127.0.0.1 1000: opened=3 sent=150 received=60",
		"in udp 127.0.0.1 1000: opened=3 sent=60 received=150",
	}},
	{"unconnected client, IPv6", func() { unconnectedExchange(here6(1000)) }, []string{
		"out udp ::1 1000: opened=3 sent=150 received=60",
		"in udp ::1 1000: opened=3 sent=60 received=150",
	}},
	{"unconnected client, IPv4 on an IPv6 socket", func() { unconnectedExchange(mapped(1000)) }, []string{
		"out udp 127.0.0.1 1000: opened=3 sent=150 received=60",
		"in udp 127.0.0.1 1000: opened=3 sent=60 received=150",
	}},
	{"connected and never used", func() { connectedUDP(here4(1000)) }, nil}, // resolvers learn a route so
	{"to the unspecified address, which means loopback", func() {
		s := socketUDP(unix.AF_INET, here4(1000))
		ask(s, socketUDP(unix.AF_INET, nil), at("0.0.0.0", 1000))
		c := connectedUDP(at("0.0.0.0", 1000))
		send(c, 50)
		receiveFrom(s, 50)
	}, []string{
		"out udp 127.0.0.1 1000: opened=2 sent=100 received=20",
		"in udp 127.0.0.1 1000: opened=2 sent=20 received=100",
	}},
	{"to the unspecified address, IPv6", func() {
		s := socketUDP(unix.AF_INET6, here6(1000))
		ask(s, socketUDP(unix.AF_INET6, nil), at("::", 1000))
		c := connectedUDP(at("::", 1000))
		send(c, 50)
		receiveFrom(s, 50)
	}, []string{
		"out udp ::1 1000: opened=2 sent=100 received=20",
		"in udp ::1 1000: opened=2 sent=20 received=100",
	}},
	{"server that only receives", func() {
		s := socketUDP(unix.AF_INET, here4(514))
		c := connectedUDP(here4(514))
		for range 3 {
			send(c, 80)
			receiveFrom(s, 80)
		}
	}, []string{
		"out udp 127.0.0.1 514: opened=1 sent=240",
		"in udp 127.0.0.1 514: opened=3 received=240",
	}},
	{"server on a port that the kernel chose", func() {
		s := socketUDP(unix.AF_INET, here4(0))
		fmt.Print(boundPort(s))
		ask(s, socketUDP(unix.AF_INET, nil), here4(boundPort(s)))
	}, []string{
		"out udp 127.0.0.1 PORT: opened=1 sent=50 received=20",
		"in udp 127.0.0.1 PORT: opened=1 sent=20 received=50",
	}},
	{"client that binds to any port and speaks first", func() {
		s := socketUDP(unix.AF_INET, here4(1000))
		ask(s, socketUDP(unix.AF_INET, here4(0)), here4(1000))
	}, []string{
		"out udp 127.0.0.1 1000: opened=1 sent=50 received=20",
		"in udp 127.0.0.1 1000: opened=1 sent=20 received=50",
	}},
	{"same port at both ends", func() {
		s := socketUDP(unix.AF_INET, here4(123))
		ask(s, socketUDP(unix.AF_INET, at("127.0.0.2", 123)), here4(123))
	}, []string{
		"out udp 127.0.0.1 123: opened=1 sent=50 received=20",
		"in udp 127.0.0.2 123: opened=1 sent=20 received=50",
	}},
	{"two peers in turn, whose answers come late", func() {
		a, b := socketUDP(unix.AF_INET, here4(1000)), socketUDP(unix.AF_INET, at("127.0.0.2", 1000))
		c := socketUDP(unix.AF_INET, nil)
		for range 2 {
			sendTo(c, 50, here4(1000))
			sendTo(c, 60, at("127.0.0.2", 1000))
			sendTo(b, 30, receiveFrom(b, 60))
			sendTo(a, 20, receiveFrom(a, 50))
			receiveFrom(c, 30)
			receiveFrom(c, 20)
		}
	}, []string{
		"out udp 127.0.0.1 1000: opened=2 sent=100 received=40",
		"out udp 127.0.0.2 1000: opened=2 sent=120 received=60",
		"in udp 127.0.0.1 1000: opened=4 sent=100 received=220",
	}},
	{"connected, and now and then to another", func() {
		a, b := socketUDP(unix.AF_INET, here4(1000)), socketUDP(unix.AF_INET, at("127.0.0.2", 1000))
		c := connectedUDP(here4(1000))
		send(c, 50)
		sendTo(c, 60, at("127.0.0.2", 1000))
		send(c, 50)
		receiveFrom(b, 60)
		receiveFrom(a, 50)
		sendTo(a, 20, receiveFrom(a, 50))
		receiveFrom(c, 20)
	}, []string{
		"out udp 127.0.0.1 1000: opened=1 sent=100 received=20",
		"out udp 127.0.0.2 1000: opened=1 sent=60",
		"in udp 127.0.0.1 1000: opened=3 sent=20 received=160",
	}},
	{"server that connects to who spoke to it", func() {
		s, c := socketUDP(unix.AF_INET, here4(1000)), socketUDP(unix.AF_INET, nil)
		sendTo(c, 50, here4(1000))
		check(unix.Connect(s, receiveFrom(s, 50)))
		for range 2 {
			send(s, 20)
			receiveFrom(c, 20)
		}
	}, []string{
		"out udp 127.0.0.1 1000: opened=1 sent=50 received=40",
		"in udp 127.0.0.1 1000: opened=1 sent=40 received=50",
	}},
	{"connected to one after the other", func() {
		a, b := socketUDP(unix.AF_INET, here4(1000)), socketUDP(unix.AF_INET, here4(1001))
		c := connectedUDP(here4(1000))
		send(c, 50)
		receiveFrom(a, 50)
		check(unix.Connect(c, here4(1001)))
		send(c, 60)
		receiveFrom(b, 60)
	}, []string{
		"out udp 127.0.0.1 1000: opened=1 sent=50",
		"in udp 127.0.0.1 1000: opened=1 received=50",
		"out udp 127.0.0.1 1001: opened=1 sent=60",
		"in udp 127.0.0.1 1001: opened=1 received=60",
	}},
	{"nobody there", func() {
		c := connectedUDP(here4(1000))
		send(c, 50)
		if _, err := unix.Read(c, make([]byte, 1)); err != unix.ECONNREFUSED {
			panic(err)
		}
	}, []string{"out udp 127.0.0.1 1000: opened=1 sent=50"}},
	{"no way out", func() {
		err := unix.Sendto(socketUDP(unix.AF_INET6, nil), make([]byte, 10), 0, at("2001:db8::1", 1000))
		if err == nil {
			panic("there is a route")
		}
	}, nil},
	{"connected, and several times to another", func() {
		a, b := socketUDP(unix.AF_INET, here4(1000)), socketUDP(unix.AF_INET, at("127.0.0.2", 1000))
		c := connectedUDP(here4(1000))
		for range 2 {
			sendTo(c, 60, at("127.0.0.2", 1000))
			receiveFrom(b, 60)
			send(c, 50)
			receiveFrom(a, 50)
		}
	}, []string{
		"out udp 127.0.0.1 1000: opened=1 sent=100",
		"out udp 127.0.0.2 1000: opened=2 sent=120",
		"in udp 127.0.0.1 1000: opened=4 received=220",
	}},
	{"connected to one, another, and the first again", func() {
		a, b := socketUDP(unix.AF_INET, here4(1000)), socketUDP(unix.AF_INET, here4(1001))
		c := connectedUDP(here4(1000))
		send(c, 50)
		check(unix.Connect(c, here4(1001)))
		send(c, 60)
		check(unix.Connect(c, here4(1000)))
		send(c, 50)
		receiveFrom(a, 50)
		receiveFrom(b, 60)
	}, []string{
		"out udp 127.0.0.1 1000: opened=2 sent=100",
		"in udp 127.0.0.1 1000: opened=2 received=100",
		"out udp 127.0.0.1 1001: opened=1 sent=60",
		"in udp 127.0.0.1 1001: opened=1 received=60",
	}},
	{"empty datagram", func() {
		s := socketUDP(unix.AF_INET, here4(1000))
		sendTo(socketUDP(unix.AF_INET, nil), 0, here4(1000))
		receiveFrom(s, 0)
	}, []string{
		"out udp 127.0.0.1 1000: opened=1",
		"in udp 127.0.0.1 1000: opened=1",
	}},
	{"fragments", func() {
		loopbackMTU(1500)
		for _, to := range []unix.Sockaddr{here4(1000), here6(1000)} {
			s := socketUDP(familyOf(to), to)
			sendTo(socketUDP(familyOf(to), nil), 5000, to)
			receiveFrom(s, 5000)
		}
	}, []string{
		"out udp 127.0.0.1 1000: opened=1 sent=5000",
		"in udp 127.0.0.1 1000: opened=1 received=5000",
		"out udp ::1 1000: opened=1 sent=5000",
		"in udp ::1 1000: opened=1 received=5000",
	}},
	{"segments cut by the kernel", func() {
		s, c := socketUDP(unix.AF_INET, here4(1000)), socketUDP(unix.AF_INET, nil)
		check(unix.SetsockoptInt(c, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1000))
		sendTo(c, 3000, here4(1000))
		for range 3 {
			receiveFrom(s, 1000)
		}
	}, []string{
		"out udp 127.0.0.1 1000: opened=1 sent=3000",
		"in udp 127.0.0.1 1000: opened=3 received=3000",
	}},
	{"multicast", func() {
		s, c := socketUDP(unix.AF_INET, at("0.0.0.0", 5353)), socketUDP(unix.AF_INET, nil)
		check(unix.SetsockoptIPMreq(s, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreq{Multiaddr: [4]byte{239, 1, 1, 1}, Interface: [4]byte{127, 0, 0, 1}}))
		check(unix.SetsockoptInet4Addr(c, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, [4]byte{127, 0, 0, 1}))
		sendTo(c, 50, at("239.1.1.1", 5353))
		receiveFrom(s, 50)
	}, []string{
		"out udp 239.1.1.1 5353: opened=1 sent=50",
		"in udp 127.0.0.1 5353: opened=1 received=50",
	}},
}

// connectedExchange sends two datagrams of 50 bytes on a connected socket and gets 20 bytes for each.
func connectedExchange(to unix.Sockaddr) {
	s, c := socketUDP(unix.AF_INET6, &unix.SockaddrInet6{Port: portOf(to)}), connectedUDP(to)
	for range 2 {
		send(c, 50)
		sendTo(s, 20, receiveFrom(s, 50))
		receiveFrom(c, 20)
	}
}

func unconnectedExchange(to unix.Sockaddr) {
	s, c := socketUDP(unix.AF_INET6, &unix.SockaddrInet6{Port: portOf(to)}), socketUDP(familyOf(to), nil)
	for range 3 {
		ask(s, c, to)
	}
}

// ask sends 50 bytes from c to s, which answers with 20.
func ask(s, c int, to unix.Sockaddr) {
	sendTo(c, 50, to)
	sendTo(s, 20, receiveFrom(s, 50))
	receiveFrom(c, 20)
}
