package e2e

import (
	"fmt"
	"net"
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
	dns := serveDNS(t, map[string][4]byte{"db.shop.example.": {127, 0, 0, 1}})
	server, _ := serveTCP(t, "127.0.0.1:0")
	_, port, _ := strings.Cut(server, ":")

	asked, other := testenv.Cgroup(t, "ambit-e2e-asked-*"), testenv.Cgroup(t, "ambit-e2e-other-*")
	startClient(t, asked).do("named %s db.shop.example:%s", dns, port)
	startClient(t, other).do("tcp %s 1 10", server)

	eventually(t, 10*time.Second, func() string {
		got := map[string]uint64{}
		for _, r := range u.reach(cgroupIdentity(t, asked)) {
			got[r.Resource.String()] = r.BytesSent
		}
		if got["dns:db.shop.example:"+port+"/tcp"] != 10 {
			return fmt.Sprintf("who asked reached %v, want dns:db.shop.example:%s/tcp with 10 bytes", got, port)
		}
		return ""
	})
	eventually(t, 10*time.Second, func() string {
		return sameReach(u.reach(cgroupIdentity(t, other)), map[string]event.Counts{
			netResource(server, "tcp"): {Connections: 1, BytesSent: 10, BytesReceived: answerBytes},
		})
	})
}

// serveDNS answers questions for IPv4 addresses at port 53 of a loopback address of its own.
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
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			answer := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions}
			if a, ok := names[q.Name.String()]; ok && q.Type == dnsmessage.TypeA {
				answer.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 30}, Body: &dnsmessage.AResource{A: a},
				}}
			}
			if packed, err := answer.Pack(); err == nil {
				c.WriteTo(packed, from)
			}
		}
	}()
	return address
}
