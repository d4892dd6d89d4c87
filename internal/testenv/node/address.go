package node

import (
	"encoding/binary"
	"net/netip"
	"sync"
)

// addresses gives out pairs of pod addresses. What was given back last is given out first, so that addresses change hands as fast as they ever do.
type addresses struct {
	mu   sync.Mutex
	free []uint16
	used uint16
}

func (a *addresses) take() [2]netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last := len(a.free) - 1; last >= 0 {
		host := a.free[last]
		a.free = a.free[:last]
		return pair(host)
	}
	a.used++
	return pair(a.used + 1) // .1 is what people expect a gateway at
}

func (a *addresses) give(back [2]netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	four := back[0].As4()
	a.free = append(a.free, binary.BigEndian.Uint16(four[2:]))
}

func pair(host uint16) [2]netip.Addr {
	four, six := Pods4.Addr().As4(), Pods6.Addr().As16()
	binary.BigEndian.PutUint16(four[2:], host)
	binary.BigEndian.PutUint16(six[14:], host)
	return [2]netip.Addr{netip.AddrFrom4(four), netip.AddrFrom16(six)}
}
