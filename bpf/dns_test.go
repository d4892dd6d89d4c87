package bpf

import (
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
			got := w.answersOf(c)
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
func (w *watcher) answersOf(c *child) []string {
	w.t.Helper()
	var got []string
	for a, err := range w.Answers() {
		if err != nil {
			w.t.Fatal(err)
		}
		if a.Cgroup == c.cgroup.ID() {
			got = append(got, string(a.Payload))
		}
	}
	return got
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
