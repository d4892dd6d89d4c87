package agent

import (
	"time"

	"github.com/ambit-nhi/ambit/agent/workload"
	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// Workload says who an edge belongs to.
func (a *Agent) Workload(e *bpf.Edge) (*event.Workload, bool) {
	p := workload.Process{TGID: e.Process.TGID, UID: e.Process.UID, Interactive: e.Process.Interactive}
	if e.Process.File != 0 {
		path, _ := a.kernel.ExecutablePath(e.Process.File)
		p.Executable = workload.ResolveExecutable(e.Process.TGID, path, e.Process.Inode, e.Process.Device)
	}
	w := a.resolve.Resolve(e.Cgroup, p)
	if e.Overflow && w.Unattributed == "" {
		overflow := *w
		overflow.Unattributed = event.UnattributedQuota
		return &overflow, false
	}
	return w, w.Unattributed == event.UnattributedPod
}

// Peer says what the other end of an edge is called at a time.
func (a *Agent) Peer(e *bpf.Edge, at time.Time) (event.Peer, bool) {
	p := event.Peer{Address: e.Address, Port: e.Port}
	if e.Inbound || e.Overflow {
		return p, false
	}
	if named, ok := a.names.Name(e.Cgroup, e.Address, at); ok {
		p.Name, p.NameSource = named.Name, event.NameDNS
	}
	return p, false
}

// Generation grows when the answers to Workload or Peer may have changed for the better.
func (a *Agent) Generation() uint64 { return 0 }
