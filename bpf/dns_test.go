package bpf

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel side looks at ports and length alone: a message is a header and any text.
func TestKernelAnswers(t *testing.T) {
	w := watch(t, testConfig(t))
	for _, s := range dnsScenarios {
		t.Run(s.name, func(t *testing.T) {
			w := w.on(t)
			before := w.losses()["answer-cut"]
			c := start(t, s.name)
			c.end()
			got := payloads(w.answersOf(c))
			want, cut := slices.Clone(s.want), uint64(0)
			for i := range want {
				want[i] = header + want[i]
				if len(want[i]) > answerBytes {
					want[i], cut = want[i][:answerBytes], cut+1
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("answers are %.60q, want %.60q", got, want)
			}
			if n := w.losses()["answer-cut"] - before; n != cut {
				t.Errorf("%d answers were counted as cut, want %d", n, cut)
			}
		})
	}
}

// answersOf gives the answers that a child received since the last call.
func (w *watcher) answersOf(c *child) (got []Answer) {
	w.t.Helper()
	for a, err := range w.Answers() {
		if err != nil {
			w.t.Fatal(err)
		}
		if a.Cgroup == c.cgroup.ID() {
			a.Payload = slices.Clone(a.Payload)
			got = append(got, a)
		}
	}
	return got
}

func payloads(answers []Answer) (out []string) {
	for _, a := range answers {
		out = append(out, string(a.Payload))
	}
	return out
}

const answerBytes = len(ambitAnswer{}.Payload)

const header = "DNS header: "

var longest = strings.Repeat("x", answerBytes-len(header))

var dnsScenarios = []scenario{
	{"asked, unconnected", func() {
		s, c := socketUDP(unix.AF_INET, at("127.0.0.53", 53)), socketUDP(unix.AF_INET, nil)
		sendTo(c, 10, at("127.0.0.53", 53))
		tell(s, receiveFrom(s, 10), "one")
		receiveAnswer(c)
	}, []string{"one"}},
	{"asked, connected", func() {
		s, c := socketUDP(unix.AF_INET, at("127.0.0.53", 53)), connectedUDP(at("127.0.0.53", 53))
		for range 2 {
			send(c, 10)
			tell(s, receiveFrom(s, 10), "connected")
			receiveAnswer(c)
		}
	}, []string{"connected", "connected"}},
	{"asked, IPv6", func() {
		s, c := socketUDP(unix.AF_INET6, here6(53)), socketUDP(unix.AF_INET6, nil)
		sendTo(c, 10, here6(53))
		tell(s, receiveFrom(s, 10), "six")
		receiveAnswer(c)
	}, []string{"six"}},
	{"two servers asked, the first answers last", func() {
		s1, s2 := socketUDP(unix.AF_INET, at("127.0.0.53", 53)), socketUDP(unix.AF_INET, at("127.0.0.54", 53))
		c := socketUDP(unix.AF_INET, nil)
		sendTo(c, 10, at("127.0.0.53", 53))
		sendTo(c, 10, at("127.0.0.54", 53))
		tell(s2, receiveFrom(s2, 10), "second")
		tell(s1, receiveFrom(s1, 10), "first")
		receiveAnswer(c)
		receiveAnswer(c)
	}, []string{"second", "first"}},
	{"not asked, while another was", func() {
		s, spoof := socketUDP(unix.AF_INET, at("127.0.0.53", 53)), socketUDP(unix.AF_INET, at("127.0.0.66", 53))
		c := socketUDP(unix.AF_INET, nil)
		sendTo(c, 10, at("127.0.0.53", 53))
		from := receiveFrom(s, 10)
		tell(spoof, from, "spoofed")
		tell(s, from, "honest")
		receiveAnswer(c)
		receiveAnswer(c)
	}, []string{"honest"}},
	{"not asked, to a socket that never asks", func() {
		spoof, c := socketUDP(unix.AF_INET, at("127.0.0.66", 53)), socketUDP(unix.AF_INET, here4(1000))
		tell(spoof, here4(1000), "spoofed")
		receiveAnswer(c)
	}, nil},
	{"the right server from the wrong port", func() {
		s, spoof := socketUDP(unix.AF_INET, at("127.0.0.53", 53)), socketUDP(unix.AF_INET, at("127.0.0.53", 54))
		c := socketUDP(unix.AF_INET, nil)
		sendTo(c, 10, at("127.0.0.53", 53))
		tell(spoof, receiveFrom(s, 10), "spoofed")
		receiveAnswer(c)
	}, nil},
	{"other services' answers", func() {
		s := socketUDP(unix.AF_INET, here4(1000))
		ask(s, socketUDP(unix.AF_INET, nil), here4(1000))
	}, nil},
	{"as long as is kept", func() { answerOf(longest) }, []string{longest}},
	{"longer than is kept", func() { answerOf(longest + "y") }, []string{longest + "y"}},
	{"nothing but a header", func() { answerOf("") }, []string{""}},
	{"shorter than a header", func() {
		s, c := socketUDP(unix.AF_INET, at("127.0.0.53", 53)), socketUDP(unix.AF_INET, nil)
		for n := range len(header) {
			sendTo(c, 10, at("127.0.0.53", 53))
			sendTo(s, n, receiveFrom(s, 10))
			receiveFrom(c, n)
		}
	}, nil},
}

func answerOf(payload string) {
	s, c := socketUDP(unix.AF_INET, at("127.0.0.53", 53)), socketUDP(unix.AF_INET, nil)
	sendTo(c, 10, at("127.0.0.53", 53))
	tell(s, receiveFrom(s, 10), payload)
	receiveAnswer(c)
}

func tell(fd int, to unix.Sockaddr, payload string) {
	check(unix.Sendto(fd, []byte(header+payload), 0, to))
}

func receiveAnswer(fd int) {
	if n := must(unix.Read(fd, make([]byte, 1<<16))); n < len(header) {
		panic("an answer was cut short")
	}
}

// Over TCP the stream comes in parts, from connections that the workload opened and from nowhere else.
func TestKernelAnswersOverTCP(t *testing.T) {
	w := watch(t, testConfig(t))
	for _, s := range streamScenarios {
		t.Run(s.name, func(t *testing.T) {
			w := w.on(t)
			before := w.losses()["answer-cut"]
			c := start(t, s.name)
			c.end()
			got := w.answersOf(c)
			if !slices.Equal(payloads(got), s.want) {
				t.Errorf("answers are %.60q, want %.60q", payloads(got), s.want)
			}
			next := uint32(0)
			for i, a := range got {
				if !a.TCP || a.Flow == 0 || a.Flow != got[0].Flow {
					t.Errorf("part %d is TCP %t of flow %d, the first of %d", i, a.TCP, a.Flow, got[0].Flow)
				}
				if a.Sequence != next && string(a.Payload) != beyond {
					t.Errorf("part %d begins at %d, want %d", i, a.Sequence, next)
				}
				next = a.Sequence + uint32(a.Length)
			}
			cut := uint64(0)
			if s.name == "TCP, a segment that is longer than is kept" {
				cut = 1
			}
			if n := w.losses()["answer-cut"] - before; n != cut {
				t.Errorf("%d segments were counted as cut, want %d", n, cut)
			}
		})
	}
}

const beyond = "within the window, not next"

// long is a text without repetition.
func long(n int) string {
	var s strings.Builder
	for s.Len() < n {
		fmt.Fprintf(&s, "%x ", s.Len())
	}
	return s.String()[:n]
}

func parts(s string, sizes ...int) (out []string) {
	for _, n := range sizes {
		out, s = append(out, s[:n]), s[n:]
	}
	return out
}

var streamScenarios = []scenario{
	{"TCP, two answers", func() { streamOf(at("127.0.0.53", 53), "one", "another") }, []string{"one", "another"}},
	{"TCP, IPv6", func() { streamOf(here6(53), "six") }, []string{"six"}},
	{"TCP, IPv4 on an IPv6 socket", func() { streamOf(mapped(53), "mapped") }, []string{"mapped"}},
	{"TCP, one byte", func() { streamOf(here4(53), "x", "y") }, []string{"x", "y"}},
	{"TCP, as long as one part", func() { streamOf(here4(53), long(answerBytes)) }, parts(long(answerBytes), answerBytes)},
	{"TCP, two parts", func() { streamOf(here4(53), long(answerBytes+1)) }, parts(long(answerBytes+1), answerBytes, 1)},
	{"TCP, a segment as long as is kept", func() { streamOf(here4(53), long(4*answerBytes)) }, parts(long(4*answerBytes), answerBytes, answerBytes, answerBytes, answerBytes)},
	{"TCP, a segment that is longer than is kept", func() { streamOf(here4(53), long(6000), "after the cut") },
		append(parts(long(6000), answerBytes, answerBytes, answerBytes, answerBytes), "after the cut")},
	{"TCP, other services", func() { streamOf(here4(1000), "nothing") }, nil},
	{"TCP, who connects from port 53", func() {
		l := listenTCP(1000, 0, 0)
		c := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		check(unix.Bind(c, here4(53)))
		check(unix.Connect(c, here4(1000)))
		s, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
		check(err)
		must(unix.Write(c, []byte("spoofed")))
		receive(s, len("spoofed"))
	}, nil},
	{"TCP, segments of somebody else's guess", func() {
		c, s := pair(listenTCP(53, 0, 8), 0, here4(53))
		must(unix.Write(s, []byte("honest")))
		receive(c, len("honest"))
		next := sendSequence(s)
		forge(s, c, next+1<<30, "far ahead")
		forge(s, c, next-1<<30, "far behind")
		forge(s, c, next-3, "old")
		forge(s, c, next+1000, beyond)
	}, []string{"honest", beyond}},
}

// streamOf has a server write texts to who connected, each as one segment.
func streamOf(to unix.Sockaddr, texts ...string) {
	c, s := pair(listenTCP(portOf(to), 0, 8), 0, to)
	check(unix.SetsockoptInt(s, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	for _, t := range texts {
		send(c, 10)
		receive(s, 10)
		must(unix.Write(s, []byte(t)))
		receive(c, len(t))
	}
}

// sendSequence is the sequence number of what a socket sends next.
func sendSequence(fd int) uint32 {
	const sendQueue, off = 2, -1
	check(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1))
	check(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, sendQueue))
	n := must(unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ))
	check(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, off))
	return uint32(n)
}

// forge sends a segment as if it came from one socket, over IPv4, to another. When it returns, that one's kernel has had it.
func forge(from, to int, sequence uint32, payload string) {
	src, dst := addressOfSocket(from), addressOfSocket(to)
	b := binary.BigEndian.AppendUint16(nil, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	b = binary.BigEndian.AppendUint32(b, sequence)
	b = binary.BigEndian.AppendUint32(b, 0) // acknowledges nothing new
	b = append(b, 5<<4, 0x18, 0xff, 0xff, 0, 0, 0, 0)
	b = append(b, payload...)
	pseudo := binary.BigEndian.AppendUint16(append(append(src.Addr().AsSlice(), dst.Addr().AsSlice()...), 0, unix.IPPROTO_TCP), uint16(len(b)))
	sum := uint32(0)
	for _, part := range [][]byte{pseudo, b} {
		for i, v := range part {
			sum += uint32(v) << (8 * (1 - i%2))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[16:], ^uint16(sum))
	raw := must(unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP))
	check(unix.Bind(raw, &unix.SockaddrInet4{Addr: src.Addr().As4()}))
	check(unix.Sendto(raw, b, 0, &unix.SockaddrInet4{Addr: dst.Addr().As4()})) // over loopback, received before this returns
	check(unix.Close(raw))
}
