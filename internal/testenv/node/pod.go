package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// QoS is a pod's class of quality of service, which is in its cgroup's name.
type QoS string

// The classes.
const (
	Guaranteed QoS = "guaranteed"
	Burstable  QoS = "burstable"
	BestEffort QoS = "besteffort"
)

// PodSpec is a pod to be. Empty fields: class Burstable, one container "app".
type PodSpec struct {
	Namespace      string
	Name           string
	ServiceAccount string
	Labels         map[string]string
	Owner          *metav1.OwnerReference
	HostNetwork    bool
	QoS            QoS
	Containers     []string
	Ports          []uint16 // that the first container declares, for TCP and UDP
}

// Pod is a pod of the node. Its life is, step by step, [Node.Create], Start, Report, Kill, ReportEnd, Release, Delete; [Node.Run] and Remove take them
// together in a kubelet's order.
type Pod struct {
	Spec      PodSpec
	UID       string
	Addresses [2]netip.Addr // of version 4 and 6; the node's for a pod in its network
	Programs  []*Program    // by container

	n         *Node
	object    *corev1.Pod
	ids       []string // of containers
	cgroup    string
	namespace *os.File
	host      string // the node's side of its pair of interfaces
	started   metav1.Time
}

// Run makes a pod that runs, and tells the API server so.
func (n *Node) Run(ctx context.Context, spec PodSpec) (*Pod, error) {
	p, err := n.Create(ctx, spec)
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	return p, p.Report(ctx)
}

// Start makes the pod's sandbox and starts its containers, in which the traffic program waits for orders.
func (p *Pod) Start() error {
	p.started = metav1.Now()
	p.cgroup = filepath.Join(p.n.cgroup, p.n.podCgroup(p.UID, p.Spec.QoS))
	if p.Spec.HostNetwork {
		p.Addresses = [2]netip.Addr{Address4, Address6}
	} else if err := p.connect(); err != nil {
		return fmt.Errorf("connect pod %s: %w", p.Spec.Name, err)
	}
	for _, container := range p.Spec.Containers {
		id := newContainerID()
		dir := filepath.Join(p.cgroup, p.n.containerCgroup(id))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make cgroup: %w", err)
		}
		program, err := p.n.startProgram(p.Spec.Namespace+"/"+p.Spec.Name+"/"+container, dir, p.namespace)
		if err != nil {
			return err
		}
		p.ids = append(p.ids, id)
		p.Programs = append(p.Programs, program)
	}
	return nil
}

func (p *Pod) connect() (err error) {
	p.Addresses = p.n.addresses.take()
	if p.namespace, err = p.n.spawner.newNamespace(); err != nil {
		return err
	}
	p.host, err = p.n.network.connect(p.namespace, p.Addresses)
	return err
}

// Kill ends the pod's processes and removes its cgroups and interfaces. The API server is not told, and its addresses stay taken.
func (p *Pod) Kill() error {
	for _, program := range p.Programs {
		program.kill()
	}
	errs := []error{removeCgroups(p.cgroup)}
	if p.namespace != nil {
		errs = append(errs, p.n.network.disconnect(p.host), p.namespace.Close())
	}
	return errors.Join(errs...)
}

// Release gives the pod's addresses back: the next pod gets them.
func (p *Pod) Release() {
	if !p.Spec.HostNetwork {
		p.n.addresses.give(p.Addresses)
	}
}

// Remove ends the pod and deletes its object, as a kubelet does when it is told to.
func (p *Pod) Remove(ctx context.Context) error {
	if err := p.Kill(); err != nil {
		return err
	}
	if err := p.ReportEnd(ctx); err != nil {
		return err
	}
	p.Release()
	return p.Delete(ctx)
}

// Delete deletes the pod's object at once.
func (p *Pod) Delete(ctx context.Context) error {
	at := int64(0)
	return p.n.Client.CoreV1().Pods(p.Spec.Namespace).Delete(ctx, p.Spec.Name, metav1.DeleteOptions{GracePeriodSeconds: &at})
}

// Cgroup is the path of a container's cgroup below the root of the hierarchy's mount that the test runs in.
func (p *Pod) Cgroup(container int) string {
	return filepath.Join(p.cgroup, p.n.containerCgroup(p.ids[container]))
}
