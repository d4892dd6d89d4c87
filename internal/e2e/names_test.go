package e2e

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// What a workload resolved names what it reaches: not for others that reach the same address without having asked.
func TestKernelNames(t *testing.T) {
	u := startUp(t, t.TempDir(), "--interval", "1s")
	dns := serveDNS(t, map[string][4]byte{"db.shop.example.": {127, 0, 0, 1}, "long.shop.example.": {127, 0, 0, 1}})
	server, _ := serveTCP(t, "127.0.0.1:0")
	_, port, _ := strings.Cut(server, ":")

	asked, other := testenv.Cgroup(t, "ambit-e2e-asked-*"), testenv.Cgroup(t, "ambit-e2e-other-*")
	startClient(t, asked).do("named %s db.shop.example:%s", dns, port)
	asksLong := testenv.Cgroup(t, "ambit-e2e-long-*")
	startClient(t, asksLong).do("named %s long.shop.example:%s", dns, port)
	startClient(t, other).do("tcp %s 1 10", server)

	for name, group := range map[string]*testenv.TestCgroup{"db": asked, "long": asksLong} { // the latter over TCP
		want := "dns:" + name + ".shop.example:" + port + "/tcp"
		eventually(t, 10*time.Second, func() string {
			got := map[string]uint64{}
			for _, r := range u.reach(cgroupIdentity(t, group)) {
				got[r.Resource.String()] = r.BytesSent
			}
			if got[want] != 10 {
				return fmt.Sprintf("who asked reached %v, want %s with 10 bytes", got, want)
			}
			return ""
		})
	}
	eventually(t, 10*time.Second, func() string {
		return sameReach(u.reach(cgroupIdentity(t, other)), map[string]event.Counts{
			netResource(server, "tcp"): {Connections: 1, BytesSent: 10, BytesReceived: answerBytes},
		})
	})
}

// serveDNS answers questions for IPv4 addresses at port 53 of a loopback address of its own. What it says of names that begin with "long." is for TCP alone.
func serveDNS(t *testing.T, names map[string][4]byte) string {
	t.Helper()
	address := "127.0.53.77:53"
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if reply := dnsReply(b[:n], names, true); reply != nil {
				c.WriteTo(reply, from)
			}
		}
	}()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveDNSStream(c, names)
		}
	}()
	return address
}

// serveDNSStream answers in small pieces: messages over TCP begin and end anywhere in its segments.
func serveDNSStream(c net.Conn, names map[string][4]byte) {
	defer c.Close()
	c.(*net.TCPConn).SetNoDelay(true)
	for {
		var length [2]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		question := make([]byte, int(length[0])<<8|int(length[1]))
		if _, err := io.ReadFull(c, question); err != nil {
			return
		}
		reply := dnsReply(question, names, false)
		for piece := range slices.Chunk(append([]byte{byte(len(reply) >> 8), byte(len(reply))}, reply...), 700) {
			if _, err := c.Write(piece); err != nil {
				return
			}
		}
	}
}

func dnsReply(question []byte, names map[string][4]byte, udp bool) []byte {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	reply := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions}
	a, known := names[q.Name.String()]
	long := strings.HasPrefix(q.Name.String(), "long.")
	switch {
	case long && udp:
		reply.Truncated = true
	case known && q.Type == dnsmessage.TypeA:
		header := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 30}
		if long {
			for range 20 {
				reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.TXTResource{TXT: []string{strings.Repeat("x", 250)}}})
			}
		}
		reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: a}})
	}
	packed, err := reply.Pack()
	if err != nil {
		return nil
	}
	return packed
}
