package bpf

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What is carried is not looked at by the kernel side: it says "answer" to port 53 alone.
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

var longest = strings.Repeat("x", answerBytes)

var dnsScenarios = []scenario{
	{"asked, unconnected", func() {
		s, c := socketUDP(unix.AF_INET, at("127.0.0.53", 53)), socketUDP(unix.AF_INET, nil)
		sendTo(c, 10, at("127.0.0.53", 53))
		tell(s, receiveFrom(s, 10), "one")
		receiveFrom(c, 3)
	}, []string{"one"}},
	{"asked, connected", func() {
		s, c := socketUDP(unix.AF_INET, at("127.0.0.53", 53)), connectedUDP(at("127.0.0.53", 53))
		for range 2 {
			send(c, 10)
			tell(s, receiveFrom(s, 10), "connected")
			receiveFrom(c, 9)
		}
	}, []string{"connected", "connected"}},
	{"asked, IPv6", func() {
		s, c := socketUDP(unix.AF_INET6, here6(53)), socketUDP(unix.AF_INET6, nil)
		sendTo(c, 10, here6(53))
		tell(s, receiveFrom(s, 10), "six")
		receiveFrom(c, 3)
	}, []string{"six"}},
	{"two servers asked, the first answers last", func() {
		s1, s2 := socketUDP(unix.AF_INET, at("127.0.0.53", 53)), socketUDP(unix.AF_INET, at("127.0.0.54", 53))
		c := socketUDP(unix.AF_INET, nil)
		sendTo(c, 10, at("127.0.0.53", 53))
		sendTo(c, 10, at("127.0.0.54", 53))
		tell(s2, receiveFrom(s2, 10), "second")
		tell(s1, receiveFrom(s1, 10), "first")
		receiveFrom(c, 6)
		receiveFrom(c, 5)
	}, []string{"second", "first"}},
	{"not asked, while another was", func() {
		s, spoof := socketUDP(unix.AF_INET, at("127.0.0.53", 53)), socketUDP(unix.AF_INET, at("127.0.0.66", 53))
		c := socketUDP(unix.AF_INET, nil)
		sendTo(c, 10, at("127.0.0.53", 53))
		from := receiveFrom(s, 10)
		tell(spoof, from, "spoofed")
		tell(s, from, "honest")
		receiveFrom(c, 7)
		receiveFrom(c, 6)
	}, []string{"honest"}},
	{"not asked, to a socket that never asks", func() {
		spoof, c := socketUDP(unix.AF_INET, at("127.0.0.66", 53)), socketUDP(unix.AF_INET, here4(1000))
		tell(spoof, here4(1000), "spoofed")
		receiveFrom(c, 7)
	}, nil},
	{"the right server from the wrong port", func() {
		s, spoof := socketUDP(unix.AF_INET, at("127.0.0.53", 53)), socketUDP(unix.AF_INET, at("127.0.0.53", 54))
		c := socketUDP(unix.AF_INET, nil)
		sendTo(c, 10, at("127.0.0.53", 53))
		tell(spoof, receiveFrom(s, 10), "spoofed")
		receiveFrom(c, 7)
	}, nil},
	{"other services' answers", func() {
		s := socketUDP(unix.AF_INET, here4(1000))
		ask(s, socketUDP(unix.AF_INET, nil), here4(1000))
	}, nil},
	{"as long as is kept", func() { answerOf(longest) }, []string{longest}},
	{"longer than is kept", func() { answerOf(longest + "y") }, []string{longest + "y"}},
	{"empty", func() { answerOf("") }, nil},
}

func answerOf(payload string) {
	s, c := socketUDP(unix.AF_INET, at("127.0.0.53", 53)), socketUDP(unix.AF_INET, nil)
	sendTo(c, 10, at("127.0.0.53", 53))
	tell(s, receiveFrom(s, 10), payload)
	receiveFrom(c, len(payload))
}

func tell(fd int, to unix.Sockaddr, payload string) {
	check(unix.Sendto(fd, []byte(payload), 0, to))
}
