package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

const testPins = "AMBIT_TEST_PINS"

// denyTest runs a test of deny in a network of its own, with addresses beside loopback, and a BPF file system that goes whatever happens to the test.
func denyTest(t *testing.T, test func(t *testing.T, cfg DenyConfig)) {
	t.Helper()
	testenv.RequireKernel(t)
	if os.Getenv(testPins) == "" {
		dir := t.TempDir()
		if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
			t.Fatalf("mount a BPF file system: %v", err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		t.Setenv(testPins, dir)
	}
	testenv.OwnNetwork(t, func(t *testing.T) {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []string{"10.77.0.1/32", "10.77.0.2/32", "10.78.0.1/32", "fd77::1/128"} {
			address, err := netlink.ParseAddr(a)
			if err != nil {
				t.Fatal(err)
			}
			address.Flags = unix.IFA_F_NODAD
			if err := netlink.AddrAdd(lo, address); err != nil {
				t.Fatalf("add %s: %v", a, err)
			}
		}
		test(t, DenyConfig{CgroupRoot: testConfig(t).CgroupRoot, Pins: filepath.Join(os.Getenv(testPins), "deny")})
	})
}

func loadTestDeny(t testing.TB, cfg DenyConfig) *Deny {
	t.Helper()
	d, err := LoadDeny(cfg)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if _, err := RemoveDeny(cfg.Pins); err != nil {
			t.Error(err)
		}
	})
	return d
}

// in is a moment of the boot clock.
func in(t testing.TB, d time.Duration) time.Duration {
	t.Helper()
	now, err := BootTime()
	if err != nil {
		t.Fatal(err)
	}
	return now + d
}

func (d *Deny) mustApply(t testing.TB, table DenyTable) Changes {
	t.Helper()
	c, err := d.Apply(table)
	if err == nil {
		err = d.Arm(true)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func outbound(subject uint32, prefix string, port uint16, protocol uint8) DenyKey {
	k := DenyKey{Subject: subject, Port: port, Protocol: protocol}
	if prefix != "" {
		k.Prefix = netip.MustParsePrefix(prefix)
	}
	return k
}

// actor is a child in our network.
func actor(t *testing.T) *child { return start(t, "deny", shared) }

func (c *child) expect(t *testing.T, want string, command ...any) {
	t.Helper()
	if got := c.do(command...); got != want {
		t.Errorf("%s: %s, want %s", fmt.Sprint(command...), got, want)
	}
}

// serve listens on a TCP port of all addresses.
func serve(t *testing.T, port int) int {
	t.Helper()
	l := listenTCP(port, 0, 4096)
	t.Cleanup(func() { unix.Close(l) })
	return l
}

const hour = time.Hour

func TestKernelDenyWays(t *testing.T) {
	denyTest(t, func(t *testing.T, cfg DenyConfig) {
		d := loadTestDeny(t, cfg)
		serve(t, 1000)
		u := socketUDP(unix.AF_INET6, &unix.SockaddrInet6{Port: 1000})
		defer unix.Close(u)
		a, other := actor(t), actor(t)
		a.expect(t, "ok", "execute")
		until := in(t, hour)
		rule := func(k DenyKey) DenyTable {
			return DenyTable{map[uint64]uint32{a.cgroup.ID(): 1}, map[DenyKey]DenyRule{k: {Enforce: DenyUntil{until, 7}}}}
		}
		const four, six = "10.77.0.1:1000", "[fd77::1]:1000"
		ways := []struct{ way, to string }{
			{"tcp", four}, {"tcp", six}, {"tcp-mapped", four}, {"tcp-fast-open", four}, {"tcp-fast-open", six}, {"udp-connect", four}, {"udp-connect", six},
			{"udp-send", four}, {"udp-send", six}, {"udp-mapped", four}, {"udp-wildcard", four}, {"udp-wildcard", six}, {"sendmmsg", four}, {"raw", four},
			{"inherited-udp", four}, {"inherited-tcp", four},
		}
		a.expect(t, "ok", "keep-udp", four)
		for _, k := range []DenyKey{{Subject: 1}, {Subject: 1, Port: 1000}} {
			if err := d.SetCount(7, 99); err != nil {
				t.Fatal(err)
			}
			d.mustApply(t, rule(k))
			for _, w := range ways {
				a.expect(t, "EPERM", w.way, w.to)
				if w.way != "inherited-udp" && w.way != "inherited-tcp" {
					other.expect(t, "ok", w.way, w.to)
				}
			}
			a.expect(t, "EPERM", "write") // on the socket that was connected before
			c, err := d.Count(7)
			if err != nil {
				t.Fatal(err)
			}
			if want := uint64(len(ways) + 1); c.Decision != 99 || c.Denied != want || c.Would != 0 || c.FirstDone == 0 || c.LastDone < c.FirstDone {
				t.Errorf("count is %+v, want %d denied", c, want)
			}
			// This machine itself is never denied.
			for _, to := range []string{"127.0.0.1:1000", "[::1]:1000", "0.0.0.0:1000", "127.8.9.1:1000"} {
				a.expect(t, "ok", "tcp", to)
				a.expect(t, "ok", "udp-send", to)
			}
		}
		d.mustApply(t, rule(DenyKey{Subject: 1}))
		a.expect(t, "EPERM", "icmp", four)
		other.expect(t, "ok", "icmp", four)
	})
}

func TestKernelDenyTargets(t *testing.T) {
	denyTest(t, func(t *testing.T, cfg DenyConfig) {
		d := loadTestDeny(t, cfg)
		serve(t, 1000)
		serve(t, 2000)
		a := actor(t)
		until := in(t, hour)
		for _, c := range []struct {
			key                 DenyKey
			denied, undisturbed []string
		}{
			{outbound(1, "10.77.0.1/32", 0, 0), []string{"tcp 10.77.0.1:1000", "udp-send 10.77.0.1:9", "tcp-mapped 10.77.0.1:1000"}, []string{"tcp 10.77.0.2:1000", "tcp [fd77::1]:1000"}},
			{outbound(1, "10.77.0.1/32", 1000, unix.IPPROTO_TCP), []string{"tcp 10.77.0.1:1000"}, []string{"tcp 10.77.0.1:2000", "udp-send 10.77.0.1:1000"}},
			{outbound(1, "10.77.0.1/32", 1000, 0), []string{"tcp 10.77.0.1:1000", "udp-send 10.77.0.1:1000"}, []string{"udp-send 10.77.0.1:1001"}},
			{outbound(1, "10.77.0.0/16", 0, unix.IPPROTO_UDP), []string{"udp-send 10.77.0.1:9", "udp-send 10.77.0.2:9"}, []string{"tcp 10.77.0.1:1000", "udp-send 10.78.0.1:9"}},
			{outbound(1, "0.0.0.0/0", 0, 0), []string{"tcp 10.77.0.1:1000", "tcp 10.78.0.1:1000"}, []string{"tcp [fd77::1]:1000", "udp-send [fd77::1]:9"}},
			{outbound(1, "::/0", 0, 0), []string{"tcp 10.77.0.1:1000", "tcp [fd77::1]:1000"}, nil},
			{outbound(1, "fd77::/64", 0, 0), []string{"tcp [fd77::1]:1000"}, []string{"tcp 10.77.0.1:1000"}},
			{outbound(1, "", 2000, unix.IPPROTO_TCP), []string{"tcp 10.77.0.1:2000", "tcp [fd77::1]:2000"}, []string{"tcp 10.77.0.1:1000", "udp-send 10.77.0.1:2000"}},
			{DenyKey{Subject: 1, Inbound: true}, nil, []string{"tcp 10.77.0.1:1000"}},
			{DenyKey{Subject: 2}, nil, []string{"tcp 10.77.0.1:1000"}},
		} {
			d.mustApply(t, DenyTable{map[uint64]uint32{a.cgroup.ID(): 1}, map[DenyKey]DenyRule{c.key: {Enforce: DenyUntil{until, 1}}}})
			for _, x := range c.denied {
				a.expect(t, "EPERM", x)
			}
			for _, x := range c.undisturbed {
				a.expect(t, "ok", x)
			}
			// Dry: nothing is refused, and what would have been is counted.
			if err := d.SetCount(2, 1); err != nil {
				t.Fatal(err)
			}
			d.mustApply(t, DenyTable{map[uint64]uint32{a.cgroup.ID(): 1}, map[DenyKey]DenyRule{c.key: {DryRun: DenyUntil{until, 2}}}})
			for _, x := range append(c.denied, c.undisturbed...) {
				a.expect(t, "ok", x)
			}
			n, err := d.Count(2)
			if err != nil {
				t.Fatal(err)
			}
			if n.Denied != 0 || n.Would < uint64(len(c.denied)) || len(c.denied) == 0 && n.Would != 0 { // a datagram and a SYN are seen as packets, too
				t.Errorf("%v: %+v, want %d", c.key, n, len(c.denied))
			}
		}
	})
}

// The floor carves out of what is denied; enforce counts where dry run stands beside it.
func TestKernelDenyFloor(t *testing.T) {
	denyTest(t, func(t *testing.T, cfg DenyConfig) {
		d := loadTestDeny(t, cfg)
		serve(t, 1000)
		serve(t, 2000)
		a := actor(t)
		until := in(t, hour)
		d.mustApply(t, DenyTable{map[uint64]uint32{a.cgroup.ID(): 1}, map[DenyKey]DenyRule{
			{Subject: 1}: {Enforce: DenyUntil{until, 1}, DryRun: DenyUntil{until, 2}},
			outbound(0, "10.77.0.0/24", 1000, unix.IPPROTO_TCP): {Enforce: DenyUntil{1<<63 - 1, 0}},
		}})
		a.expect(t, "ok", "tcp 10.77.0.1:1000")
		a.expect(t, "EPERM", "tcp 10.77.0.1:2000")
		a.expect(t, "EPERM", "tcp 10.78.0.1:1000")
		a.expect(t, "EPERM", "udp-send 10.77.0.1:1000")
		one, err := d.Count(1)
		if err != nil {
			t.Fatal(err)
		}
		two, err := d.Count(2)
		if err != nil {
			t.Fatal(err)
		}
		if one.Denied != 3 || one.Spared == 0 || two.Would != 3 || two.Denied != 0 {
			t.Errorf("counts are %+v, %+v", one, two)
		}
	})
}

func TestKernelDenyInbound(t *testing.T) {
	denyTest(t, func(t *testing.T, cfg DenyConfig) {
		d := loadTestDeny(t, cfg)
		server, client := actor(t), actor(t)
		server.expect(t, "ok", "listen 0.0.0.0:1000")
		until := in(t, hour)
		if err := d.SetCount(3, 1); err != nil {
			t.Fatal(err)
		}
		d.mustApply(t, DenyTable{map[uint64]uint32{server.cgroup.ID(): 1}, map[DenyKey]DenyRule{
			{Subject: 1, Inbound: true, Prefix: netip.MustParsePrefix("10.77.0.2/32"), Port: 1000}: {Enforce: DenyUntil{until, 3}},
		}})
		client.expect(t, "ok", "tcp-from 10.77.0.1:1000 10.77.0.1")
		client.expect(t, "EAGAIN", "tcp-from 10.77.0.1:1000 10.77.0.2") // nothing answers
		client.expect(t, "ok", "udp-from 10.77.0.1:1000 10.77.0.2")
		client.expect(t, "ok", "udp-from 10.77.0.1:1000 10.77.0.1")
		server.expect(t, "10.77.0.1", "heard") // the other datagram never came
		// What the server asks itself is answered.
		server.expect(t, "ok", "udp-connect 10.77.0.2:1000")
		if c, err := d.Count(3); err != nil || c.Denied < 2 {
			t.Errorf("count is %+v, %v", c, err)
		}
	})
}

// A process outside of the denied identity is never touched while decisions come and go.
func TestKernelDenyOthers(t *testing.T) {
	denyTest(t, func(t *testing.T, cfg DenyConfig) {
		d := loadTestDeny(t, cfg)
		l := serve(t, 1000)
		go func() {
			for {
				fd, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
				if err != nil {
					return
				}
				unix.Close(fd)
			}
		}()
		defer unix.Shutdown(l, unix.SHUT_RDWR)
		a, other := actor(t), actor(t)
		connections := 4000
		if os.Getenv("AMBIT_GUEST") != "" {
			connections = 1000 // an emulated processor is slow
		}
		refused := make(chan string, 1)
		go func() { refused <- other.do("many", "10.77.0.1:1000", connections) }()
		table := DenyTable{map[uint64]uint32{a.cgroup.ID(): 1}, map[DenyKey]DenyRule{}}
		rounds := 0
		for done := false; !done; rounds++ {
			select {
			case got := <-refused:
				if got != "0" {
					t.Errorf("%s of %d connections of another were refused", got, connections)
				}
				done = true
			default:
			}
			k := outbound(1, "10.77.0.0/16", uint16(rounds%5), uint8(6*(rounds%2)))
			if _, ok := table.Rules[k]; ok {
				delete(table.Rules, k)
			} else {
				table.Rules[k] = DenyRule{Enforce: DenyUntil{in(t, hour), uint32(rounds % 100)}}
			}
			d.mustApply(t, table)
			if rounds%50 == 49 {
				if err := errors.Join(d.Arm(false), d.Detach()); err != nil {
					t.Fatal(err)
				}
				a.expect(t, "ok", "tcp 10.77.0.1:1000")
			}
			table.Rules[DenyKey{Subject: 1}] = DenyRule{Enforce: DenyUntil{in(t, hour), 0}}
			d.mustApply(t, table)
			a.expect(t, "EPERM", "tcp 10.77.0.1:1000")
		}
		t.Logf("%d rounds of decisions, %d connections", rounds, connections)
	})
}

// What is pinned goes on without the process, ends by itself, and is found by the next.
func TestKernelDenyOutlives(t *testing.T) {
	denyTest(t, func(t *testing.T, cfg DenyConfig) {
		serve(t, 1000)
		a := actor(t)
		d := loadTestDeny(t, cfg)
		short, long := in(t, 1500*time.Millisecond), in(t, hour)
		table := DenyTable{map[uint64]uint32{a.cgroup.ID(): 5}, map[DenyKey]DenyRule{
			outbound(5, "10.77.0.1/32", 0, 0):    {Enforce: DenyUntil{short, 1}},
			outbound(5, "10.77.0.2/32", 1000, 6): {Enforce: DenyUntil{long, 2}},
		}}
		d.mustApply(t, table)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		a.expect(t, "EPERM", "tcp 10.77.0.2:1000")
		for begun := in(t, 0); a.do("tcp 10.77.0.1:1000") == "EPERM"; begun = in(t, 0) {
			if begun > short {
				t.Fatalf("it still denies %s after its end", begun-short)
			}
		}
		if now := in(t, 0); now < short {
			t.Errorf("it ended %s early", short-now)
		}
		again, err := LoadDeny(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		a.expect(t, "EPERM", "tcp 10.77.0.2:1000")
		if !again.Armed() || len(again.links) != len(denyHooks) {
			t.Errorf("armed %v, %d links", again.Armed(), len(again.links))
		}
		if f := again.InForce(); f[1] != short || f[2] != long {
			t.Errorf("in force until %v", f)
		}
		if c := again.mustApply(t, table); c != (Changes{}) {
			t.Errorf("changes of the same: %+v", c)
		}
		delete(table.Rules, outbound(5, "10.77.0.2/32", 1000, 6))
		if c := again.mustApply(t, table); c != (Changes{Removed: 1}) {
			t.Errorf("changes: %+v", c)
		}
		a.expect(t, "ok", "tcp 10.77.0.2:1000")
	})
}

// A cgroup that is made below a denied one is denied from its first moment.
func TestKernelDenyBelow(t *testing.T) {
	denyTest(t, func(t *testing.T, cfg DenyConfig) {
		serve(t, 1000)
		d := loadTestDeny(t, cfg)
		parent := testenv.Cgroup(t, "/ambit-bpf-*")
		d.mustApply(t, DenyTable{map[uint64]uint32{parent.ID(): 1}, map[DenyKey]DenyRule{{Subject: 1}: {Enforce: DenyUntil{in(t, hour), 1}}}})
		below := testenv.Cgroup(t, parent.Path()+"/deep-*")
		if err := os.WriteFile(below.Dir()+"/cgroup.procs", []byte(fmt.Sprint(os.Getpid())), 0); err != nil {
			t.Fatal(err)
		}
		fd, err := dial(0, at("10.77.0.1", 1000))
		check(unix.Close(fd))
		if err := os.WriteFile(testenv.OwnCgroup()+"/cgroup.procs", []byte(fmt.Sprint(os.Getpid())), 0); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(err, unix.EPERM) {
			t.Errorf("connect from a cgroup below: %v", err)
		}
		made, err := d.NewCgroups()
		if err != nil || !slices.Contains(made, below.ID()) { // others on this machine make some, too
			t.Errorf("new cgroups are %v (%v), and lack %d", made, err, below.ID())
		}
	})
}

// Nothing is attached while nothing is denied, and nothing is left after it was removed.
func TestKernelDenyRemove(t *testing.T) {
	denyTest(t, func(t *testing.T, cfg DenyConfig) {
		serve(t, 1000)
		a := actor(t)
		d := loadTestDeny(t, cfg)
		links := func() (n int) {
			pins, err := filepath.Glob(cfg.Pins + "/link_deny_[^m]*")
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range pins {
				l, err := link.LoadPinnedLink(p, nil)
				if err != nil {
					t.Fatal(err)
				}
				l.Close()
				n++
			}
			return n
		}
		if n := links(); n != 0 {
			t.Errorf("%d links before anything is denied", n)
		}
		table := DenyTable{map[uint64]uint32{a.cgroup.ID(): 1}, map[DenyKey]DenyRule{{Subject: 1}: {Enforce: DenyUntil{in(t, hour), 1}}}}
		d.mustApply(t, table)
		if n := links(); n != len(denyHooks)-1 {
			t.Errorf("%d links", n)
		}
		a.expect(t, "EPERM", "tcp 10.77.0.1:1000")
		if err := d.Arm(false); err != nil {
			t.Fatal(err)
		}
		a.expect(t, "ok", "tcp 10.77.0.1:1000")
		if err := d.Detach(); err != nil {
			t.Fatal(err)
		}
		if n := links(); n != 0 {
			t.Errorf("%d links after it was switched off", n)
		}
		d.mustApply(t, table)
		a.expect(t, "EPERM", "tcp 10.77.0.1:1000")
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if ok, err := RemoveDeny(cfg.Pins); !ok || err != nil {
			t.Errorf("remove: %v, %v", ok, err)
		}
		a.expect(t, "ok", "tcp 10.77.0.1:1000")
		if _, err := os.Stat(cfg.Pins); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after the removal: %v", err)
		}
		if ok, err := RemoveDeny(cfg.Pins); ok || err != nil {
			t.Errorf("remove again: %v, %v", ok, err)
		}
	})
}

func TestKernelDenyCutPackets(t *testing.T) {
	denyTest(t, func(t *testing.T, cfg DenyConfig) {
		d := loadTestDeny(t, cfg)
		l := serve(t, 1000)
		c, s := pair(l, 0, at("10.77.0.1", 1000))
		defer unix.Close(c)
		defer unix.Close(s)
		if err := d.Arm(true); err != nil {
			t.Fatal(err)
		}
		transfer(c, s, 100)
		cookie := must(unix.GetsockoptUint64(c, unix.SOL_SOCKET, unix.SO_COOKIE))
		if err := d.CutPackets(cookie, in(t, hour)); err != nil {
			t.Fatal(err)
		}
		send(c, 1)
		check(unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 300_000}))
		if n, err := unix.Read(s, make([]byte, 1)); err != unix.EAGAIN {
			t.Errorf("read %d, %v", n, err)
		}
	})
}

// Where the kernel does not end connections, their packets are dropped: of those that the denied side opened, if the rule is outbound.
func TestKernelDenyDropsEstablished(t *testing.T) {
	denyTest(t, func(t *testing.T, cfg DenyConfig) {
		d := loadTestDeny(t, cfg)
		l := serve(t, 2000)
		a := actor(t)
		a.expect(t, "ok", "listen 0.0.0.0:1000")
		opened := must(dial(0, at("10.77.0.1", 1000))) // by the other side
		defer unix.Close(opened)
		a.expect(t, "ok", "keep 10.77.0.1:2000")
		own, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
		check(err)
		defer unix.Close(own)
		if err := d.DropEstablished(true); err != nil {
			t.Fatal(err)
		}
		d.mustApply(t, DenyTable{map[uint64]uint32{a.cgroup.ID(): 1}, map[DenyKey]DenyRule{{Subject: 1}: {Enforce: DenyUntil{in(t, hour), 1}}}})
		a.expect(t, "ok", "write")
		check(unix.SetsockoptTimeval(own, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 300_000}))
		if n, err := unix.Read(own, make([]byte, 1)); err != unix.EAGAIN {
			t.Errorf("of a connection that is cut came %d bytes, %v", n, err)
		}
		send(opened, 1)
		if !eventually(func() bool { return must(unix.IoctlGetInt(opened, unix.SIOCOUTQ)) == 0 }) {
			t.Error("a connection that others opened is cut")
		}
		if err := d.DropEstablished(false); err != nil {
			t.Fatal(err)
		}
		check(unix.SetsockoptTimeval(own, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}))
		if n, err := unix.Read(own, make([]byte, 1)); n != 1 || err != nil { // it is sent again
			t.Errorf("afterwards came %d bytes, %v", n, err)
		}
	})
}

// The programs that refuse must fit the kernel's limits with room, as all others.
func TestKernelDenyProgramSizes(t *testing.T) {
	testenv.RequireKernel(t)
	spec, err := loadDeny()
	if err != nil {
		t.Fatal(err)
	}
	programSizes(t, spec, denyHooks)
	for _, s := range ProbeDeny() {
		if s.Err != nil {
			t.Errorf("probe %s: %+v", s.Name, s.Err)
		}
	}
}

func TestDenyTableBounds(t *testing.T) {
	for _, k := range []DenyKey{
		{Subject: DenySubjects}, {Prefix: netip.MustParsePrefix("10.0.0.1/8")}, {Prefix: netip.MustParsePrefix("::ffff:10.0.0.0/104")},
	} {
		if _, err := k.raw(); err == nil {
			t.Errorf("%v is taken", k)
		}
	}
	d := &Deny{known: denyState{subjects: map[uint32]denyDenySubject{}}}
	sorts := map[DenySort]bool{}
	for bits := range DenySorts {
		sorts[DenySort{Bits: 128 - bits}] = true
	}
	if _, _, err := d.sorts(map[uint32]map[DenySort]bool{1: sorts}); err != nil {
		t.Error(err)
	}
	// Others in their place, at once: what is to go makes room.
	more, _, err := d.sorts(map[uint32]map[DenySort]bool{1: sorts})
	if err != nil {
		t.Fatal(err)
	}
	d.known.subjects = more
	others := map[DenySort]bool{{Bits: 128}: true}
	for bits := range DenySorts - 1 {
		others[DenySort{Bits: 96 - bits, Port: true}] = true
	}
	more, final, err := d.sorts(map[uint32]map[DenySort]bool{1: others})
	if err != nil {
		t.Fatal(err)
	}
	found := map[denySort]bool{}
	for _, x := range final[1].Sorts[0] {
		found[denySort{x.Mask, x.Port, x.Protocol}] = x.Used != 0
	}
	for s := range others {
		if !found[s.raw()] {
			t.Errorf("%+v has no place", s)
		}
	}
	if more[1] != final[1] {
		t.Error("what has no rules any more is looked for")
	}
	sorts[DenySort{Bits: 1}] = true
	if _, _, err := d.sorts(map[uint32]map[DenySort]bool{1: sorts}); err == nil {
		t.Error("too many sorts are taken")
	}
}
