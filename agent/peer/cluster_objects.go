package peer

import (
	"net/netip"
	"slices"
	"strings"
	"unique"

	"github.com/ambit-nhi/ambit/event"
)

// Bounds of one object: what the API itself allows, or far above what is of use.
const (
	maxPodAddresses     = 16
	maxHostPorts        = 256
	maxServiceAddresses = 256
	maxServicePorts     = 1024
	maxSliceEndpoints   = 1000
	maxSlicePorts       = 100
	maxPortName         = 63
	maxNodeAddresses    = 64
	maxNodeRanges       = 16
)

type pod struct {
	uid         uid
	identity    unique.Handle[event.Identity]
	node        unique.Handle[string]
	namespace   unique.Handle[string]
	addresses   []netip.Addr
	hostPorts   []Port
	version     uint64
	mark        uint64
	created     int64
	finished    int64 // once it ended: the second in which it did; 0 where that is unknown
	host        bool
	terminating bool
}

type service struct {
	key          objectName
	name         string // db.shop.svc
	cluster      []netip.Addr
	external     []netip.Addr
	externalName string
	ports        []servicePort
	version      uint64
	mark         uint64
}

type servicePort struct {
	name unique.Handle[string]
	Port
	nodePort uint16
	shared   event.Identity // of all endpoints that take connections; zero where they have none in common
}

type slice struct {
	key       objectName
	service   objectName
	ports     []slicePort
	endpoints []endpoint
	version   uint64
	mark      uint64
	partial   bool // some endpoints were refused: what the others share means nothing
}

type slicePort struct {
	name unique.Handle[string]
	Port
}

// endpoint is one address of an endpoint.
type endpoint struct {
	address netip.Addr
	pod     uid // the zero handle for none
	use     use
}

// use says whether kube-proxy sends connections to an endpoint.
type use uint8

const (
	unused  use = iota
	leaving     // serving while it terminates: only where none is ready
	ready
)

type node struct {
	name      string
	addresses []netip.Addr
	ranges    []netip.Prefix
	version   uint64
	mark      uint64
	lost      bool
}

// addresses takes over addresses in one form, each once.
func (c *Cluster) addresses(from []netip.Addr, bound int) []netip.Addr {
	var to []netip.Addr
	for _, a := range from {
		a, ok := plain(a)
		switch {
		case !ok:
			c.counted.badAddress++
		case slices.Contains(to, a):
		case len(to) == bound:
			c.counted.tooMany++
		default:
			to = append(to, a)
		}
	}
	return slices.Clip(to)
}

// plain gives the form in which an address is known. Addresses that mean another host on each host, or many, are nobody's: no pod, service or node can
// have them, whatever its object says.
func plain(a netip.Addr) (netip.Addr, bool) {
	a = a.Unmap().WithZone("")
	ok := a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
	return a, ok
}

func clipped[T any](c *Cluster, from []T, bound int) []T {
	if len(from) > bound {
		c.counted.tooMany += uint64(len(from) - bound)
		from = from[:bound]
	}
	return from
}

// label says whether s is a DNS label (RFC 1123), as namespaces and services are called.
func label(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// subdomain says whether s is a DNS name, as pods, nodes and service accounts are called.
func subdomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if !label(part) {
			return false
		}
	}
	return true
}

// known reads a UID. It is an opaque text, by its API's promise unique over time.
func knownUID(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
