package bpf

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Service load balancers turn a socket to another address in the hooks that we use, too: what was asked for is told beside where it went.
func TestKernelDialled(t *testing.T) {
	w := watch(t, testConfig(t))
	redirect(t, testConfig(t).CgroupRoot)
	if _, err := w.Census(); err != nil { // notices the others
		t.Fatal(err)
	}
	for _, s := range redirectScenarios {
		t.Run(s.name, func(t *testing.T) {
			w := w.on(t)
			c := start(t, s.name)
			c.end()
			want := slices.Clone(s.want)
			if s.name == "UDP, sent to a service" && !takesPreorder(t) { // the hook came after the others had been noticed
				want[0], _, _ = strings.Cut(want[0], " dialled")
			}
			w.expect(c, want...)
			if got := w.answersOf(c); len(got) == 0 {
				t.Error("no answer came")
			}
		})
	}
	t.Run("known later", func(t *testing.T) {
		w := w.on(t)
		c := start(t, "on demand")
		c.do("listen", 1000)
		c.do("open", 1000)
		w.expect(c, "out tcp 127.0.0.1 1000: opened=1", "in tcp 127.0.0.1 1000: opened=1")
		c.do("open-service", 1000)
		c.do("open", 1000)
		w.expect(c, "out tcp 127.0.0.1 1000: opened=2", "out tcp 127.0.0.1 1000: opened=1 dialled 127.9.9.9:1000", "in tcp 127.0.0.1 1000: opened=3")
		c.end()
	})
}

// The hooks at sendmsg cost too much to be there for nothing.
func TestKernelWaitsForOthers(t *testing.T) {
	w := watch(t, testConfig(t))
	expect := func() {
		t.Helper()
		waits := slices.ContainsFunc(w.waiting, func(h hook) bool { return h.program == "udp_sendmsg6" })
		if someone := others(ebpf.AttachCGroupUDP6Sendmsg, w.cfg); waits == someone {
			t.Errorf("udp_sendmsg6 waits: %t, while someone is at its hook: %t", waits, someone)
		}
	}
	expect()
	attachRewriter(t, w.cfg.CgroupRoot, ebpf.AttachCGroupUDP6Sendmsg, [][2]string{{"2001:db8::9", "::1"}})
	if _, err := w.Census(); err != nil {
		t.Fatal(err)
	}
	expect()
	if _, err := w.Census(); err != nil { // and not twice
		t.Fatal(err)
	}
	expect()
}

// What was turned elsewhere before we saw it is not known: neither what was asked for, nor anything wrong.
func TestKernelDialledAfterOthers(t *testing.T) {
	cfg := testConfig(t)
	preorder := takesPreorder(t)
	f := func(name string, start func(t *testing.T) (*watcher, *child)) {
		t.Run(name, func(t *testing.T) {
			w, c := start(t)
			c.do("listen", 1000)
			c.do("open-service", 1000)
			dialled := ""
			if preorder {
				dialled = " dialled 127.9.9.9:1000"
			}
			w.expect(c, "out tcp 127.0.0.1 1000: opened=1"+dialled, "in tcp 127.0.0.1 1000: opened=1")
			c.end()
		})
	}
	f("attached before", func(t *testing.T) (*watcher, *child) {
		redirect(t, cfg.CgroupRoot)
		return watch(t, cfg), start(t, "on demand")
	})
	f("attached to a cgroup below", func(t *testing.T) (*watcher, *child) {
		w, c := watch(t, cfg), start(t, "on demand")
		redirect(t, c.cgroup.Dir())
		return w, c
	})
}

var redirectScenarios = []scenario{
	{"UDP, connected to a service", func() {
		s, c := socketUDP(unix.AF_INET, here4(53)), connectedUDP(at("127.9.9.9", 53))
		for range 2 {
			send(c, 50)
			sendTo(s, 20, receiveFrom(s, 50))
			receiveFrom(c, 20)
		}
	}, []string{
		"out udp 127.0.0.1 53: opened=1 sent=100 received=40 dialled 127.9.9.9:53",
		"in udp 127.0.0.1 53: opened=2 sent=40 received=100",
	}},
	{"UDP, connected to a service and to who stands behind it", func() {
		s := socketUDP(unix.AF_INET, here4(53))
		for _, to := range []unix.Sockaddr{at("127.9.9.9", 53), here4(53), at("127.9.9.9", 53)} {
			c := connectedUDP(to)
			send(c, 50)
			sendTo(s, 20, receiveFrom(s, 50))
			receiveFrom(c, 20)
		}
	}, []string{
		"out udp 127.0.0.1 53: opened=1 sent=50 received=20",
		"out udp 127.0.0.1 53: opened=2 sent=100 received=40 dialled 127.9.9.9:53",
		"in udp 127.0.0.1 53: opened=3 sent=60 received=150",
	}},
	{"UDP, sent to a service", func() {
		ask(socketUDP(unix.AF_INET, here4(53)), socketUDP(unix.AF_INET, nil), at("127.9.9.9", 53))
	}, []string{
		"out udp 127.0.0.1 53: opened=1 sent=50 received=20 dialled 127.9.9.9:53",
		"in udp 127.0.0.1 53: opened=1 sent=20 received=50",
	}},
	{"UDP, connected, and now and then to another", func() {
		a, b := socketUDP(unix.AF_INET, here4(53)), socketUDP(unix.AF_INET, at("127.0.0.2", 54))
		c := connectedUDP(here4(53))
		sendTo(c, 60, at("127.0.0.2", 54)) // this one was asked for last, but the next goes where the socket is connected
		send(c, 50)
		receiveFrom(b, 60)
		sendTo(a, 20, receiveFrom(a, 50))
		receiveFrom(c, 20)
	}, []string{
		"out udp 127.0.0.2 54: opened=1 sent=60",
		"out udp 127.0.0.1 53: opened=1 sent=50 received=20",
		"in udp 127.0.0.1 53: opened=1 sent=20 received=50",
		"in udp 127.0.0.1 54: opened=1 received=60",
	}},
	{"TCP, connected to a service", func() {
		converse(listenTCP(53, 0, 8), 0, at("127.9.9.9", 53), 10, 20, clientFirst)
	}, []string{
		"out tcp 127.0.0.1 53: opened=1 closed=1 sent=10 received=20 dialled 127.9.9.9:53",
		"in tcp 127.0.0.1 53: opened=1 closed=1 sent=20 received=10",
	}},
	{"TCP, connected to a service by an IPv6 socket", func() {
		to := &unix.SockaddrInet6{Port: 53, Addr: netip.MustParseAddr("2001:db8::9").As16()}
		converse(listenTCP(53, 0, 8), 0, to, 10, 20, clientFirst)
	}, []string{
		"out tcp ::1 53: opened=1 closed=1 sent=10 received=20 dialled [2001:db8::9]:53",
		"in tcp ::1 53: opened=1 closed=1 sent=20 received=10",
	}},
	{"TCP, to the unspecified address from one that is bound", func() { // the kernel connects that to itself
		l := listenTCP(53, 0, 8)
		c := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		check(unix.Bind(c, at("127.0.0.2", 0)))
		check(unix.Connect(c, at("0.0.0.0", 53)))
		s, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
		check(err)
		transfer(s, c, 20)
		hangUp(c, s)
	}, []string{
		"out tcp 127.0.0.2 53: opened=1 closed=1 received=20",
		"in tcp 127.0.0.2 53: opened=1 closed=1 sent=20",
	}},
}

// redirect makes 127.9.9.9 mean 127.0.0.1, and 2001:db8::9 mean ::1, in a cgroup, for the time of the test.
func redirect(t *testing.T, cgroup string) {
	t.Helper()
	four, six := [][2]string{{"127.9.9.9", "127.0.0.1"}}, [][2]string{{"2001:db8::9", "::1"}}
	attachRewriter(t, cgroup, ebpf.AttachCGroupInet4Connect, four)
	attachRewriter(t, cgroup, ebpf.AttachCGroupUDP4Sendmsg, four)
	attachRewriter(t, cgroup, ebpf.AttachCGroupInet6Connect, six)
}

func attachRewriter(t *testing.T, cgroup string, hook ebpf.AttachType, pairs [][2]string) {
	t.Helper()
	p := rewriter(t, hook, pairs)
	defer p.Close()
	l, err := link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: hook, Program: p})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// rewriter turns the first of each pair of addresses to the second.
func rewriter(t *testing.T, hook ebpf.AttachType, pairs [][2]string) *ebpf.Program {
	t.Helper()
	const userIP4, userIP6 = 4, 8 // offsets in struct bpf_sock_addr
	words := func(address string) (out []int32) {
		b := netip.MustParseAddr(address).AsSlice()
		for ; len(b) > 0; b = b[4:] {
			out = append(out, int32(uint32(b[0])|uint32(b[1])<<8|uint32(b[2])<<16|uint32(b[3])<<24))
		}
		return out
	}
	var code asm.Instructions
	for i, p := range pairs {
		from, to, next := words(p[0]), words(p[1]), fmt.Sprint("next", i)
		field := int16(userIP4)
		if len(from) == 4 {
			field = userIP6
		}
		for w, v := range from {
			code = append(code, asm.LoadMem(asm.R2, asm.R1, field+int16(4*w), asm.Word), asm.Mov.Imm32(asm.R3, v), asm.JNE.Reg32(asm.R2, asm.R3, next))
		}
		for w, v := range to {
			code = append(code, asm.Mov.Imm32(asm.R2, v), asm.StoreMem(asm.R1, field+int16(4*w), asm.R2, asm.Word))
		}
		code = append(code, asm.Mov.Imm(asm.R0, 1).WithSymbol(next))
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.CGroupSockAddr, AttachType: hook, License: "GPL", Instructions: append(code, asm.Return())})
	if err != nil {
		t.Fatal(err)
	}
	return prog
}

// takesPreorder says whether this kernel lets a program run before those that were attached before it.
func takesPreorder(t *testing.T) bool {
	t.Helper()
	root, err := os.Open(testConfig(t).CgroupRoot)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	p := rewriter(t, ebpf.AttachCGroupInet4Connect, [][2]string{{"127.9.9.8", "127.0.0.1"}})
	defer p.Close()
	l, err := link.AttachRawLink(link.RawLinkOptions{Target: int(root.Fd()), Program: p, Attach: ebpf.AttachCGroupInet4Connect, Flags: unix.BPF_F_PREORDER})
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// The own end of connections toward services is known, and of no others.
func TestKernelLocal(t *testing.T) {
	w := watch(t, testConfig(t))
	c := start(t, "on demand")
	c.do("listen", 1000)
	c.do("open", 1000)
	want := []string{"out tcp 127.0.0.1 1000: opened=1", "in tcp 127.0.0.1 1000: opened=1"}
	w.expect(c, want...)
	if err := w.SetServiceRanges([]netip.Prefix{netip.MustParsePrefix("127.9.9.0/24"), netip.MustParsePrefix("::1/128")}); err != nil {
		t.Fatal(err)
	}
	c.do("open", 1000)
	want[0], want[1] = "out tcp 127.0.0.1 1000: opened=2", "in tcp 127.0.0.1 1000: opened=2"
	w.expect(c, want...)
	c.do("refuse-service", 1)
	want = append(want, "out tcp 127.9.9.9 1: opened=1 failed=1 ECONNREFUSED")
	w.expect(c, want...)
	for n, open := range map[string]string{"127.9.9.9 1000": "open-service", "::1 1000": "open6"} {
		first := c.do(open, 1000)
		c.do(open, 1000)
		want = append(want, fmt.Sprintf("out tcp %s: opened=2 from %s", n, first))
	}
	want[1] = "in tcp 127.0.0.1 1000: opened=4"
	want = append(want, "in tcp ::1 1000: opened=2")
	w.expect(c, want...)
	c.end()
}

func TestRangeWords(t *testing.T) {
	f := func(prefix, address string, want bool) {
		t.Helper()
		words, err := rangeWords([]netip.Prefix{netip.MustParsePrefix(prefix)})
		if err != nil {
			t.Fatal(err)
		}
		other, err := rangeWords([]netip.Prefix{netip.PrefixFrom(netip.MustParseAddr(address), netip.MustParseAddr(address).BitLen())})
		if err != nil {
			t.Fatal(err)
		}
		r, a := words[0], other[0].Address
		if got := a[0]&r.Mask[0] == r.Address[0] && a[1]&r.Mask[1] == r.Address[1]; got != want {
			t.Errorf("%s in %s: %t", address, prefix, got)
		}
	}
	f("10.96.0.0/12", "10.96.0.1", true)
	f("10.96.0.0/12", "10.111.255.255", true)
	f("10.96.0.0/12", "10.112.0.0", false)
	f("10.96.0.7/12", "10.97.0.0", true)
	f("0.0.0.0/0", "255.1.2.3", true)
	f("0.0.0.0/0", "2001:db8::1", false)
	f("2001:db8::/33", "2001:db8:7fff::1", true)
	f("2001:db8::/33", "2001:db8:8000::1", false)
	f("2001:db8::5/128", "2001:db8::5", true)
	f("2001:db8::5/128", "2001:db8::4", false)
	f("::/0", "10.0.0.1", true)
	for _, bad := range [][]netip.Prefix{make([]netip.Prefix, 1), make([]netip.Prefix, 5), {netip.MustParsePrefix("::ffff:10.0.0.0/104")}} {
		if _, err := rangeWords(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}
