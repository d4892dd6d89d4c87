package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Verdicts on identities that were not seen to be used.
const (
	VerdictUnused     = "unused"
	VerdictCannotTell = "cannot-tell" // it may have been used where or when nobody watched
	VerdictActive     = "active"      // it is used, although it should not be any more
)

// enough is the percentage of a window in which a node must have been watched for what was not seen there not to have been. Agents are restarted and
// nodes rebooted: a hundred would call nothing unused, ever.
const enough = 99

// witness judges whether an identity would have been seen, had it been used.
type witness struct {
	window time.Duration
	nodes  map[string]*NodeCoverage
	fleet  []NodeCoverage
}

func newWitness(nodes []NodeCoverage, window time.Duration) *witness {
	w := &witness{window: window, nodes: make(map[string]*NodeCoverage, len(nodes)), fleet: nodes}
	for i := range nodes {
		w.nodes[nodes[i].Node] = &nodes[i]
	}
	return w
}

// judge says unused only if each node where the identity ran in the window, or, if nowhere, the one where it ran last, was watched for enough of the
// window. One that ran nowhere in the window, and belongs to no node, may have run on any: then all nodes together must have been watched for
// enough of their time. Of identities that only the Kubernetes API tells, time counts when the API was there. watched is the percentage of the time of
// the nodes where it lived, and reason says why nothing can be told.
func (w *witness) judge(s *store.Member, from time.Time) (verdict, reason string, watched float64) {
	counts := watchedTime
	if s.Evidence == event.EvidenceKubernetes {
		counts = identifiedTime
	}
	lived := make([]NodeCoverage, len(s.Lived))
	worst := 0
	for i, name := range s.Lived {
		lived[i].Node = name
		if n := w.nodes[name]; n != nil {
			lived[i] = *n
		}
		if counts(&lived[i]) < counts(&lived[worst]) {
			worst = i
		}
	}
	watched = share(lived, counts, w.window)
	whole := float64(w.window)
	if s.Class == store.ClassRetired {
		return VerdictActive, "", watched
	}
	if s.LastSeen.IsZero() && !s.Declared.IsZero() { // it may have run anywhere
		watched = share(w.fleet, counts, w.window)
		if len(w.fleet) == 0 {
			return VerdictCannotTell, "no node was watched", 0
		}
		if watched < enough {
			return VerdictCannotTell, fmt.Sprintf("it was not seen running, and may have run on any node: all of them together were watched for %.2f%%", watched), watched
		}
		return VerdictUnused, "", watched
	}
	if len(lived) == 0 {
		return VerdictCannotTell, "it is not known where it ran", 0
	}
	if p := percent(whole-float64(counts(&lived[worst])), whole); p < enough {
		return VerdictCannotTell, blame(&lived[worst], p, counts(&lived[worst]) < lived[worst].watched), watched
	}
	if all := share(w.fleet, counts, w.window); all < enough && s.LastSeen.Before(from) && !bound(s.Identity) {
		return VerdictCannotTell, fmt.Sprintf("it was not seen running, and may have run on any node: all of them together were watched for %.2f%%", all), watched
	}
	return VerdictUnused, "", watched
}

// blame says why a node is no witness.
func blame(n *NodeCoverage, watched float64, unidentified bool) string {
	if watched == 0 && len(n.Gaps) == 0 {
		return fmt.Sprintf("node %s was not watched", n.Node)
	}
	var worst *Gap
	for i := range n.Gaps {
		g := &n.Gaps[i]
		if g.Concerns != ConcernConnections && !(unidentified && g.Concerns == ConcernIdentities) {
			continue
		}
		if worst == nil || g.Until.Sub(g.From) > worst.Until.Sub(worst.From) {
			worst = g
		}
	}
	text := fmt.Sprintf("node %s was watched for %.2f%%", n.Node, watched)
	if unidentified {
		text = fmt.Sprintf("node %s was watched, and knew its pods, for %.2f%%", n.Node, watched)
	}
	if worst != nil {
		text += fmt.Sprintf("; its longest gap is from %s to %s: %s", worst.From.Format(time.RFC3339), worst.Until.Format(time.RFC3339), whys[worst.Why])
	}
	return text
}

// bound says whether an identity can only be on one node.
func bound(id event.Identity) bool {
	_, path, _ := strings.Cut(strings.TrimPrefix(id.String(), "spiffe://"), "/")
	return strings.HasPrefix(id.String(), "spiffe://") && strings.HasPrefix(path, "node/")
}
