package workload

import "github.com/ambit-nhi/ambit/event"

// Cgroup is where something ran.
type Cgroup struct {
	ID   uint64 // inode number of its directory; not used twice before the machine restarts
	Path string // below the root of the hierarchy, which is "/"; empty if nobody knows it (any more)
}

// Process is who ran there. Fields that are not known are zero.
type Process struct {
	TGID        uint32
	UID         uint32 // real user, in the host's user namespace
	Executable  string // path as the process sees it, see [ResolveExecutable]
	Interactive bool   // a terminal was attached
}

// known says whether anything is known of the process.
func (p Process) known() bool { return p.TGID != 0 || p.Executable != "" }

// Source names workloads. Sources are asked in order of the strength of their evidence, and the first that knows a workload names it.
type Source interface {
	// Workload answers from what is already known on the node: it neither blocks nor asks others. What it answers for a cgroup, user,
	// executable and terminal may be kept while Generation stays; TGID is a hint that may be gone. Equal things must get equal values.
	Workload(c Cgroup, p Process) (event.Workload, bool)
	// Generation grows when answers may have changed: what was kept is asked for again. Sources that never change their mind always say the same.
	Generation() uint64
}

// constant is the part of a source that never changes its mind.
type constant struct{}

func (constant) Generation() uint64 { return 0 }

// Names gives the paths of cgroups by id, also of those that are gone. The kernel side fills it when cgroups are made.
type Names interface {
	// CgroupPath gives the path below the root of the hierarchy.
	CgroupPath(id uint64) (path string, ok bool)
}
