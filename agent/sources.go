package agent

import (
	"context"
	"fmt"
	"maps"

	"github.com/ambit-nhi/ambit/agent/kube"
	"github.com/ambit-nhi/ambit/agent/peer"
	"github.com/ambit-nhi/ambit/agent/workload"
)

// sources are those who know workloads and addresses besides the node itself: the Kubernetes API and container engines.
type sources struct {
	workloads []workload.Source
	run       []func(context.Context) error
	changes   chan []peer.Change // of the cluster's addresses, for the agent's loop
	done      <-chan struct{}    // closed when nobody takes changes any more; set before anything runs
	synced    func() bool        // whether the cluster's addresses were told once; nil without a cluster

	soon func(cgroup string) bool // whether a cgroup's container may be known soon

	silences func() []kube.Silence // of the Kubernetes API; nil without a cluster

	missing  []func() []string
	counters []func() map[string]uint64
	gauges   []func() map[string]uint64
}

func newSources(cfg Config) (*sources, error) {
	s := &sources{changes: make(chan []peer.Change), soon: func(string) bool { return false }}
	if cfg.Kubernetes != nil {
		pods := workload.NewKubernetes(workload.KubernetesConfig{
			TrustDomain: cfg.TrustDomain, Template: cfg.Identity, Node: cfg.Node, Checkpoint: cfg.file("pods.json"),
		})
		watcher, err := kube.New(*cfg.Kubernetes, pods, s)
		if err != nil {
			return nil, fmt.Errorf("watch Kubernetes: %w", err)
		}
		s.workloads, s.synced, s.silences = append(s.workloads, pods), watcher.Synced, watcher.Silences
		s.run = append(s.run, watcher.Run, pods.Run)
		s.missing = append(s.missing, watcher.Missing)
		s.counters = append(s.counters, watcher.Counters, pods.Counters)
		s.gauges = append(s.gauges, watcher.Gauges, pods.Gauges)
	}
	if len(cfg.Engines) > 0 { // after Kubernetes, to which the containers of pods belong
		containers, err := workload.NewContainers(workload.ContainersConfig{TrustDomain: cfg.TrustDomain, Node: cfg.Node, Sockets: cfg.Engines})
		if err != nil {
			return nil, err
		}
		s.workloads = append(s.workloads, containers)
		s.soon = containers.Soon
		s.run = append(s.run, containers.Run)
		s.missing = append(s.missing, containers.Missing)
		s.counters = append(s.counters, containers.Counters)
		s.gauges = append(s.gauges, containers.Gauges)
	}
	return s, nil
}

// Apply hands changes of the cluster's addresses to the agent's loop, which first settles the edges that they are about. It waits until they are taken.
func (s *sources) Apply(changes []peer.Change) {
	select {
	case s.changes <- changes:
	case <-s.done:
	}
}

// starting says that the cluster's addresses were not told even once.
func (s *sources) starting() bool { return s.synced != nil && !s.synced() }

// told is what the sources cannot know at the moment, in words.
func (s *sources) told() (missing []string) {
	for _, f := range s.missing {
		missing = append(missing, f()...)
	}
	return missing
}

// gather adds the maps that functions give. Their names are different ones.
func gather(into map[string]uint64, from ...func() map[string]uint64) map[string]uint64 {
	for _, f := range from {
		maps.Copy(into, f())
	}
	return into
}
