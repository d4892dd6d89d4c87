package scope

import (
	"strconv"
	"strings"

	"github.com/ambit-nhi/ambit/event"
)

const (
	ciliumAccount   = "io.cilium.k8s.policy.serviceaccount"
	ciliumNamespace = "k8s:io.kubernetes.pod.namespace"
)

type ciliumPolicy struct {
	APIVersion string     `yaml:"apiVersion"`
	Kind       string     `yaml:"kind"`
	Metadata   meta       `yaml:"metadata"`
	Spec       ciliumSpec `yaml:"spec"`
}

type ciliumSpec struct {
	Description       string          `yaml:"description"`
	EndpointSelector  labels          `yaml:"endpointSelector"`
	EnableDefaultDeny map[string]bool `yaml:"enableDefaultDeny"`
	Egress            []ciliumRule    `yaml:"egress,omitempty"`
	Ingress           []ciliumRule    `yaml:"ingress,omitempty"`
}

type ciliumRule struct {
	ToEndpoints   []labels        `yaml:"toEndpoints,omitempty"`
	FromEndpoints []labels        `yaml:"fromEndpoints,omitempty"`
	ToFQDNs       []fqdn          `yaml:"toFQDNs,omitempty"`
	ToCIDR        []string        `yaml:"toCIDR,omitempty"`
	FromCIDR      []string        `yaml:"fromCIDR,omitempty"`
	ToServices    []ciliumService `yaml:"toServices,omitempty"`
	ToPorts       []ciliumPorts   `yaml:"toPorts,omitempty"`
}

type fqdn struct {
	MatchName    string `yaml:"matchName,omitempty"`
	MatchPattern string `yaml:"matchPattern,omitempty"`
}

type ciliumService struct {
	K8sService struct {
		ServiceName string `yaml:"serviceName"`
		Namespace   string `yaml:"namespace"`
	} `yaml:"k8sService"`
}

type ciliumPorts struct {
	Ports []ciliumPort `yaml:"ports"`
	Rules *ciliumL7    `yaml:"rules,omitempty"`
}

type ciliumPort struct {
	Port     string `yaml:"port"`
	Protocol string `yaml:"protocol"`
}

type ciliumL7 struct {
	DNS []fqdn `yaml:"dns"`
}

func ciliumPortsOf(e *entry) []ciliumPorts {
	return []ciliumPorts{{Ports: []ciliumPort{{strconv.Itoa(int(e.r.Port())), upper(e.r.Protocol())}}}}
}

func (w *writer) cilium() (any, error) {
	p := ciliumPolicy{APIVersion: "cilium.io/v2", Kind: "CiliumNetworkPolicy", Metadata: w.meta(nil)}
	inbound := w.entries(event.Inbound)
	p.Spec = ciliumSpec{
		Description:       "what the service account " + w.account.name + " may reach",
		EndpointSelector:  labels{map[string]string{ciliumAccount: w.account.name}},
		EnableDefaultDeny: map[string]bool{"egress": true, "ingress": len(inbound) > 0},
	}
	var names []fqdn
	for _, e := range w.entries(event.Outbound) {
		rule, ok := w.ciliumRule(&e, &names)
		if !ok {
			continue
		}
		p.Spec.Egress = append(p.Spec.Egress, rule)
	}
	if len(names) > 0 { // names are learned from the answers to these questions, which must go through Cilium
		w.note("questions for the names in it go to kube-dns in kube-system, the cluster's DNS; where that is elsewhere, write where")
		p.Spec.Egress = append(p.Spec.Egress, ciliumRule{
			ToEndpoints: []labels{{map[string]string{ciliumNamespace: "kube-system", "k8s:k8s-app": "kube-dns"}}},
			ToPorts:     []ciliumPorts{{Ports: []ciliumPort{{"53", "ANY"}}, Rules: &ciliumL7{DNS: names}}},
		})
	}
	for _, e := range inbound {
		switch a := w.peer(e.r); {
		case e.pattern:
			w.lack(&e, "there are no patterns of peers")
		case a.name != "":
			p.Spec.Ingress = append(p.Spec.Ingress, ciliumRule{FromEndpoints: []labels{ciliumPeer(a)}, ToPorts: ciliumPortsOf(&e)})
		case e.r.Kind() == event.ResourceNet:
			p.Spec.Ingress = append(p.Spec.Ingress, ciliumRule{FromCIDR: []string{cidr(e.r.Prefix())}, ToPorts: ciliumPortsOf(&e)})
		default:
			w.lack(&e, "peers are known by service accounts and addresses only")
		}
	}
	// A rule without anything allows nothing; a policy must have a rule.
	if len(p.Spec.Egress) == 0 {
		p.Spec.Egress = []ciliumRule{{}}
	}
	if len(inbound) > 0 && len(p.Spec.Ingress) == 0 {
		p.Spec.Ingress = []ciliumRule{{}}
	}
	return p, nil
}

func ciliumPeer(a account) labels {
	return labels{map[string]string{"k8s:" + ciliumAccount: a.name, ciliumNamespace: a.namespace}}
}

func (w *writer) ciliumRule(e *entry, names *[]fqdn) (r ciliumRule, ok bool) {
	if e.pattern {
		if name, port, found := strings.Cut(strings.TrimPrefix(e.text, "dns:"), ":"); found && strings.HasPrefix(e.text, "dns:") && hostname.MatchString(strings.ReplaceAll(name, "*", "x")) {
			number, protocol, _ := strings.Cut(port, "/")
			f := fqdn{MatchPattern: name}
			*names = append(*names, f)
			return ciliumRule{ToFQDNs: []fqdn{f}, ToPorts: []ciliumPorts{{Ports: []ciliumPort{{number, strings.ToUpper(protocol)}}}}}, true
		}
		w.lack(e, "there are patterns of DNS names only")
		return r, false
	}
	switch e.r.Kind() {
	case event.ResourceIdentity:
		if a := w.peer(e.r); a.name != "" {
			return ciliumRule{ToEndpoints: []labels{ciliumPeer(a)}, ToPorts: ciliumPortsOf(e)}, true
		}
		w.lack(e, "it is no service account")
	case event.ResourceNet:
		return ciliumRule{ToCIDR: []string{cidr(e.r.Prefix())}, ToPorts: ciliumPortsOf(e)}, true
	case event.ResourceService:
		a, isService := service(e.r.Name())
		if !isService {
			w.lack(e, "it is no <name>.<namespace>")
			return r, false
		}
		var s ciliumService
		s.K8sService.ServiceName, s.K8sService.Namespace = a.name, a.namespace
		w.note("services are allowed with all of their ports: toServices goes with no toPorts")
		return ciliumRule{ToServices: []ciliumService{s}}, true
	case event.ResourceDNS:
		name := strings.TrimSuffix(strings.ToLower(e.r.Name()), ".")
		if !hostname.MatchString(name) {
			w.lack(e, "it is no DNS name")
			return r, false
		}
		f := fqdn{MatchName: name}
		*names = append(*names, f)
		return ciliumRule{ToFQDNs: []fqdn{f}, ToPorts: ciliumPortsOf(e)}, true
	default:
		w.lack(e, "nodes are known all together only (toEntities), which would allow all of them")
	}
	return r, false
}
