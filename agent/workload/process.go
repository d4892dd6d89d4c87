package workload

import "github.com/ambit-nhi/ambit/event"

// process names what runs outside of any unit or container by its user and executable.
type process struct {
	domain event.TrustDomain
	node   string
}

func (s *process) Workload(_ Cgroup, p Process) (event.Workload, bool) {
	return event.Workload{
		Identity:   event.ProcessIdentity(s.domain, s.node, p.UID, p.Executable),
		Evidence:   event.EvidenceProcess,
		Executable: p.Executable, Interactive: p.Interactive, UID: p.UID,
	}, true
}
