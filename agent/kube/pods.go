package kube

import (
	"sync"

	"github.com/ambit-nhi/ambit/agent/workload"
)

// owned is a pod on some node, with what made it.
type owned struct {
	pod        workload.Pod
	node       string
	controller *controller // nil where the owner is known for sure
}

// of says whether a pod is on a node.
func (p *owned) of(node string) bool { return p != nil && p.node == node }

// nodePods tells the pods of this node. Pods and their owners come from different goroutines.
type nodePods struct {
	owners *owners

	mu   sync.Mutex
	sink PodSink
	told map[string]nodePod // by uid
}

type nodePod struct {
	pod        workload.Pod
	controller string // key
}

func (n *nodePods) put(p *owned) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sink.PutPod(n.take(p))
}

func (n *nodePods) take(p *owned) workload.Pod {
	known := nodePod{pod: p.pod}
	if p.controller != nil {
		known.controller = p.controller.key()
		known.pod.Owner = n.owners.of(p.controller)
	}
	n.told[p.pod.UID] = known
	return known.pod
}

func (n *nodePods) delete(uid string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.told[uid]; ok {
		delete(n.told, uid)
		n.sink.DeletePod(uid)
	}
}

func (n *nodePods) replace(all []*owned) {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.told)
	pods := make([]workload.Pod, len(all))
	for i, p := range all {
		pods[i] = n.take(p)
	}
	n.sink.ReplacePods(pods)
}

// owner tells who owns the pods that a controller made.
func (n *nodePods) owner(controller, owner string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for uid, p := range n.told {
		if p.controller == controller && p.pod.Owner != owner {
			p.pod.Owner = owner
			n.told[uid] = p
			n.sink.PutPod(p.pod)
		}
	}
}
