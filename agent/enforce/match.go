package enforce

import (
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Connection is one that is established, as the sweep of a node sees it.
type Connection struct {
	Cgroup   uint64
	Inbound  bool
	Peer     netip.Addr
	Port     uint16 // of the service
	Protocol uint8
}

// Refuses says which decision that enforces is against a connection, by the last table: the kernel looks at new ones alone.
func (e *Engine) Refuses(c Connection, now time.Duration) (slot uint32, yes bool) {
	subject, ok := e.table.Cgroups[c.Cgroup]
	a := c.Peer.Unmap().WithZone("")
	if !ok || a.IsLoopback() || a.IsUnspecified() {
		return 0, false
	}
	slot, yes = e.find(subject, c, a, now)
	if !yes {
		return 0, false
	}
	if _, spared := e.find(0, c, a, now); spared {
		return 0, false
	}
	return slot, true
}

func (e *Engine) find(subject uint32, c Connection, a netip.Addr, now time.Duration) (slot uint32, yes bool) {
	ports, protocols := [2]uint16{0, c.Port}, [2]uint8{0, c.Protocol}
	try := func(p netip.Prefix) {
		for _, port := range ports {
			for _, protocol := range protocols {
				r, ok := e.table.Rules[Key{subject, c.Inbound, Endpoint{p, port, protocol}}]
				if ok && r.Enforce.Deadline > now {
					slot, yes = r.Enforce.Slot, true
				}
			}
		}
	}
	try(netip.Prefix{})
	for bits := range a.BitLen() + 1 {
		p, err := a.Prefix(bits)
		if err == nil {
			try(p)
		}
	}
	if a.Is4() { // ::/0 holds IPv4, as mapped, in the kernel too
		for bits := range 97 {
			p, err := netip.AddrFrom16(a.As16()).Prefix(bits)
			if err == nil {
				try(p)
			}
		}
	}
	return slot, yes
}

// RefusesPeer says which decision that enforces is against a connection between a cgroup of this node and a peer that has proven its identity.
func (e *Engine) RefusesPeer(own, peer event.Identity, c Connection, now time.Duration) (*Held, bool) {
	for _, h := range e.held {
		d, t := h.Decision, h.Target
		if h.over || now >= h.Deadline || d.Mode != event.Enforce || e.cfg.DryRun || t.Kind != event.TargetIdentity {
			continue
		}
		if t.Port != 0 && t.Port != c.Port || t.Protocol != "" && number(t.Protocol) != c.Protocol {
			continue
		}
		out, in := d.Direction != event.Inbound, d.Direction != event.Outbound
		ours := d.Names(own) && t.Identity == peer && (out && !c.Inbound || in && c.Inbound) && !e.protected(own)
		theirs := d.Names(peer) && t.Identity == own && (out && c.Inbound || in && !c.Inbound) && !e.protected(peer)
		if ours || theirs {
			if _, spared := e.find(0, c, c.Peer.Unmap().WithZone(""), now); spared || c.Peer.IsLoopback() {
				return nil, false
			}
			return h, true
		}
	}
	return nil, false
}

// Named gives the cgroups that the last table names. It is the engine's.
func (e *Engine) Named() map[uint64]uint32 { return e.table.Cgroups }
