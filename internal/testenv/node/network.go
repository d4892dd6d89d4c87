package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// network connects pods as a routing network plugin does: each pod has a pair of interfaces, the node has a route to each pod, and the node's address is
// the source of what the node itself sends them.
type network struct {
	mu      sync.Mutex // netlink sockets answer one request at a time
	home    *netlink.Handle
	outside *os.File // namespace of what is not in the cluster
	last    int      // number of the newest pair
}

// The gateways that pods send everything to exist on no interface: the neighbour's hardware address is fixed on both sides.
var (
	gateway4 = netip.MustParseAddr("169.254.1.1")
	gateway6 = netip.MustParseAddr("fe80::1")
	hostMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	podMAC   = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

func newNetwork(outside *os.File) (*network, error) {
	for path, value := range map[string]string{
		"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1",
		"net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/default/rp_filter": "0",
		"net/ipv6/conf/all/accept_dad": "0", "net/ipv6/conf/default/accept_dad": "0",
	} {
		if err := os.WriteFile("/proc/sys/"+path, []byte(value), 0); err != nil {
			return nil, err
		}
	}
	home, err := netlink.NewHandle()
	if err != nil {
		return nil, err
	}
	n := &network{home: home, outside: outside}
	uplink, err := n.pair("eth0", outside)
	if err == nil {
		err = n.side(home, uplink, [2]netip.Addr{Address4, Address6})
	}
	if err == nil {
		err = n.inside(outside, [2]netip.Addr{Outside4, Outside6})
	}
	if err == nil {
		err = up(home, uplink)
	}
	if err != nil {
		return nil, errors.Join(err, outside.Close())
	}
	return n, nil
}

func (n *network) close() {
	n.home.Close()
	n.outside.Close()
}

// pair makes a pair of interfaces, the other of which is eth0 in a namespace.
func (n *network) pair(name string, namespace *os.File) (*netlink.Veth, error) {
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name, HardwareAddr: hostMAC}, PeerName: "eth0", PeerHardwareAddr: podMAC,
		PeerNamespace: netlink.NsFd(namespace.Fd()),
	}
	if err := n.home.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("make interfaces: %w", err)
	}
	return pair, nil
}

// connect makes a pod's interface in its namespace, and the routes to it.
func (n *network) connect(namespace *os.File, addresses [2]netip.Addr) (host string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	host = "pod" + strconv.Itoa(n.last)
	pair, err := n.pair(host, namespace)
	if err != nil {
		return "", err
	}
	if err := n.home.LinkSetUp(pair); err != nil {
		return host, err
	}
	if err := n.inside(namespace, addresses); err != nil {
		return host, err
	}
	if err := up(n.home, pair); err != nil {
		return host, err
	}
	for i, a := range addresses {
		if err := n.home.NeighSet(neighbour(pair, a, podMAC)); err != nil {
			return host, fmt.Errorf("set neighbour: %w", err)
		}
		source := []netip.Addr{Address4, Address6}[i]
		route := &netlink.Route{LinkIndex: pair.Index, Dst: prefix(a), Src: source.AsSlice(), Scope: netlink.SCOPE_LINK}
		if err := n.home.RouteReplace(route); err != nil {
			return host, fmt.Errorf("route to %s: %w", a, err)
		}
	}
	return host, nil
}

// inside sets up the other side of a pair.
func (n *network) inside(namespace *os.File, addresses [2]netip.Addr) error {
	there, err := netlink.NewHandleAt(netns.NsHandle(namespace.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer there.Close()
	lo, err := there.LinkByName("lo")
	if err != nil {
		return err
	}
	eth, err := there.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := errors.Join(there.LinkSetUp(lo), n.side(there, eth, addresses)); err != nil {
		return err
	}
	if err := up(there, eth); err != nil {
		return err
	}
	return wait("address "+addresses[1].String()+" is not local", func() (bool, error) {
		routes, err := there.RouteGet(addresses[1].AsSlice())
		return err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL, nil
	})
}

// up waits until an interface works, which is a little after its other end is there. What is sent until then, is lost. The same goes for addresses of
// IPv6.
func up(at *netlink.Handle, link netlink.Link) error {
	return wait("interface "+link.Attrs().Name+" is not up", func() (bool, error) {
		now, err := at.LinkByIndex(link.Attrs().Index)
		return err == nil && now.Attrs().OperState == netlink.OperUp, err
	})
}

// wait waits for what the kernel does a little later than it was asked to.
func wait(missing string, there func() (bool, error)) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if ok, err := there(); ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New(missing + " after 10s")
		}
	}
}

// side gives an interface its addresses, and sends everything through it.
func (n *network) side(at *netlink.Handle, link netlink.Link, addresses [2]netip.Addr) error {
	other := hostMAC
	if at == n.home {
		other = podMAC
	}
	errs := []error{at.LinkSetUp(link)}
	for i, a := range addresses {
		gateway := []netip.Addr{gateway4, gateway6}[i]
		errs = append(errs,
			at.AddrAdd(link, address(a)),
			at.NeighSet(neighbour(link, gateway, other)),
			at.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("set up interface: %w", err)
	}
	return nil
}

// disconnect removes a pair by its name; routes and neighbours go with it.
func (n *network) disconnect(host string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.home.LinkDel(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: host}})
}

func prefix(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

// address is usable at once: nobody else on the link could have it.
func address(a netip.Addr) *netlink.Addr {
	out := &netlink.Addr{IPNet: prefix(a)}
	if a.Is6() {
		out.Flags = unix.IFA_F_NODAD
	}
	return out
}

func neighbour(link netlink.Link, a netip.Addr, at net.HardwareAddr) *netlink.Neigh {
	family := netlink.FAMILY_V4
	if a.Is6() {
		family = netlink.FAMILY_V6
	}
	return &netlink.Neigh{LinkIndex: link.Attrs().Index, Family: family, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: at}
}
