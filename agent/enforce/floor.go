package enforce

import (
	"net/netip"

	"github.com/ambit-nhi/ambit/event"
)

// loopback is on the floor of every node; the kernel side has it built in.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// onFloor says whether all of a target is on the floor, by its words alone. What shares addresses with the floor is carved out in the kernel.
func (e *Engine) onFloor(t event.Target) (what string, ok bool) {
	if t.Kind == event.TargetNet {
		for _, p := range loopback {
			if within(t.Prefix, p) {
				return p.String(), true
			}
		}
	}
	if t.Kind == event.TargetDNS && t.Name == "localhost" {
		return t.Name, true
	}
	for _, f := range e.cfg.Floor {
		if covers(f, t) {
			return f.String(), true
		}
	}
	return "", false
}

func within(p, in netip.Prefix) bool {
	return p.IsValid() && in.Addr().Is4() == p.Addr().Is4() && p.Bits() >= in.Bits() && in.Contains(p.Addr())
}

// covers says whether all that t names is named by f, too.
func covers(f, t event.Target) bool {
	if f.Port != 0 && f.Port != t.Port || f.Protocol != "" && f.Protocol != t.Protocol {
		return false
	}
	switch f.Kind {
	case event.TargetAny:
		return true
	case event.TargetPort:
		return t.Port == f.Port
	case event.TargetNet:
		return t.Kind == event.TargetNet && within(t.Prefix, f.Prefix)
	}
	return f.Kind == t.Kind && f.Name == t.Name && f.Identity == t.Identity
}

// protected says whether no decision is about an identity.
func (e *Engine) protected(id event.Identity) bool {
	for _, p := range e.cfg.Protected {
		if event.Fits(p, id.String()) {
			return true
		}
	}
	return false
}
