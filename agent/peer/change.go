package peer

import (
	"net/netip"
	"time"
)

// Change is the new state of one object of a cluster, or its end. Exactly one of the objects is set, or one of Begin and End.
//
// Changes of one object are given in the order in which they happened; what is older than what is known, by its Version, is refused. Objects of
// different kinds may come in any order. Objects are not kept, but their strings are; they are shared where they are equal.
type Change struct {
	Pod     *Pod
	Service *Service
	Slice   *EndpointSlice
	Node    *Node
	Deleted bool // the object is gone; only what names it is looked at

	// All objects of a kind may be told anew between Begin and End: those that were not told in between are gone.
	Begin, End Kind
}

// Kind is a kind of objects.
type Kind uint8

// The kinds.
const (
	KindPod Kind = iota + 1
	KindService
	KindSlice
	KindNode
)

// Pod is told from when it has a name and a service account on; addresses come later. It is known by its UID.
type Pod struct {
	UID, Namespace, Name string
	Version              uint64 // resource version; 0 is unknown
	ServiceAccount       string // empty for static pods
	Node                 string
	Addresses            []netip.Addr // status.podIPs
	HostNetwork          bool
	HostPorts            []Port // at its node's addresses: the containers' ports with HostNetwork, their host ports without

	// Ended: Succeeded, Failed, or being deleted with all its containers terminated. It has no address any more, and never will again.
	Ended       bool
	Terminating bool      // a deletion time is set
	Created     time.Time // by the API server's clock
	Finished    time.Time // with Ended: when its last container did, by the node's clock; zero where that is unknown
}

// Port is a port number at an address.
type Port struct {
	Number   uint16
	Protocol uint8 // IPPROTO_TCP or IPPROTO_UDP; ports of others are left out
}

// Service is known by namespace and name.
type Service struct {
	Namespace, Name string
	Version         uint64
	ClusterIPs      []netip.Addr // none for headless services ("None")
	External        []netip.Addr // externalIPs, and the addresses of the load balancer's ingress points
	ExternalName    string       // of type ExternalName only
	Ports           []ServicePort
}

// ServicePort is one port of a service.
type ServicePort struct {
	Name string // empty where a service has a single port
	Port
	NodePort uint16 // 0 for none
}

// EndpointSlice is known by namespace and name.
type EndpointSlice struct {
	Namespace, Name string
	Version         uint64
	Service         string      // label kubernetes.io/service-name; slices without are left out
	Ports           []SlicePort // those without a number are left out
	Endpoints       []Endpoint
}

// SlicePort is a port of all endpoints of a slice. Its name is that of the service's port.
type SlicePort struct {
	Name string
	Port
}

// Endpoint is one endpoint of a slice. Conditions that are unset count as in the API: ready, serving, not terminating.
type Endpoint struct {
	Addresses                   []netip.Addr
	Pod                         string // UID of the pod that it refers to, empty for others
	Ready, Serving, Terminating bool
}

// Node is known by its name.
type Node struct {
	Name      string
	Version   uint64
	Addresses []netip.Addr   // internal and external
	PodRanges []netip.Prefix // spec.podCIDRs; addresses in them are worth waiting for
	Lost      bool           // its condition Ready is Unknown: what it runs is no longer told
}
