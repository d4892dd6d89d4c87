package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Service is a service of type ClusterIP, or headless, with one port. Its endpoints are what the test says they are.
type Service struct {
	Namespace string
	Name      string
	Addresses []netip.Addr // ClusterIPs; none if headless

	n        *Node
	port     uint16
	target   uint16
	protocol corev1.Protocol
	mu       sync.Mutex
	slices   []*discoveryv1.EndpointSlice // IPv4, IPv6
}

// ServiceSpec is a service to be.
type ServiceSpec struct {
	Namespace string
	Name      string
	Selector  map[string]string
	Protocol  string // tcp if empty
	Port      uint16
	Target    uint16 // Port if 0
	Headless  bool
}

// Service makes a service for both families, without endpoints.
func (n *Node) Service(ctx context.Context, spec ServiceSpec) (*Service, error) {
	if spec.Target == 0 {
		spec.Target = spec.Port
	}
	s := &Service{Namespace: spec.Namespace, Name: spec.Name, n: n, port: spec.Port, target: spec.Target, protocol: corev1.ProtocolTCP}
	if spec.Protocol == "udp" {
		s.protocol = corev1.ProtocolUDP
	}
	both := corev1.IPFamilyPolicyRequireDualStack
	object := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: spec.Name},
		Spec: corev1.ServiceSpec{
			Selector: spec.Selector, IPFamilyPolicy: &both,
			Ports: []corev1.ServicePort{{Protocol: s.protocol, Port: int32(spec.Port), TargetPort: targetPort(spec.Target)}},
		},
	}
	if spec.Headless {
		object.Spec.ClusterIP = corev1.ClusterIPNone
	}
	made, err := n.Client.CoreV1().Services(spec.Namespace).Create(ctx, object, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("create service: %w", err)
	}
	if !spec.Headless {
		for _, text := range made.Spec.ClusterIPs {
			address, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("create service: %w", err)
			}
			s.Addresses = append(s.Addresses, address)
		}
	}
	for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		port, protocol := int32(spec.Target), s.protocol
		slice, err := n.Client.DiscoveryV1().EndpointSlices(spec.Namespace).Create(ctx, &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				GenerateName: spec.Name + "-", Labels: map[string]string{discoveryv1.LabelServiceName: spec.Name},
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: spec.Name, UID: made.UID}},
			},
			AddressType: family, Ports: []discoveryv1.EndpointPort{{Name: new(string), Port: &port, Protocol: &protocol}},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("create endpoint slice: %w", err)
		}
		s.slices = append(s.slices, slice)
	}
	return s, nil
}

// At is where clients connect to, in one of the families.
func (s *Service) At(family int) netip.AddrPort {
	return netip.AddrPortFrom(s.Addresses[family], s.port)
}

// Protocol is tcp or udp.
func (s *Service) Protocol() string {
	if s.protocol == corev1.ProtocolUDP {
		return "udp"
	}
	return "tcp"
}

// Endpoints says which pods serve, and turns connections to them: first in the API, then in the packet filter.
func (s *Service) Endpoints(ctx context.Context, pods ...*Pod) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for family, slice := range s.slices {
		slice.Endpoints = nil
		for _, p := range pods {
			ready, node := true, s.n.cfg.Name
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{p.Addresses[family].String()}, NodeName: &node,
				Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready},
				TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: p.Spec.Namespace, Name: p.Spec.Name, UID: p.object.UID},
			})
		}
		updated, err := s.n.Client.DiscoveryV1().EndpointSlices(s.Namespace).Update(ctx, slice, metav1.UpdateOptions{})
		if err != nil {
			return fmt.Errorf("update endpoint slice: %w", err)
		}
		s.slices[family] = updated
	}
	for _, address := range s.Addresses {
		var backends []netip.AddrPort
		for _, p := range pods {
			family := slices.IndexFunc(p.Addresses[:], func(a netip.Addr) bool { return a.Is4() == address.Is4() })
			backends = append(backends, netip.AddrPortFrom(p.Addresses[family], s.target))
		}
		if err := s.n.Translate(s.Protocol(), netip.AddrPortFrom(address, s.port), backends...); err != nil {
			return err
		}
	}
	return nil
}

func exists(err error) bool { return apierrors.IsAlreadyExists(err) }
