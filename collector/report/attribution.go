package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Attribution is of how many connections it is known who made or accepted them. It is counted by the hour, and since Ambit counts it: what
// an older version stored is not in it.
type Attribution struct {
	Connections  uint64                        `json:"connections"` // both directions
	Attributed   uint64                        `json:"attributed"`
	Share        float64                       `json:"share"`        // percent, rounded down; 100 of none
	Unattributed map[event.Unattributed]uint64 `json:"unattributed"` // by reason
}

func attribution(a store.Attribution) *Attribution {
	out := &Attribution{Connections: a.Attributed, Attributed: a.Attributed, Share: 100, Unattributed: a.Unattributed}
	for _, n := range a.Unattributed {
		out.Connections += n
	}
	if out.Attributed < out.Connections {
		out.Share = math.Floor(1e4*float64(out.Attributed)/float64(out.Connections)) / 100
	}
	return out
}

// state says it in a sentence, or nothing where there were no connections.
func (a *Attribution) state() string {
	if a.Connections == 0 {
		return ""
	}
	said := fmt.Sprintf(" Attributed: %.2f%% of %s connections", a.Share, thousands(a.Connections))
	if len(a.Unattributed) == 0 {
		return said + "."
	}
	var reasons []string
	for _, why := range slices.Sorted(maps.Keys(a.Unattributed)) {
		reasons = append(reasons, fmt.Sprintf("%s %s", why, thousands(a.Unattributed[why])))
	}
	return said + "; not attributed: " + strings.Join(reasons, ", ") + "."
}

// thousands writes a number with commas.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Explain says what a reason means, and what can be done, in a sentence each.
func Explain(why event.Unattributed) (meaning, remedy string) {
	if e, ok := explanations[why]; ok {
		return e.meaning, e.remedy
	}
	return "This version of Ambit does not know the reason.", "Update the collector: the agents are newer."
}

var explanations = map[event.Unattributed]struct{ meaning, remedy string }{
	event.UnattributedPod: {
		"It ran in a pod's cgroup, but the Kubernetes API did not tell of the pod in time.",
		"See in `ambit report coverage` whether the node's agent reached the API then, and check the agent's RBAC.",
	},
	event.UnattributedAPI: {
		"It ran in a pod's cgroup on a node whose agent knows no Kubernetes API.",
		"Give the agent access to the Kubernetes API.",
	},
	event.UnattributedCgroup: {
		"Nobody knew the name of its cgroup any more.",
		"If it goes on, see in `ambit doctor` whether the agent may watch new cgroups on this node.",
	},
	event.UnattributedProcess: {
		"It ran outside of any unit or container, and neither its user nor its executable were known.",
		"Run it as a systemd unit or in a container.",
	},
	event.UnattributedQuota: {
		"Who it is, is known; but it reached more than the agent has room for, and what it reached is only counted together.",
		"Look into what it does: few workloads reach thousands of peers.",
	},
}
