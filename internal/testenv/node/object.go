package node

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const image = "registry.example/shop@sha256:0f3a54b1e5b6e1a8f3d0c1f2b4a69788cfe0a1d2b3c4d5e6f708192a3b4c5d6e"

// Create makes the object of a pod that is bound to the node and does not run yet.
func (n *Node) Create(ctx context.Context, spec PodSpec) (*Pod, error) {
	if spec.QoS == "" {
		spec.QoS = Burstable
	}
	if len(spec.Containers) == 0 {
		spec.Containers = []string{"app"}
	}
	spec.Labels = maps.Clone(spec.Labels)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: spec.Namespace, Name: spec.Name, Labels: spec.Labels},
		Spec:       podSpec(spec),
	}
	pod.Spec.NodeName = n.cfg.Name
	if spec.Owner != nil {
		pod.OwnerReferences = []metav1.OwnerReference{*spec.Owner}
	}
	made, err := n.Client.CoreV1().Pods(spec.Namespace).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("create pod: %w", err)
	}
	return &Pod{Spec: spec, UID: string(made.UID), n: n, object: made}, nil
}

func podSpec(spec PodSpec) corev1.PodSpec {
	out := corev1.PodSpec{ServiceAccountName: spec.ServiceAccount, HostNetwork: spec.HostNetwork}
	for i, name := range spec.Containers {
		c := corev1.Container{Name: name, Image: image}
		if i == 0 {
			for _, port := range spec.Ports {
				c.Ports = append(c.Ports, corev1.ContainerPort{ContainerPort: int32(port), Protocol: corev1.ProtocolTCP},
					corev1.ContainerPort{ContainerPort: int32(port), Protocol: corev1.ProtocolUDP})
			}
		}
		one := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi")}
		switch spec.QoS {
		case Guaranteed:
			c.Resources = corev1.ResourceRequirements{Requests: one, Limits: one}
		case Burstable:
			c.Resources = corev1.ResourceRequirements{Requests: one}
		}
		out.Containers = append(out.Containers, c)
	}
	return out
}

// Report tells the API server that the pod runs, and where.
func (p *Pod) Report(ctx context.Context) error {
	return p.report(ctx, corev1.PodRunning, func() corev1.ContainerState {
		return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: p.started}}
	})
}

// ReportEnd tells the API server that all containers have ended well. What was never reported to run, is told with its addresses for the first time.
func (p *Pod) ReportEnd(ctx context.Context) error {
	return p.report(ctx, corev1.PodSucceeded, func() corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: p.started, FinishedAt: metav1.Now()}}
	})
}

func (p *Pod) report(ctx context.Context, phase corev1.PodPhase, state func() corev1.ContainerState) error {
	running := phase == corev1.PodRunning
	status := &p.object.Status
	status.Phase, status.StartTime = phase, &p.started
	status.PodIP, status.HostIP = p.Addresses[0].String(), Address4.String()
	status.PodIPs = []corev1.PodIP{{IP: p.Addresses[0].String()}, {IP: p.Addresses[1].String()}}
	status.HostIPs = []corev1.HostIP{{IP: Address4.String()}, {IP: Address6.String()}}
	status.ContainerStatuses = nil
	for i, name := range p.Spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, corev1.ContainerStatus{
			Name: name, ContainerID: p.n.scheme() + p.ids[i], Image: image, ImageID: image, Ready: running, Started: &running, State: state(),
		})
	}
	ready := corev1.ConditionFalse
	if running {
		ready = corev1.ConditionTrue
	}
	status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.Now()}}
	updated, err := p.n.Client.CoreV1().Pods(p.Spec.Namespace).UpdateStatus(ctx, p.object, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("report pod: %w", err)
	}
	p.object = updated
	return nil
}

// Account makes a service account, and its namespace where there is none.
func (n *Node) Account(ctx context.Context, namespace, name string) error {
	_, err := n.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil && !exists(err) {
		return fmt.Errorf("create namespace: %w", err)
	}
	_, err = n.Client.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil && !exists(err) {
		return fmt.Errorf("create service account: %w", err)
	}
	return nil
}

func targetPort(port uint16) intstr.IntOrString { return intstr.FromInt32(int32(port)) }
