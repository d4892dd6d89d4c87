package event

import "slices"

// Unattributed is why a workload has no better identity than its cgroup's or its process's. The words are few, so they may be labels.
type Unattributed string

// The reasons.
const (
	UnattributedPod     Unattributed = "pod-unknown"     // a pod's cgroup, and the Kubernetes API did not tell of the pod in time
	UnattributedAPI     Unattributed = "no-kubernetes"   // a pod's cgroup, on a node where no Kubernetes API is configured
	UnattributedCgroup  Unattributed = "cgroup-unknown"  // nobody knows the cgroup's name (any more)
	UnattributedProcess Unattributed = "process-unknown" // in no workload's cgroup, and neither user nor executable are known
	UnattributedQuota   Unattributed = "too-many-edges"  // one of those that its cgroup has no room for: who is known, what was reached is not
)

// UnattributedReasons are all reasons.
var UnattributedReasons = []Unattributed{UnattributedPod, UnattributedAPI, UnattributedCgroup, UnattributedProcess, UnattributedQuota}

func (u Unattributed) valid() bool { return u == "" || slices.Contains(UnattributedReasons, u) }
