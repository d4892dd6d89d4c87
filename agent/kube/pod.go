package kube

import (
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/ambit-nhi/ambit/agent/peer"
	"github.com/ambit-nhi/ambit/agent/workload"
)

// Annotations that kubelet gives the API's mirror of a static pod.
const (
	mirrorAnnotation = "kubernetes.io/config.mirror"
	hashAnnotation   = "kubernetes.io/config.hash"
)

func convertPod(o runtime.Object) *object {
	p := o.(*corev1.Pod)
	ended := podEnded(p)
	told := &peer.Pod{
		UID: string(p.UID), Namespace: p.Namespace, Name: p.Name, Version: version(&p.ObjectMeta), ServiceAccount: p.Spec.ServiceAccountName,
		Node: p.Spec.NodeName, HostNetwork: p.Spec.HostNetwork, HostPorts: hostPorts(&p.Spec), Ended: ended, Terminating: p.DeletionTimestamp != nil,
		Created: p.CreationTimestamp.Time,
	}
	for _, ip := range p.Status.PodIPs {
		told.Addresses = appendAddress(told.Addresses, ip.IP)
	}
	if len(p.Status.PodIPs) == 0 {
		told.Addresses = appendAddress(told.Addresses, p.Status.PodIP)
	}
	if ended {
		told.Finished = podFinished(&p.Status)
	}
	converted := newObject(&p.ObjectMeta, key{name: told.UID}, peer.Change{Pod: told})
	if p.Spec.NodeName != "" {
		converted.owned = convertOwned(p, ended)
	}
	return converted
}

func convertOwned(p *corev1.Pod, ended bool) *owned {
	w := &owned{node: p.Spec.NodeName, pod: workload.Pod{
		UID: string(p.UID), Namespace: p.Namespace, Name: p.Name, ServiceAccount: p.Spec.ServiceAccountName, HostNetwork: p.Spec.HostNetwork, Ended: ended,
	}}
	if p.Annotations[mirrorAnnotation] != "" {
		w.pod.ConfigHash = p.Annotations[hashAnnotation]
	}
	w.pod.Owner, w.controller = ownerOf(&p.ObjectMeta)
	for status := range containers(&p.Status) {
		add := func(id, imageID string) {
			if _, id, ok := strings.Cut(id, "://"); ok && id != "" {
				w.pod.Containers = append(w.pod.Containers, workload.PodContainer{Name: status.Name, ID: id, Image: imageOf(status.Image, imageID)})
			}
		}
		add(status.ContainerID, status.ImageID)
		if last := status.LastTerminationState.Terminated; last != nil && last.ContainerID != status.ContainerID {
			add(last.ContainerID, "") // its last events may be under way, and the image may have been another
		}
	}
	return w
}

// containers are those of every kind.
func containers(s *corev1.PodStatus) func(func(*corev1.ContainerStatus) bool) {
	return func(yield func(*corev1.ContainerStatus) bool) {
		for _, kind := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
			for i := range kind {
				if !yield(&kind[i]) {
					return
				}
			}
		}
	}
}

// imageOf prefers the name with the digest. Engines give it with a scheme, or only the hash of the image's configuration, which names nothing.
func imageOf(image, id string) string {
	if _, rest, ok := strings.Cut(id, "://"); ok {
		id = rest
	}
	switch {
	case strings.Contains(id, "@sha256:"):
		return id
	case strings.HasPrefix(image, "sha256:"):
		return ""
	}
	return image
}

// podEnded says that a pod has no address any more: it ran to its end, or is being deleted and nothing of it runs.
func podEnded(p *corev1.Pod) bool {
	switch {
	case p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
		return true
	case p.DeletionTimestamp == nil || len(p.Status.ContainerStatuses) == 0 || len(p.Status.ContainerStatuses) < len(p.Spec.Containers):
		return false
	}
	for i := range p.Status.ContainerStatuses {
		if p.Status.ContainerStatuses[i].State.Terminated == nil {
			return false
		}
	}
	for status := range containers(&p.Status) {
		if status.State.Running != nil {
			return false
		}
	}
	return true
}

func podFinished(s *corev1.PodStatus) (last time.Time) {
	for status := range containers(s) {
		if t := status.State.Terminated; t != nil && t.FinishedAt.After(last) {
			last = t.FinishedAt.Time
		}
	}
	return last
}

// hostPorts are the ports that a pod has at its node's addresses: at all of them. What has a port at one address only is not the one at the others.
func hostPorts(s *corev1.PodSpec) (ports []peer.Port) {
	for _, kind := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range kind {
			for _, p := range kind[i].Ports {
				number := p.HostPort
				if s.HostNetwork {
					number = p.ContainerPort
				}
				if a, err := netip.ParseAddr(p.HostIP); err == nil && !a.IsUnspecified() {
					continue
				}
				if port, ok := portOf(number, p.Protocol); ok {
					ports = append(ports, port)
				}
			}
		}
	}
	return ports
}

// appendAddress leaves out what is no address.
func appendAddress(to []netip.Addr, text string) []netip.Addr {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return to
	}
	return append(to, a.Unmap())
}
