package node

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// services turns connections to service addresses to one of their backends, as kube-proxy does: by destination translation in the node's network, for
// pods' packets and for the node's own.
type services struct {
	mu     sync.Mutex
	table  *nftables.Table
	enter  []*nftables.Chain // prerouting, output
	chains map[translation]*nftables.Chain
}

// translation is one port of one service.
type translation struct {
	protocol uint8
	at       netip.AddrPort
}

func newServices() (*services, error) {
	s := &services{table: &nftables.Table{Name: "kube-proxy", Family: nftables.TableFamilyINet}, chains: make(map[translation]*nftables.Chain)}
	filter, err := nftables.New()
	if err != nil {
		return nil, err
	}
	filter.AddTable(s.table)
	for name, hook := range map[string]*nftables.ChainHook{"prerouting": nftables.ChainHookPrerouting, "output": nftables.ChainHookOutput} {
		s.enter = append(s.enter, filter.AddChain(&nftables.Chain{
			Name: name, Table: s.table, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: nftables.ChainPriorityNATDest,
		}))
	}
	return s, filter.Flush()
}

// Translate turns what is sent to a service's address and port to one of the backends, each time another, from now on and for new connections. Without
// backends it is refused no longer than it takes to be unreachable: nothing has the address. The protocol is tcp or udp.
func (n *Node) Translate(protocol string, at netip.AddrPort, backends ...netip.AddrPort) error {
	s := n.services
	s.mu.Lock()
	defer s.mu.Unlock()
	filter, err := nftables.New()
	if err != nil {
		return err
	}
	key := translation{unix.IPPROTO_TCP, at}
	if protocol == "udp" {
		key.protocol = unix.IPPROTO_UDP
	}
	chain, known := s.chains[key]
	if known {
		filter.FlushChain(chain)
	} else {
		name := strings.NewReplacer(".", "-", ":", "-").Replace(fmt.Sprintf("%s-%s-%d", protocol, at.Addr(), at.Port()))
		chain = filter.AddChain(&nftables.Chain{Name: name, Table: s.table})
		for _, enter := range s.enter {
			filter.AddRule(&nftables.Rule{Table: s.table, Chain: enter, Exprs: append(to(key), &expr.Verdict{Kind: expr.VerdictJump, Chain: name})})
		}
	}
	for i, backend := range backends {
		if backend.Addr().Is4() != at.Addr().Is4() {
			return errors.New("translate service: backend " + backend.String() + " is of another family than " + at.String())
		}
		filter.AddRule(&nftables.Rule{Table: s.table, Chain: chain, Exprs: append(oneOf(len(backends)-i), turn(backend)...)})
	}
	if err := filter.Flush(); err != nil {
		return fmt.Errorf("translate service %s: %w", at, err)
	}
	s.chains[key] = chain
	return nil
}

// to matches what is sent to a service.
func to(t translation) []expr.Any {
	family, offset, length := byte(unix.NFPROTO_IPV4), uint32(16), uint32(4)
	if t.at.Addr().Is6() {
		family, offset, length = unix.NFPROTO_IPV6, 24, 16
	}
	equal := func(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, equal([]byte{family}),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}, equal(t.at.Addr().AsSlice()),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal([]byte{t.protocol}),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, equal(binaryutil.BigEndian.PutUint16(t.at.Port())),
	}
}

// oneOf matches one time in n.
func oneOf(n int) []expr.Any {
	if n == 1 {
		return nil
	}
	return []expr.Any{
		&expr.Numgen{Register: 1, Modulus: uint32(n), Type: unix.NFT_NG_RANDOM},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)},
	}
}

// turn translates the destination.
func turn(backend netip.AddrPort) []expr.Any {
	family := uint32(unix.NFPROTO_IPV4)
	if backend.Addr().Is6() {
		family = unix.NFPROTO_IPV6
	}
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: backend.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(backend.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: 1, RegProtoMin: 2},
	}
}
