package workload

import "github.com/ambit-nhi/ambit/event"

// process names what runs outside of any unit or container by its user and executable. Who listens is sometimes not known, and then it could be
// anybody in that cgroup: the cgroup's is the only name that is not guessed.
type process struct {
	constant
	domain event.TrustDomain
	node   string
}

func (s *process) Workload(c Cgroup, p Process) (event.Workload, bool) {
	if !p.known() {
		return event.Workload{
			Identity: event.CgroupIdentity(s.domain, s.node, c.Path), Evidence: event.EvidenceCgroup, Unattributed: event.UnattributedProcess,
		}, true
	}
	return event.Workload{
		Identity:   event.ProcessIdentity(s.domain, s.node, p.UID, p.Executable),
		Evidence:   event.EvidenceProcess,
		Executable: p.Executable, Interactive: p.Interactive, UID: p.UID,
	}, true
}
