package kube

import (
	"math"
	"net/netip"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/ambit-nhi/ambit/agent/peer"
)

func convertService(o runtime.Object) *object {
	s := o.(*corev1.Service)
	told := &peer.Service{Namespace: s.Namespace, Name: s.Name, Version: version(&s.ObjectMeta)}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		told.ExternalName = s.Spec.ExternalName
	}
	addresses := s.Spec.ClusterIPs
	if len(addresses) == 0 {
		addresses = []string{s.Spec.ClusterIP}
	}
	for _, a := range addresses { // "None" is no address
		told.ClusterIPs = appendAddress(told.ClusterIPs, a)
	}
	for _, a := range s.Spec.ExternalIPs {
		told.External = appendAddress(told.External, a)
	}
	for _, i := range s.Status.LoadBalancer.Ingress {
		told.External = appendAddress(told.External, i.IP)
	}
	for _, p := range s.Spec.Ports {
		port, ok := portOf(p.Port, p.Protocol)
		if !ok {
			continue
		}
		node, _ := portOf(p.NodePort, p.Protocol)
		told.Ports = append(told.Ports, peer.ServicePort{Name: p.Name, Port: port, NodePort: node.Number})
	}
	return newObject(&s.ObjectMeta, key{s.Namespace, s.Name}, peer.Change{Service: told})
}

func convertSlice(o runtime.Object) *object {
	s := o.(*discoveryv1.EndpointSlice)
	told := &peer.EndpointSlice{Namespace: s.Namespace, Name: s.Name, Version: version(&s.ObjectMeta), Service: s.Labels[discoveryv1.LabelServiceName]}
	if told.Service == "" || s.AddressType == discoveryv1.AddressTypeFQDN {
		return newObject(&s.ObjectMeta, key{s.Namespace, s.Name}, peer.Change{})
	}
	for _, p := range s.Ports {
		if p.Port == nil {
			continue
		}
		protocol := corev1.ProtocolTCP
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		if port, ok := portOf(*p.Port, protocol); ok {
			named := peer.SlicePort{Port: port}
			if p.Name != nil {
				named.Name = *p.Name
			}
			told.Ports = append(told.Ports, named)
		}
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		c := e.Conditions
		endpoint := peer.Endpoint{
			Ready: c.Ready == nil || *c.Ready, Terminating: c.Terminating != nil && *c.Terminating,
		}
		endpoint.Serving = endpoint.Ready
		if c.Serving != nil {
			endpoint.Serving = *c.Serving
		}
		if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
			endpoint.Pod = string(e.TargetRef.UID)
		}
		for _, a := range e.Addresses {
			endpoint.Addresses = appendAddress(endpoint.Addresses, a)
		}
		told.Endpoints = append(told.Endpoints, endpoint)
	}
	return newObject(&s.ObjectMeta, key{s.Namespace, s.Name}, peer.Change{Slice: told})
}

func convertNode(o runtime.Object) *object {
	n := o.(*corev1.Node)
	told := &peer.Node{Name: n.Name, Version: version(&n.ObjectMeta)}
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
			told.Addresses = appendAddress(told.Addresses, a.Address)
		}
	}
	ranges := n.Spec.PodCIDRs
	if len(ranges) == 0 {
		ranges = []string{n.Spec.PodCIDR}
	}
	for _, r := range ranges {
		if p, err := netip.ParsePrefix(r); err == nil {
			told.PodRanges = append(told.PodRanges, p.Masked())
		}
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			told.Lost = c.Status == corev1.ConditionUnknown
		}
	}
	return newObject(&n.ObjectMeta, key{name: n.Name}, peer.Change{Node: told})
}

// portOf leaves out ports that are not set, and protocols that are not watched.
func portOf(number int32, protocol corev1.Protocol) (peer.Port, bool) {
	p := peer.Port{Number: uint16(number)}
	switch protocol {
	case corev1.ProtocolTCP, "":
		p.Protocol = unix.IPPROTO_TCP
	case corev1.ProtocolUDP:
		p.Protocol = unix.IPPROTO_UDP
	default:
		return peer.Port{}, false
	}
	if number < 1 || number > math.MaxUint16 {
		return peer.Port{}, false
	}
	return p, true
}
