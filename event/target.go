package event

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// TargetKind says what a decision is toward.
type TargetKind string

// The kinds of targets.
const (
	TargetAny      TargetKind = "any"      // everything: a quarantine
	TargetIdentity TargetKind = "identity" // a peer
	TargetDNS      TargetKind = "dns"      // the addresses that a name was resolved to
	TargetService  TargetKind = "service"  // a Kubernetes service, as name.namespace
	TargetNet      TargetKind = "net"      // an address range
	TargetPort     TargetKind = "port"     // a port, wherever
)

// Target is what a decision is toward. It is comparable with ==.
type Target struct {
	Kind     TargetKind
	Identity Identity     // TargetIdentity only
	Name     string       // TargetDNS, TargetService; lower case, without a dot at its end
	Prefix   netip.Prefix // TargetNet; masked, and of IPv4 where it was mapped
	Port     uint16       // 0: any
	Protocol Protocol     // empty: any
}

// maxHost is the longest DNS name, in bytes.
const maxHost = 253

// ParseTarget reads what a decision is toward:
//
//   - everything
//     spiffe://shop.example/ns/shop/sa/db  a peer, by its identity
//     dns:api.example.com                  the addresses of a name
//     svc:db.shop                          a Kubernetes service, by name and namespace
//     net:10.1.2.0/24                      an address range
//     port:22                              a port, wherever
//
// Behind each, :PORT, :PORT/tcp or :PORT/udp may say more, and :* is any port of a protocol, as in dns:api.example.com:*/udp. What findings have for a
// resource is a target too, but for nodes.
func ParseTarget(s string) (Target, error) {
	bad := func(format string, args ...any) (Target, error) {
		return Target{}, fmt.Errorf("target %q %s", short(s), fmt.Sprintf(format, args...))
	}
	if len(s) > maxDecisionTarget {
		return bad("is longer than %d bytes", maxDecisionTarget)
	}
	if s == "*" {
		return Target{Kind: TargetAny}, nil
	}
	scheme, rest, _ := strings.Cut(s, ":")
	var t Target
	var err error
	switch scheme {
	case "*":
		t.Kind = TargetAny
		err = t.service(rest)
	case "port":
		t.Kind = TargetPort
		if err = t.service(rest); err == nil && t.Port == 0 {
			err = errors.New("names no port")
		}
	case "spiffe":
		t.Kind = TargetIdentity
		name, service, ok := strings.Cut(rest, ":") // SPIFFE IDs hold no colon
		if ok {
			err = t.service(service)
		}
		if err == nil {
			t.Identity, err = ParseIdentity(scheme + ":" + name)
		}
	case "x509":
		// A subject may hold anything, so the port is not optional.
		t.Kind = TargetIdentity
		i := strings.LastIndexByte(rest, ':')
		if i < 0 {
			return bad("names no port; write :* for any")
		}
		if err = t.service(rest[i+1:]); err == nil {
			t.Identity, err = ParseIdentity(scheme + ":" + rest[:i])
		}
	case "dns":
		t.Kind = TargetDNS
		err = t.host(rest)
	case "svc", "service":
		t.Kind = TargetService
		if err = t.host(rest); err == nil {
			if labels := strings.SplitN(t.Name, ".", 4); len(labels) < 2 || len(labels) > 2 && labels[2] != "svc" {
				err = errors.New("is not svc:NAME.NAMESPACE")
			}
			t.Name = serviceName(t.Name)
		}
	case "net":
		t.Kind = TargetNet
		err = t.network(rest)
	default:
		return bad("is not *, or of spiffe:// dns: svc: net: port:, as in dns:api.example.com:443/tcp")
	}
	if err != nil {
		return bad("%v", err)
	}
	return t, nil
}

// service reads <port or *>[/<protocol>].
func (t *Target) service(s string) error {
	port, protocol, ok := strings.Cut(s, "/")
	if ok {
		if t.Protocol = Protocol(protocol); !t.Protocol.valid() {
			return fmt.Errorf("has the protocol %q, which is neither tcp nor udp", short(protocol))
		}
	}
	if port == "*" {
		return nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || port[0] == '0' {
		return fmt.Errorf("has the port %q, which is not from 1 to 65535, or *", short(port))
	}
	t.Port = uint16(n)
	return nil
}

// host reads <name>[:<service>].
func (t *Target) host(s string) error {
	name, service, ok := strings.Cut(s, ":")
	if ok {
		if err := t.service(service); err != nil {
			return err
		}
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if len(name) > maxHost {
		return fmt.Errorf("has a name longer than %d bytes", maxHost)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return errors.New("has no valid name")
		}
		for _, c := range []byte(label) {
			if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return fmt.Errorf("has a name with %q, which is no letter, digit, - or _", c)
			}
		}
	}
	t.Name = name
	return nil
}

// network reads <range>[:<service>]. An IPv6 address needs its length: without, nobody knows where it ends and a port begins.
func (t *Target) network(s string) error {
	address, tail, slash := strings.Cut(s, "/")
	service, has := "", false
	if a, err := netip.ParseAddr(address); err == nil && slash && a.Is6() || err == nil && a.Is4() && slash {
		bits, more, colon := strings.Cut(tail, ":")
		service, has = more, colon
		if t.Prefix, err = netip.ParsePrefix(address + "/" + bits); err != nil {
			return errors.New("has no valid address range")
		}
	} else {
		address, service, has = strings.Cut(s, ":")
		a, err := netip.ParseAddr(address)
		if err != nil || !a.Is4() {
			return errors.New("has no valid address range; IPv6 needs a length, as in net:fd00::1/128:443/tcp")
		}
		t.Prefix = netip.PrefixFrom(a, 32)
	}
	if p := t.Prefix; p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return errors.New("is a range of mapped IPv4 and other addresses; write the IPv4 range")
		}
		t.Prefix = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	t.Prefix = t.Prefix.Masked()
	if has {
		return t.service(service)
	}
	return nil
}

// String is the target in the form that [ParseTarget] reads.
func (t Target) String() string {
	var b strings.Builder
	switch t.Kind {
	case TargetAny:
		b.WriteByte('*')
	case TargetIdentity:
		b.WriteString(t.Identity.uri)
	case TargetDNS:
		b.WriteString("dns:" + t.Name)
	case TargetService:
		b.WriteString("svc:" + t.Name)
	case TargetNet:
		b.WriteString("net:" + t.Prefix.String())
	case TargetPort:
		b.WriteString("port")
	default:
		return ""
	}
	switch {
	case t.Port != 0:
		b.WriteString(":" + strconv.Itoa(int(t.Port)))
	case t.Protocol != "" || strings.HasPrefix(t.Identity.uri, "x509:"):
		b.WriteString(":*")
	}
	if t.Protocol != "" {
		b.WriteString("/" + string(t.Protocol))
	}
	return b.String()
}

// Covers says whether a resource is what the target names. Names are compared, and addresses with ranges; what a name resolves to, only a node knows.
func (t Target) Covers(r Resource) bool {
	if r.IsZero() || t.Port != 0 && t.Port != r.port || t.Protocol != "" && t.Protocol != r.Protocol() {
		return false
	}
	switch t.Kind {
	case TargetAny, TargetPort:
		return true
	case TargetIdentity:
		return (r.kind == kindIdentity || r.kind == kindX509) && r.name == t.Identity.uri
	case TargetDNS:
		return r.kind == kindDNS && strings.EqualFold(strings.TrimSuffix(r.name, "."), t.Name)
	case TargetService:
		return r.kind == kindService && serviceName(r.name) == t.Name
	case TargetNet:
		return r.kind == kindNet && r.prefix.Addr().BitLen() == t.Prefix.Addr().BitLen() && r.prefix.Bits() >= t.Prefix.Bits() && t.Prefix.Contains(r.prefix.Addr())
	}
	return false
}

// serviceName is name.namespace of a service's name, which has svc and the cluster's domain behind them in places.
func serviceName(s string) string {
	name, rest, _ := strings.Cut(strings.ToLower(s), ".")
	namespace, _, _ := strings.Cut(rest, ".")
	return name + "." + namespace
}

// TargetOf is how a decision names what a finding has for a resource; empty where it cannot.
func TargetOf(r Resource) string {
	text := r.String()
	if name, ok := strings.CutPrefix(text, "service:"); ok {
		text = "svc:" + strings.Replace(name, ".svc:", ":", 1)
	}
	if _, err := ParseTarget(text); r.IsZero() || err != nil {
		return ""
	}
	return text
}
