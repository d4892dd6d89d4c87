package workload

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// KubernetesConfig configures [Kubernetes]. TrustDomain and Node are needed, zero values of the others mean the defaults.
type KubernetesConfig struct {
	TrustDomain event.TrustDomain
	Node        string
	Template    event.IdentityTemplate
	Checkpoint  string        // file that keeps this node's pods over restarts; default: none
	Keep        time.Duration // how long a pod is known after it is gone; default 5 minutes
	MaxPods     int           // that are known, with those that are gone; default 4096
}

// Kubernetes knows the pods of this node by their cgroups: a [Source], told by PutPod, DeletePod and ReplacePods. It is safe for concurrent use.
type Kubernetes struct {
	cfg        KubernetesConfig
	generation atomic.Uint64
	dirty      chan struct{} // holds one if the checkpoint is older than the pods

	mu     sync.RWMutex // guards all below
	pods   map[string]*knownPod
	static map[string][]*knownPod // by the hash that names their cgroups

	overflow, refused, ambiguous uint64 // pods
	unusable, failed             uint64 // checkpoints
}

type knownPod struct {
	pod      Pod
	workload event.Workload // of all its containers, but for what differs between them
	gone     time.Time      // zero while it is there
}

// NewKubernetes makes a source that knows no pods but those of its checkpoint. A checkpoint that cannot be used is told in the log and counted.
func NewKubernetes(cfg KubernetesConfig) *Kubernetes {
	if cfg.Keep <= 0 {
		cfg.Keep = 5 * time.Minute
	}
	cfg.MaxPods = orDefault(cfg.MaxPods, 4096)
	k := &Kubernetes{
		cfg: cfg, dirty: make(chan struct{}, 1),
		pods: map[string]*knownPod{}, static: map[string][]*knownPod{},
	}
	k.restore()
	return k
}

// Workload names the pod that a cgroup belongs to. A pod that is not known (yet) has the identity of its cgroup, and says why. What the pod's
// status does not tell yet, such as the container's name, is left out.
func (k *Kubernetes) Workload(c Cgroup, p Process) (event.Workload, bool) {
	path, ok := parsePodPath(c.Path)
	if !ok {
		return event.Workload{}, false
	}
	w := k.pod(path)
	if w.Identity.IsZero() {
		w = event.Workload{
			Identity: event.CgroupIdentity(k.cfg.TrustDomain, k.cfg.Node, c.Path), Evidence: event.EvidenceCgroup, Unattributed: event.UnattributedPod,
		}
	}
	w.Executable, w.Interactive, w.UID = p.Executable, p.Interactive, p.UID
	return w, true
}

func (k *Kubernetes) pod(path podPath) event.Workload {
	k.mu.RLock()
	defer k.mu.RUnlock()
	known := k.pods[path.uid]
	if known == nil {
		known = k.claimant(path.uid)
	}
	if known == nil {
		return event.Workload{}
	}
	w := known.workload
	for i := range known.pod.Containers {
		if c := &known.pod.Containers[i]; c.ID == path.container && c.ID != "" {
			w.Container, w.Image = c.Name, readable(c.Image)
		}
	}
	return w
}

// Generation grows whenever answers may have changed.
func (k *Kubernetes) Generation() uint64 { return k.generation.Load() }

// Gauges says how many pods of this node are known, with those that are gone, and how often their checkpoint failed.
func (k *Kubernetes) Gauges() map[string]uint64 {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return map[string]uint64{
		"node-pods": uint64(len(k.pods)), "pod-checkpoint-unusable": k.unusable, "pod-checkpoint-failed": k.failed,
	}
}

// Counters says which pods could not be known since the start, by cause.
func (k *Kubernetes) Counters() map[string]uint64 {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return map[string]uint64{"pods-overflow": k.overflow, "pod-refused": k.refused, "static-pod-ambiguous": k.ambiguous}
}

// PutPod tells a pod's state. The pod belongs to k from here on.
func (k *Kubernetes) PutPod(p Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.put(p)
}

// DeletePod tells that a pod is gone. It is still known for a while: its last events are under way.
func (k *Kubernetes) DeletePod(uid string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if known := k.pods[uid]; known != nil && known.gone.IsZero() {
		known.gone = time.Now()
		k.changed()
	}
	k.forget()
}

// ReplacePods tells all pods that there are. Others are gone.
func (k *Kubernetes) ReplacePods(pods []Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	there := make(map[string]bool, len(pods))
	for i := range pods {
		there[pods[i].UID] = true
	}
	for uid, known := range k.pods {
		if !there[uid] && known.gone.IsZero() {
			known.gone = time.Now()
			k.changed()
		}
	}
	for i := range pods {
		k.put(pods[i])
	}
	k.forget()
}

func (k *Kubernetes) put(p Pod) {
	if err := p.validate(); err != nil { // the API server lets no such pod in
		k.refused++
		return
	}
	known := k.pods[p.UID]
	if known == nil && len(k.pods) >= k.cfg.MaxPods && !k.evict() {
		k.overflow++
		return
	}
	gone := time.Time{}
	if p.Ended {
		gone = time.Now()
	}
	switch {
	case known == nil:
		known = &knownPod{}
		k.pods[p.UID] = known
	case known.pod.same(&p):
		if known.gone.IsZero() == p.Ended {
			known.gone = gone
			k.changed()
		}
		return
	case p.Ended && !known.gone.IsZero():
		gone = known.gone
	}
	k.unclaim(known)
	*known = knownPod{p, k.describe(&p), gone}
	k.claim(known)
	k.generation.Add(1)
	k.changed()
}

// claim enters a static pod by its hash.
func (k *Kubernetes) claim(known *knownPod) {
	if !known.pod.static() {
		return
	}
	hash := known.pod.ConfigHash
	k.static[hash] = append(k.static[hash], known)
	if k.claimant(hash) == nil {
		k.ambiguous++
	}
}

func (k *Kubernetes) unclaim(known *knownPod) {
	hash := known.pod.ConfigHash
	others := slices.DeleteFunc(k.static[hash], func(o *knownPod) bool { return o == known })
	if len(others) == 0 {
		delete(k.static, hash)
	} else {
		k.static[hash] = others
	}
}

// claimant is the static pod that a hash names. The mirrors of one pod follow each other; two that are there at once cannot both be it.
func (k *Kubernetes) claimant(hash string) *knownPod {
	var one *knownPod
	for _, known := range k.static[hash] {
		switch {
		case one == nil || !one.gone.IsZero():
			one = known
		case known.gone.IsZero():
			return nil
		}
	}
	return one
}

// forget lets go of pods that have been gone for long.
func (k *Kubernetes) forget() {
	for _, known := range k.pods {
		if !known.gone.IsZero() && time.Since(known.gone) > k.cfg.Keep {
			k.remove(known)
		}
	}
}

// evict makes room for a pod: the one that has been gone for longest goes.
func (k *Kubernetes) evict() bool {
	var oldest *knownPod
	for _, known := range k.pods {
		if !known.gone.IsZero() && (oldest == nil || known.gone.Before(oldest.gone)) {
			oldest = known
		}
	}
	if oldest == nil {
		return false
	}
	k.remove(oldest)
	return true
}

func (k *Kubernetes) remove(known *knownPod) {
	k.unclaim(known)
	delete(k.pods, known.pod.UID)
	k.generation.Add(1)
}

func (k *Kubernetes) describe(p *Pod) event.Workload {
	w := event.Workload{
		Evidence: event.EvidenceKubernetes, Namespace: p.Namespace, Pod: p.Name, ServiceAccount: p.ServiceAccount, Owner: readable(p.Owner),
	}
	if p.ServiceAccount == "" { // nobody but this node vouches for a static pod; engines' own names hold no "/"
		w.Identity = event.ContainerIdentity(k.cfg.TrustDomain, k.cfg.Node, p.Namespace+"/"+p.Name)
	} else {
		w.Identity = k.cfg.Template.Identity(k.cfg.TrustDomain, p.Namespace, p.ServiceAccount, p.Name)
	}
	return w
}

// changed asks for a checkpoint.
func (k *Kubernetes) changed() {
	select {
	case k.dirty <- struct{}{}:
	default:
	}
}
