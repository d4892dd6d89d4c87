package peer

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Real translation, by nftables as kube-proxy does it, in a network namespace of the test's own.
func TestTranslations(t *testing.T) {
	inOwnNetwork(t, func() {
		translate(t, "10.96.0.1", 80, "127.0.0.1", 8080)
		translate(t, "fd00::1", 80, "::1", 8080)
		tr := NewTranslations()
		defer tr.Close()
		f := func(dialled, want string, protocol uint8) {
			t.Helper()
			to := netip.MustParseAddrPort(dialled)
			local := exchange(t, to, protocol)
			got, ok := tr.Backend(local, to, protocol)
			if wanted, _ := netip.ParseAddrPort(want); got != wanted || ok != wanted.IsValid() {
				t.Errorf("%s to %s (protocol %d): %v, %t, want %q; %v", local, dialled, protocol, got, ok, want, tr.Counters())
			}
		}
		f("10.96.0.1:80", "127.0.0.1:8080", unix.IPPROTO_TCP)
		f("10.96.0.1:80", "127.0.0.1:8080", unix.IPPROTO_UDP)
		f("[::ffff:10.96.0.1]:80", "127.0.0.1:8080", unix.IPPROTO_TCP)
		f("[fd00::1]:80", "[::1]:8080", unix.IPPROTO_TCP)
		f("127.0.0.1:8080", "", unix.IPPROTO_TCP) // tracked, not translated
		want := fmt.Sprint(map[string]uint64{"translation-found": 4, "translation-none": 1, "translation-unknown": 0, "translation-failed": 0})
		if got := fmt.Sprint(tr.Counters()); got != want {
			t.Errorf("counters are %s, want %s", got, want)
		}
		to := netip.MustParseAddrPort("10.96.0.1:80")
		if b, ok := tr.Backend(netip.MustParseAddrPort("127.0.0.1:1"), to, unix.IPPROTO_TCP); ok {
			t.Errorf("a connection that never was leads to %v", b)
		}
		if n := tr.Counters()["translation-unknown"]; n != 1 {
			t.Errorf("%d connections were unknown, want 1", n)
		}
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
		f("10.96.0.1:80", "127.0.0.1:8080", unix.IPPROTO_TCP) // opens again
	})
}

// What the kernel refuses is counted, and the next question is asked anew.
func TestTranslationsRefused(t *testing.T) {
	var tr Translations
	defer tr.Close()
	for _, local := range []netip.AddrPort{{}, netip.MustParseAddrPort("[::1]:1")} { // no address; of another family
		if b, ok := tr.Backend(local, netip.MustParseAddrPort("10.96.0.1:80"), unix.IPPROTO_TCP); ok {
			t.Errorf("from %v: %v", local, b)
		}
	}
	if n := tr.Counters()["translation-failed"]; n != 2 {
		t.Errorf("%d questions failed, want 2", n)
	}
}

// inOwnNetwork runs f in a thread that has a network namespace of its own, with loopback up. Both go with the thread.
func inOwnNetwork(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		err := ownNetwork()
		defer func() { done <- err }()
		if err == nil {
			f()
		}
	}()
	if err := <-done; err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("needs root: ", err)
	}
}

func ownNetwork() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make network namespace: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	for services, own := range map[string]string{"10.96.0.0/12": "127.0.0.1", "fd00::/64": "::1"} { // some way out, where they are translated
		_, dst, err := net.ParseCIDR(services)
		if err != nil {
			return err
		}
		route := netlink.Route{LinkIndex: lo.Attrs().Index, Dst: dst, Src: net.ParseIP(own), Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: unix.RT_SCOPE_HOST}
		if err := netlink.RouteAdd(&route); err != nil {
			return fmt.Errorf("add route to %s: %w", services, err)
		}
	}
	return nil
}

// translate turns what leaves for an address and port elsewhere.
func translate(t *testing.T, address string, port uint16, to string, toPort uint16) {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	from, dest := netip.MustParseAddr(address).AsSlice(), netip.MustParseAddr(to).AsSlice()
	family, offset := nftables.TableFamilyIPv4, uint32(16)
	if len(from) == 16 {
		family, offset = nftables.TableFamilyIPv6, 24
	}
	table := c.AddTable(&nftables.Table{Family: family, Name: "services"})
	chain := c.AddChain(&nftables.Chain{Name: "output", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(from))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: from},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.Immediate{Register: 1, Data: dest},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(toPort)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(family), RegAddrMin: 1, RegProtoMin: 2},
	}})
	if err := c.Flush(); err != nil {
		t.Fatalf("translate %s: %v", address, err)
	}
}

// exchange says something to an address, which something that listens on port 8080 of all addresses answers, and gives the own end.
func exchange(t *testing.T, to netip.AddrPort, protocol uint8) netip.AddrPort {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("exchange with %s: %v", to, err)
		}
	}
	kind := unix.SOCK_STREAM
	if protocol == unix.IPPROTO_UDP {
		kind = unix.SOCK_DGRAM
	}
	server, err := unix.Socket(unix.AF_INET6, kind|unix.SOCK_CLOEXEC, 0)
	check(err)
	defer unix.Close(server)
	check(unix.SetsockoptInt(server, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	check(unix.Bind(server, &unix.SockaddrInet6{Port: 8080}))
	if kind == unix.SOCK_STREAM {
		check(unix.Listen(server, 8))
	}
	client, err := unix.Socket(unix.AF_INET6, kind|unix.SOCK_CLOEXEC, 0)
	check(err)
	defer unix.Close(client)
	check(unix.Connect(client, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}))
	_, err = unix.Write(client, []byte("hello"))
	check(err)
	if kind == unix.SOCK_STREAM {
		accepted, _, err := unix.Accept4(server, unix.SOCK_CLOEXEC)
		check(err)
		defer unix.Close(accepted)
		server = accepted
	}
	b := make([]byte, 5)
	_, from, err := unix.Recvfrom(server, b, 0)
	check(err)
	if kind == unix.SOCK_STREAM {
		_, err = unix.Write(server, b)
	} else {
		err = unix.Sendto(server, b, 0, from)
	}
	check(err)
	_, err = unix.Read(client, b)
	check(err)
	name, err := unix.Getsockname(client)
	check(err)
	a := name.(*unix.SockaddrInet6)
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
}
