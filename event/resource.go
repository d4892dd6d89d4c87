package event

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Protocol is the transport protocol of a connection.
type Protocol string

// The protocols that are watched.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

func (p Protocol) valid() bool { return p == TCP || p == UDP }

// ResourceKind says what a resource's name is.
type ResourceKind string

// The kinds of names, most stable first.
const (
	ResourceIdentity ResourceKind = "spiffe"  // the peer's own identity
	ResourceX509     ResourceKind = "x509"    // the peer's certificate subject
	ResourceDNS      ResourceKind = "dns"     // a verified SNI, or the name that this workload resolved
	ResourceService  ResourceKind = "service" // a Kubernetes service
	ResourceNode     ResourceKind = "node"    // a node of the cluster, by one of its own addresses
	ResourceNet      ResourceKind = "net"     // an address range
)

// Resource is what is reached, by the best stable name, with port and protocol. It is comparable with == and safe as a map key; making one
// from an observation does not allocate. Millions of them are held in memory, hence the one-byte words.
type Resource struct {
	name     string       // empty for ResourceNet
	prefix   netip.Prefix // ResourceNet only
	port     uint16
	kind     uint8 // index in resourceKinds
	protocol uint8 // index in protocols
}

const (
	kindIdentity = iota + 1
	kindX509
	kindDNS
	kindService
	kindNode
	kindNet
)

var (
	resourceKinds = [...]ResourceKind{"", ResourceIdentity, ResourceX509, ResourceDNS, ResourceService, ResourceNode, ResourceNet}
	protocols     = [...]Protocol{"", TCP, UDP}
)

func (p Protocol) index() uint8 { return uint8(max(slices.Index(protocols[:], p), 0)) }

// ResourceOf names what an observation reached: peer identity, else verified SNI, else the peer's name by its source, else its range or address.
// Where a connection was translated, port and address are those that were asked for: what a service is turned to changes, and is not always known.
func ResourceOf(o *Observation) Resource {
	r := Resource{port: o.Peer.Port, protocol: o.Protocol.index()}
	a := o.Peer.Address
	if o.Peer.Dialled.IsValid() {
		a, r.port = o.Peer.Dialled.Addr(), o.Peer.Dialled.Port()
	}
	switch {
	case !o.Peer.Identity.IsZero():
		r.kind, r.name = kindIdentity, o.Peer.Identity.uri
		if !strings.HasPrefix(r.name, "spiffe:") {
			r.kind = kindX509
		}
	case o.TLS != nil && o.TLS.Verified && o.TLS.SNI != "":
		r.kind, r.name = kindDNS, o.TLS.SNI
	case o.Peer.Name != "" && o.Peer.NameSource == NameService:
		r.kind, r.name = kindService, o.Peer.Name
	case o.Peer.Name != "" && o.Peer.NameSource == NameNode:
		r.kind, r.name = kindNode, o.Peer.Name
	case o.Peer.Name != "":
		r.kind, r.name = kindDNS, o.Peer.Name
	case o.Peer.Range != netip.Prefix{} && o.Peer.rangeValid():
		r.kind, r.prefix = kindNet, o.Peer.Range.Masked()
	default:
		a = a.Unmap().WithZone("")
		r.kind, r.prefix = kindNet, netip.PrefixFrom(a, a.BitLen())
	}
	return r
}

// ParseResource reads what [Resource.String] writes.
func ParseResource(s string) (Resource, error) {
	bad := func(why string) (Resource, error) {
		return Resource{}, fmt.Errorf("parse resource %q: %s; want, for example, dns:api.example.com:443/tcp or net:10.1.2.0/24:22/tcp", s, why)
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return bad("no port")
	}
	name, service := s[:i], s[i+1:]
	portText, protocol, ok := strings.Cut(service, "/")
	port, err := strconv.ParseUint(portText, 10, 16)
	if !ok || err != nil {
		return bad("port and protocol are not <number>/<tcp or udp>")
	}
	r := Resource{port: uint16(port), protocol: Protocol(protocol).index()}
	if r.protocol == 0 {
		return bad("protocol is neither tcp nor udp")
	}
	kind, rest, _ := strings.Cut(name, ":")
	r.kind = uint8(max(slices.Index(resourceKinds[:], ResourceKind(kind)), 0))
	switch r.kind {
	case kindIdentity, kindX509:
		if _, err := ParseIdentity(name); err != nil {
			return bad("no valid identity")
		}
		r.name = name
	case kindDNS, kindService, kindNode:
		if rest == "" {
			return bad("no name")
		}
		r.name = rest
	case kindNet:
		prefix, err := netip.ParsePrefix(rest)
		if err == nil && prefix.Addr().Is4In6() {
			prefix, err = prefix.Addr().Unmap().Prefix(prefix.Bits() - 96)
		}
		if err != nil {
			return bad("no valid address range")
		}
		r.prefix = prefix.Masked()
	default:
		return bad("kind is not spiffe, x509, dns, service, node or net")
	}
	return r, nil
}

// String is, for example, "dns:api.example.com:443/tcp", "spiffe://shop.example/ns/shop/sa/db:5432/tcp" or "net:10.1.2.0/24:22/tcp".
func (r Resource) String() string {
	if r == (Resource{}) {
		return ""
	}
	b := make([]byte, 0, 64)
	switch r.kind {
	case kindIdentity, kindX509:
		b = append(b, r.name...)
	case kindNet:
		b = append(b, "net:"...)
		b = r.prefix.AppendTo(b)
	default:
		b = append(b, r.Kind()...)
		b = append(b, ':')
		b = append(b, r.name...)
	}
	b = append(b, ':')
	b = strconv.AppendUint(b, uint64(r.port), 10)
	b = append(b, '/')
	b = append(b, r.Protocol()...)
	return string(b)
}

// Kind is the kind of name.
func (r Resource) Kind() ResourceKind { return resourceKinds[r.kind] }

// Name is the name without its kind, such as db.shop.svc, or the URI of an identity; empty for [ResourceNet].
func (r Resource) Name() string { return r.name }

// Prefix is the address range of a [ResourceNet], the zero prefix of others.
func (r Resource) Prefix() netip.Prefix { return r.prefix }

// Port is the service's port.
func (r Resource) Port() uint16 { return r.port }

// Protocol is the transport protocol.
func (r Resource) Protocol() Protocol { return protocols[r.protocol] }

// IsZero says whether there is no resource.
func (r Resource) IsZero() bool { return r == Resource{} }

// MarshalText implements [encoding.TextMarshaler].
func (r Resource) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; an empty text is the zero Resource.
func (r *Resource) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*r = Resource{}
		return nil
	}
	parsed, err := ParseResource(string(text))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}
