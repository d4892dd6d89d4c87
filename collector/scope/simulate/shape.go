package simulate

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// shape says what a value of YAML must be.
type shape interface {
	check(at string, v any) error
}

type (
	text   struct{ like *regexp.Regexp }
	words  []string
	number struct{ least, most int }
	flag   struct{}
	prefix struct{}
	list   struct {
		of    shape
		least int
	}
	pairs  struct{ key, value shape }
	object struct {
		fields   map[string]shape
		required []string
		oneOf    []string // of which there is one at most
	}
)

func wrong(at, format string, args ...any) error {
	return fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...))
}

func (s text) check(at string, v any) error {
	t, ok := v.(string)
	if !ok || s.like != nil && !s.like.MatchString(t) {
		return wrong(at, "%.60q does not fit %v", fmt.Sprint(v), s.like)
	}
	return nil
}

func (s words) check(at string, v any) error {
	if t, ok := v.(string); !ok || !slices.Contains(s, t) {
		return wrong(at, "%.60q is not one of %s", fmt.Sprint(v), strings.Join(s, ", "))
	}
	return nil
}

func (s number) check(at string, v any) error {
	if n, ok := v.(int); !ok || n < s.least || n > s.most {
		return wrong(at, "%v is not a number from %d to %d", v, s.least, s.most)
	}
	return nil
}

func (flag) check(at string, v any) error {
	if _, ok := v.(bool); !ok {
		return wrong(at, "%v is not true or false", v)
	}
	return nil
}

func (prefix) check(at string, v any) error {
	t, _ := v.(string)
	p, err := netip.ParsePrefix(t)
	if err != nil || p != p.Masked() {
		return wrong(at, "%.60q is no range of addresses", fmt.Sprint(v))
	}
	return nil
}

func (s list) check(at string, v any) error {
	items, ok := v.([]any)
	if !ok || len(items) < s.least {
		return wrong(at, "it is no list of at least %d", s.least)
	}
	for i, item := range items {
		if err := s.of.check(fmt.Sprintf("%s[%d]", at, i), item); err != nil {
			return err
		}
	}
	return nil
}

func (s pairs) check(at string, v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		return wrong(at, "it is no map")
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if err := s.key.check(at, key); err != nil {
			return err
		}
		if err := s.value.check(at+"."+key, m[key]); err != nil {
			return err
		}
	}
	return nil
}

func (s object) check(at string, v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		return wrong(at, "it is no object")
	}
	for _, name := range s.required {
		if _, ok := m[name]; !ok {
			return wrong(at, "%s is missing", name)
		}
	}
	one := 0
	for _, key := range slices.Sorted(maps.Keys(m)) {
		field, ok := s.fields[key]
		if !ok {
			return wrong(at, "%.40q is not known", key)
		}
		if slices.Contains(s.oneOf, key) {
			one++
		}
		if err := field.check(at+"."+key, m[key]); err != nil {
			return err
		}
	}
	if one > 1 {
		return wrong(at, "more than one of %s are set", strings.Join(s.oneOf, ", "))
	}
	return nil
}

// What objects of Kubernetes have in common.
var (
	name       = text{regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)}
	labelKey   = text{regexp.MustCompile(`^(k8s:)?([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)}
	labelValue = text{regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$`)}
	selector   = object{fields: map[string]shape{"matchLabels": pairs{labelKey, labelValue}}}
	portText   = text{regexp.MustCompile(`^[1-9][0-9]{0,4}$`)}
	metadata   = object{fields: map[string]shape{"name": name, "namespace": name, "annotations": pairs{labelKey, text{}}}, required: []string{"name", "namespace"}}
)

// shapes by apiVersion and kind, as their systems document them.
var shapes = map[string]shape{
	"networking.k8s.io/v1 NetworkPolicy": object{
		fields: map[string]shape{"apiVersion": text{}, "kind": text{}, "metadata": metadata, "spec": object{
			fields: map[string]shape{
				"podSelector": selector, "policyTypes": list{words{"Ingress", "Egress"}, 1},
				"egress":  list{object{fields: map[string]shape{"to": list{k8sPeer, 1}, "ports": list{k8sPort, 1}}}, 0},
				"ingress": list{object{fields: map[string]shape{"from": list{k8sPeer, 1}, "ports": list{k8sPort, 1}}}, 0},
			}, required: []string{"podSelector"},
		}}, required: []string{"metadata", "spec"},
	},
	"cilium.io/v2 CiliumNetworkPolicy": object{
		fields: map[string]shape{"apiVersion": text{}, "kind": text{}, "metadata": metadata, "spec": object{
			fields: map[string]shape{
				"description": text{}, "endpointSelector": selector,
				"enableDefaultDeny": object{fields: map[string]shape{"egress": flag{}, "ingress": flag{}}},
				"egress": list{object{fields: map[string]shape{
					"toEndpoints": list{selector, 1}, "toCIDR": list{prefix{}, 1}, "toPorts": list{ciliumPorts, 1},
					"toFQDNs":    list{fqdn, 1},
					"toServices": list{object{fields: map[string]shape{"k8sService": object{fields: map[string]shape{"serviceName": name, "namespace": name}, required: []string{"serviceName"}}}}, 1},
				}, oneOf: []string{"toEndpoints", "toCIDR", "toFQDNs", "toServices"}}, 0},
				"ingress": list{object{fields: map[string]shape{"fromEndpoints": list{selector, 1}, "fromCIDR": list{prefix{}, 1}, "toPorts": list{ciliumPorts, 1}},
					oneOf: []string{"fromEndpoints", "fromCIDR"}}, 0},
			}, required: []string{"endpointSelector"},
		}}, required: []string{"metadata", "spec"},
	},
	"projectcalico.org/v3 StagedNetworkPolicy": object{
		fields: map[string]shape{"apiVersion": text{}, "kind": text{}, "metadata": metadata, "spec": object{
			fields: map[string]shape{
				"stagedAction": words{"Set", "Delete", "Learn", "Ignore"}, "serviceAccountSelector": calicoSelector, "types": list{words{"Ingress", "Egress"}, 1},
				"egress": list{calicoRule, 0}, "ingress": list{calicoRule, 0},
			},
		}}, required: []string{"metadata", "spec"},
	},
	"security.istio.io/v1 AuthorizationPolicy": object{
		fields: map[string]shape{"apiVersion": text{}, "kind": text{}, "metadata": metadata, "spec": object{
			fields: map[string]shape{"selector": selector, "action": words{"ALLOW", "DENY", "AUDIT", "CUSTOM"}, "rules": list{object{fields: map[string]shape{
				"from": list{object{fields: map[string]shape{"source": object{fields: map[string]shape{"principals": list{text{regexp.MustCompile(`^[a-z0-9._-]+/\S+$`)}, 1}, "ipBlocks": list{prefix{}, 1}}}}, required: []string{"source"}}, 1},
				"to":   list{object{fields: map[string]shape{"operation": object{fields: map[string]shape{"ports": list{portText, 1}}}}, required: []string{"operation"}}, 1},
			}}, 0}},
		}}, required: []string{"metadata", "spec"},
	},
	"api.cerbos.dev/v1 ": object{
		fields: map[string]shape{"apiVersion": text{}, "metadata": object{fields: map[string]shape{"annotations": pairs{labelKey, text{}}}}, "resourcePolicy": object{
			fields: map[string]shape{
				"resource": text{regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_@.:/-]*$`)}, "version": text{regexp.MustCompile(`^\w+$`)},
				"scope": text{regexp.MustCompile(`^([0-9A-Za-z][\w-]*(\.[\w-]*)*)*$`)},
				"rules": list{object{fields: map[string]shape{
					"name": text{regexp.MustCompile(`^[A-Za-z][\w@.:/-]*$`)}, "actions": list{text{}, 1}, "effect": words{"EFFECT_ALLOW", "EFFECT_DENY"}, "roles": list{text{}, 1},
					"condition": object{fields: map[string]shape{"match": object{fields: map[string]shape{"all": object{fields: map[string]shape{
						"of": list{object{fields: map[string]shape{"expr": text{}}, required: []string{"expr"}}, 1}}}}}}, required: []string{"match"}},
				}, required: []string{"actions", "effect"}}, 0},
			}, required: []string{"resource", "version"},
		}}, required: []string{"resourcePolicy"},
	},
}

var (
	k8sPeer = object{fields: map[string]shape{"namespaceSelector": selector, "podSelector": selector,
		"ipBlock": object{fields: map[string]shape{"cidr": prefix{}, "except": list{prefix{}, 1}}, required: []string{"cidr"}}}}
	k8sPort     = object{fields: map[string]shape{"protocol": words{"TCP", "UDP", "SCTP"}, "port": number{1, 65535}}}
	fqdn        = object{fields: map[string]shape{"matchName": text{regexp.MustCompile(`^[-a-zA-Z0-9_.]{1,255}$`)}, "matchPattern": text{regexp.MustCompile(`^[-a-zA-Z0-9_.*]{1,255}$`)}}}
	ciliumPorts = object{fields: map[string]shape{
		"ports": list{object{fields: map[string]shape{"port": portText, "protocol": words{"TCP", "UDP", "SCTP", "ANY"}}, required: []string{"port"}}, 1},
		"rules": object{fields: map[string]shape{"dns": list{fqdn, 1}}},
	}, required: []string{"ports"}}
	calicoSelector = text{regexp.MustCompile(`^projectcalico\.org/name == '[a-z0-9.-]+'$`)}
	calicoPeer     = object{fields: map[string]shape{
		"namespaceSelector": calicoSelector, "serviceAccounts": object{fields: map[string]shape{"names": list{name, 1}}},
		"services": object{fields: map[string]shape{"name": name, "namespace": name}, required: []string{"name", "namespace"}},
		"nets":     list{prefix{}, 1}, "ports": list{number{1, 65535}, 1},
	}, oneOf: []string{"services", "ports"}}
	calicoRule = object{fields: map[string]shape{"action": words{"Allow", "Deny", "Log", "Pass"}, "protocol": words{"TCP", "UDP"}, "source": calicoPeer, "destination": calicoPeer},
		required: []string{"action"}}
)
