package agent

import (
	"github.com/ambit-nhi/ambit/agent/enforce"
	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// met tells the denier of a handshake that showed who the peer is.
func (a *Agent) met(n bpf.Number, peer, own event.Identity) {
	w := a.ledger.workload(n)
	e, ok, err := a.kernel.Edge(n)
	if w == nil || err != nil || !ok {
		return
	}
	if own.IsZero() || a.proven.own(w, own) == nil {
		own = a.proven.workload(w).Identity
	}
	a.deny.shook(meeting{own, peer, enforce.Connection{Cgroup: e.Cgroup, Inbound: e.Inbound, Peer: peerAddress(e.Address), Port: e.Port, Protocol: e.Protocol}})
}

// tellProven tells the denier who workloads have proven to be, if that changed.
func (a *Agent) tellProven() {
	if a.deny == nil || a.claimed == a.proven.generation && a.deny.claims.Load() != nil {
		return
	}
	a.claimed = a.proven.generation
	c := &claims{one: map[string]event.Identity{}, several: map[string]bool{}}
	for cgroup, x := range a.proven.cgroups.All() {
		if x.identity.IsZero() {
			c.several[cgroup] = true
		} else {
			c.one[cgroup] = x.identity
		}
	}
	a.deny.claims.Store(c)
	a.deny.poke()
}
