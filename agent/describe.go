package agent

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/agent/peer"
	"github.com/ambit-nhi/ambit/agent/workload"
	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// Workload says who an edge belongs to. It may know soon where a pod's cgroup is older than what the API has told of the pod, or a container's than what
// its engine has. Until the cluster's addresses were told for the first time, everything waits for them: what a program has reached for days must not
// look new for want of its name.
func (a *Agent) Workload(e *bpf.Edge) (*event.Workload, bool) {
	p := workload.Process{TGID: e.Process.TGID, UID: e.Process.UID, Interactive: e.Process.Interactive}
	if e.Process.File != 0 {
		path, _ := a.kernel.ExecutablePath(e.Process.File)
		p.Executable = workload.ResolveExecutable(e.Process.TGID, path, e.Process.Inode, e.Process.Device)
	}
	w := a.proven.workload(a.resolve.Resolve(e.Cgroup, p))
	if e.Overflow && w.Unattributed == "" {
		overflow := *w
		overflow.Unattributed = event.UnattributedQuota
		return &overflow, false
	}
	switch {
	case w.Unattributed == event.UnattributedPod, a.sources.starting() && !e.Address.IsLoopback():
		return w, true
	case w.Evidence == event.EvidenceCgroup && w.Container == "" && w.Unattributed == "":
		return w, a.sources.soon(w.Cgroup)
	}
	return w, false
}

// Opened tells the cluster's addresses since when a pod connects, which is more exact than what the API tells.
func (a *Agent) Opened(e *bpf.Edge, w *event.Workload, at time.Time) {
	if uid, ok := workload.PodUID(w.Cgroup); ok && !e.Inbound {
		a.cluster.Connected(uid, at)
	}
}

// Peer says what the other end of an edge is called, of what began between two times: who had the address in the cluster, else the name by which this
// very workload knows it. It may know soon where the address is about to be somebody's.
func (a *Agent) Peer(e *bpf.Edge, at, until time.Time) (event.Peer, bool) {
	p := event.Peer{Address: e.Address, Port: e.Port}
	if e.Overflow {
		return p, false
	}
	known := a.cluster.Lookup(peer.Query{
		Address: e.Address, Port: e.Port, Protocol: e.Protocol, Inbound: e.Inbound, At: at, Until: until, Now: time.Now(),
	})
	p.Identity, p.Evidence, p.Name, p.NameSource = known.Identity, known.Evidence, known.Name, known.NameSource
	if e.Inbound {
		return p, known.State.Pending()
	}
	a.translate(e, &p, at, &known)
	if p.Identity.IsZero() && p.Name == "" {
		a.name(e, &p, until)
	}
	return p, known.State.Pending()
}

// translate tells apart what a program dialled and what its connection became, where another program or the node's own tables turned it to another
// address. The service's name is that of what was dialled. became is who has the address it became: the kernel side cannot tell UDP that was turned from UDP
// that a program sent past the service it had connected to, and must not be had to pass off the one as the other.
func (a *Agent) translate(e *bpf.Edge, p *event.Peer, at time.Time, became *peer.Answer) {
	turned, err := a.kernel.Turned(e.Number)
	if err != nil { // as where nothing is known
		return
	}
	switch {
	case turned.Dialled.IsValid():
		service := a.cluster.Lookup(peer.Query{Address: turned.Dialled.Addr(), Port: turned.Dialled.Port(), Protocol: e.Protocol, At: at})
		known := service.NameSource == event.NameService
		if known && e.Protocol == unix.IPPROTO_UDP && !standsBehind(became, &service) {
			return
		}
		if p.Dialled = turned.Dialled; known {
			p.Name, p.NameSource = service.Name, service.NameSource
		}
	case turned.Local.IsValid():
		asked := netip.AddrPortFrom(e.Address, e.Port)
		if b := a.backend(e, turned.Local, asked); b.IsValid() {
			p.Address, p.Port, p.Dialled = b.Addr(), b.Port(), asked
		}
	}
}

// standsBehind says whether who has an address may be behind a service. A service has no identity while its pods change; who is told is the pod in any case.
func standsBehind(who, service *peer.Answer) bool {
	return who.Name == service.Name || !who.Identity.IsZero() && (service.Identity.IsZero() || who.Identity == service.Identity)
}

// backend is where the node's tables turned an edge's first connection. The table forgets connections, so it is asked once or twice, and early.
func (a *Agent) backend(e *bpf.Edge, local, asked netip.AddrPort) netip.AddrPort {
	const tries, many = 2, 4096
	t, ok := a.turned[e.Number]
	if t.backend.IsValid() || t.tries == tries {
		return t.backend
	}
	if !ok && len(a.turned) >= many {
		clear(a.turned) // they are asked again
	}
	t.tries++
	t.backend, _ = a.translations.Backend(local, asked, e.Protocol)
	a.turned[e.Number] = t
	return t.backend
}

// turned is what is known of where an edge leads.
type turned struct {
	backend netip.AddrPort
	tries   int
}

// name names what the cluster does not know.
func (a *Agent) name(e *bpf.Edge, p *event.Peer, at time.Time) {
	name, ok := a.names.Name(e.Cgroup, askedFor(p), at)
	if !ok {
		return
	}
	p.Name, p.NameSource = name.Name, event.NameDNS
	if target, ok := a.cluster.Alias(p.Name); ok {
		p.Name = target
	}
}

// Nameless says which range stands for a peer that has no name, where its workload reaches many of them: one who tries all addresses of a network must
// not be told address by address.
func (a *Agent) Nameless(e *bpf.Edge, p *event.Peer, at time.Time) {
	asked := askedFor(p)
	if e.Inbound || e.Overflow || asked.IsLoopback() || asked.IsLinkLocalUnicast() {
		return
	}
	p.Range = a.ranges.Range(e.Cgroup, e.Port, e.Protocol, asked, at)
}

// askedFor is the address that a program connected to.
func askedFor(p *event.Peer) netip.Addr {
	if p.Dialled.IsValid() {
		return p.Dialled.Addr()
	}
	return p.Address
}

// Own says who a workload is by an identity that it has proven; nil if as before.
func (a *Agent) Own(w *event.Workload, id event.Identity) *event.Workload { return a.proven.own(w, id) }

// Generation grows when the answers to Workload or Peer may have changed for the better.
func (a *Agent) Generation() uint64 {
	generation := a.resolve.Generation() + a.cluster.Generation() + a.proven.generation
	if a.sources.starting() {
		return generation
	}
	return generation + 1
}
