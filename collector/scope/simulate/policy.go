package simulate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ambit-nhi/ambit/event"
)

// Flow is one connection of a workload that has the identity.
type Flow struct {
	Identity  event.Identity
	Direction event.Direction
	Resource  event.Resource // what is reached, or who connects, with the port that is connected to
}

// Policy is a policy that was read.
type Policy struct {
	kind string
	spec map[string]any
	in   string // namespace
}

// Read reads one policy strictly.
func Read(data []byte) (*Policy, error) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("read a policy: %w", err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("read a policy: there is more than one document")
	}
	version, _ := m["apiVersion"].(string)
	kind, _ := m["kind"].(string)
	s, ok := shapes[version+" "+kind]
	if !ok {
		return nil, fmt.Errorf("read a policy: %.60q is no kind that is known", version+" "+kind)
	}
	if err := s.check("policy", m); err != nil {
		return nil, fmt.Errorf("read a policy: %w", err)
	}
	p := &Policy{kind: kind}
	if kind == "" {
		p.spec = m["resourcePolicy"].(map[string]any)
		return p, nil
	}
	p.spec, p.in = m["spec"].(map[string]any), m["metadata"].(map[string]any)["namespace"].(string)
	return p, nil
}

// Allows says whether a connection is allowed while this policy is the only one.
func (p *Policy) Allows(f Flow) bool {
	switch p.kind {
	case "NetworkPolicy":
		return p.kubernetes(&f)
	case "CiliumNetworkPolicy":
		return p.cilium(&f)
	case "StagedNetworkPolicy":
		return p.calico(&f)
	case "AuthorizationPolicy":
		return p.istio(&f)
	}
	return p.cerbos(&f)
}

// account reads ns/<namespace>/sa/<name>.
func account(uri string) (namespace, name string) {
	part := strings.Split(uri, "/") // spiffe: "" domain ns x sa y
	if len(part) == 7 && part[3] == "ns" && part[5] == "sa" {
		return part[4], part[6]
	}
	return "", ""
}

// labelsOf are the labels that pods of an account have for each of the systems.
func labelsOf(namespace, name string) map[string]string {
	if name == "" {
		return nil
	}
	return map[string]string{
		"ambit.dev/service-account": name, "kubernetes.io/metadata.name": namespace,
		"io.cilium.k8s.policy.serviceaccount": name, "k8s:io.cilium.k8s.policy.serviceaccount": name, "k8s:io.kubernetes.pod.namespace": namespace,
	}
}

func get(v any, names ...string) any {
	for _, name := range names {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

func items(v any, names ...string) []any {
	out, _ := get(v, names...).([]any)
	return out
}

// selects says whether a selector fits labels; an empty one fits all, a missing one as absent says.
func selects(sel any, labels map[string]string, absent bool) bool {
	if sel == nil {
		return absent
	}
	if labels == nil {
		return false
	}
	want, _ := get(sel, "matchLabels").(map[string]any)
	for key, v := range want {
		if labels[key] != v {
			return false
		}
	}
	return true
}

func (f *Flow) inside(cidr any) bool {
	p, err := netip.ParsePrefix(fmt.Sprint(cidr))
	r := f.Resource.Prefix()
	return err == nil && f.Resource.Kind() == event.ResourceNet && p.Bits() <= r.Bits() && p.Contains(r.Addr())
}

func (f *Flow) peer() map[string]string {
	if f.Resource.Kind() != event.ResourceIdentity {
		return nil
	}
	return labelsOf(account(f.Resource.Name()))
}

func (f *Flow) protocol() string { return strings.ToUpper(string(f.Resource.Protocol())) }

// own says whether the policy holds for the identity.
func (p *Policy) own(f *Flow, sel any) bool {
	namespace, name := account(f.Identity.String())
	return namespace == p.in && selects(sel, labelsOf(namespace, name), true)
}

func (p *Policy) kubernetes(f *Flow) bool {
	side, rules, peers := "Egress", "egress", "to"
	if f.Direction == event.Inbound {
		side, rules, peers = "Ingress", "ingress", "from"
	}
	if !p.own(f, p.spec["podSelector"]) || !slices.Contains(items(p.spec, "policyTypes"), any(side)) {
		return true
	}
	for _, rule := range items(p.spec, rules) {
		port := get(rule, "ports") == nil
		for _, x := range items(rule, "ports") {
			port = port || get(x, "protocol") == f.protocol() && get(x, "port") == int(f.Resource.Port())
		}
		to := get(rule, peers) == nil
		for _, x := range items(rule, peers) {
			if block := get(x, "ipBlock"); block != nil {
				to = to || f.inside(get(block, "cidr")) && !slices.ContainsFunc(items(block, "except"), f.inside)
				continue
			}
			labels := f.peer()
			to = to || selects(get(x, "namespaceSelector"), labels, labels["kubernetes.io/metadata.name"] == p.in) && selects(get(x, "podSelector"), labels, true)
		}
		if port && to {
			return true
		}
	}
	return false
}

func (p *Policy) cilium(f *Flow) bool {
	side := "egress"
	if f.Direction == event.Inbound {
		side = "ingress"
	}
	deny, said := get(p.spec, "enableDefaultDeny", side).(bool)
	if !said {
		deny = len(items(p.spec, side)) > 0
	}
	if !p.own(f, p.spec["endpointSelector"]) || !deny {
		return true
	}
	for _, rule := range items(p.spec, side) {
		port := get(rule, "toPorts") == nil
		for _, group := range items(rule, "toPorts") {
			for _, x := range items(group, "ports") {
				protocol := get(x, "protocol")
				port = port || get(x, "port") == strconv.Itoa(int(f.Resource.Port())) && (protocol == f.protocol() || protocol == "ANY" || protocol == nil)
			}
		}
		if port && ciliumPeer(f, rule) {
			return true
		}
	}
	return false
}

func ciliumPeer(f *Flow, rule any) bool {
	for _, names := range []string{"toEndpoints", "fromEndpoints"} {
		for _, sel := range items(rule, names) {
			if selects(sel, f.peer(), false) {
				return true
			}
		}
	}
	for _, names := range []string{"toCIDR", "fromCIDR"} {
		if slices.ContainsFunc(items(rule, names), f.inside) {
			return true
		}
	}
	for _, x := range items(rule, "toFQDNs") {
		name := strings.TrimSuffix(strings.ToLower(f.Resource.Name()), ".")
		if f.Resource.Kind() != event.ResourceDNS {
			break
		}
		if get(x, "matchName") == name {
			return true
		}
		if like, ok := get(x, "matchPattern").(string); ok {
			if regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(like), `\*`, `[-a-z0-9_]*`) + "$").MatchString(name) {
				return true
			}
		}
	}
	for _, x := range items(rule, "toServices") {
		if f.isService(get(x, "k8sService", "serviceName"), get(x, "k8sService", "namespace")) {
			return true
		}
	}
	return false
}

func (f *Flow) isService(name, namespace any) bool {
	part := strings.Split(f.Resource.Name(), ".")
	return f.Resource.Kind() == event.ResourceService && len(part) >= 2 && part[0] == name && part[1] == namespace
}

// calicoName is the name in a selector of the one form that is known.
func calicoName(sel any) string {
	text, _ := sel.(string)
	_, text, _ = strings.Cut(text, "'")
	return strings.TrimSuffix(text, "'")
}

func (p *Policy) calico(f *Flow) bool {
	side, rules := "Egress", "egress"
	if f.Direction == event.Inbound {
		side, rules = "Ingress", "ingress"
	}
	namespace, name := account(f.Identity.String())
	if namespace != p.in || name != calicoName(p.spec["serviceAccountSelector"]) || !slices.Contains(items(p.spec, "types"), any(side)) {
		return true
	}
	for _, rule := range items(p.spec, rules) {
		peer := get(rule, "destination")
		if f.Direction == event.Inbound {
			peer = get(rule, "source")
		}
		ports := items(rule, "destination", "ports")
		switch protocol := get(rule, "protocol"); {
		case get(rule, "action") != "Allow":
		case protocol != nil && protocol != f.protocol():
		case ports != nil && !slices.Contains(ports, any(int(f.Resource.Port()))):
		case calicoPeerFits(f, peer):
			return true
		}
	}
	return false
}

func calicoPeerFits(f *Flow, peer any) bool {
	if service := get(peer, "services"); service != nil {
		return f.isService(get(service, "name"), get(service, "namespace"))
	}
	if nets := items(peer, "nets"); nets != nil {
		return slices.ContainsFunc(nets, f.inside)
	}
	labels := f.peer()
	names := items(peer, "serviceAccounts", "names")
	if in := get(peer, "namespaceSelector"); in != nil && labels["kubernetes.io/metadata.name"] != calicoName(in) {
		return false
	}
	return labels != nil && slices.Contains(names, any(labels["ambit.dev/service-account"]))
}

func (p *Policy) istio(f *Flow) bool {
	if f.Direction == event.Outbound || !p.own(f, p.spec["selector"]) {
		return true
	}
	for _, rule := range items(p.spec, "rules") {
		from, to := get(rule, "from") == nil, get(rule, "to") == nil
		for _, x := range items(rule, "from") {
			who := items(x, "source", "principals")
			from = from || who != nil && f.Resource.Kind() == event.ResourceIdentity && slices.Contains(who, any(strings.TrimPrefix(f.Resource.Name(), "spiffe://"))) ||
				slices.ContainsFunc(items(x, "source", "ipBlocks"), f.inside)
		}
		for _, x := range items(rule, "to") {
			to = to || slices.Contains(items(x, "operation", "ports"), any(strconv.Itoa(int(f.Resource.Port()))))
		}
		if from && to && f.Resource.Protocol() == event.TCP {
			return p.spec["action"] == "ALLOW"
		}
	}
	return false
}

// The expressions of Cerbos policies that are known.
var (
	matchesID = regexp.MustCompile(`^spiffeMatchExact\(spiffeID\(("(?:[^"\\]|\\.)*")\)\)\.matchesID\(spiffeID\(P\.id\)\)$`)
	equalsID  = regexp.MustCompile(`^P\.id == ("(?:[^"\\]|\\.)*")$`)
	resources = regexp.MustCompile(`^R\.attr\.resource in \[("(?:[^"\\]|\\.)*"(?:, "(?:[^"\\]|\\.)*")*)\]$`)
	quoted    = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
)

func (p *Policy) cerbos(f *Flow) bool {
	action := "connect"
	if f.Direction == event.Inbound {
		action = "accept"
	}
	for _, rule := range items(p.spec, "rules") {
		if get(rule, "effect") != "EFFECT_ALLOW" || !slices.Contains(items(rule, "actions"), any(action)) {
			continue
		}
		all := true
		for _, x := range items(rule, "condition", "match", "all", "of") {
			all = all && holds(fmt.Sprint(get(x, "expr")), f)
		}
		if all {
			return true
		}
	}
	return false // Cerbos denies what no rule allows
}

func holds(expr string, f *Flow) bool {
	is := func(literal, text string) bool {
		said, err := strconv.Unquote(literal)
		return err == nil && said == text
	}
	if m := matchesID.FindStringSubmatch(expr); m != nil {
		return is(m[1], f.Identity.String())
	}
	if m := equalsID.FindStringSubmatch(expr); m != nil {
		return is(m[1], f.Identity.String())
	}
	if m := resources.FindStringSubmatch(expr); m != nil {
		return slices.ContainsFunc(quoted.FindAllString(m[1], -1), func(literal string) bool { return is(literal, f.Resource.String()) })
	}
	return false
}
