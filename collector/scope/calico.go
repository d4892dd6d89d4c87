package scope

import "github.com/ambit-nhi/ambit/event"

type calicoPolicy struct {
	APIVersion string     `yaml:"apiVersion"`
	Kind       string     `yaml:"kind"`
	Metadata   meta       `yaml:"metadata"`
	Spec       calicoSpec `yaml:"spec"`
}

type calicoSpec struct {
	StagedAction           string       `yaml:"stagedAction"`
	ServiceAccountSelector string       `yaml:"serviceAccountSelector"`
	Types                  []string     `yaml:"types"`
	Egress                 []calicoRule `yaml:"egress,omitempty"`
	Ingress                []calicoRule `yaml:"ingress,omitempty"`
}

type calicoRule struct {
	Action      string      `yaml:"action"`
	Protocol    string      `yaml:"protocol,omitempty"`
	Source      *calicoPeer `yaml:"source,omitempty"`
	Destination *calicoPeer `yaml:"destination,omitempty"`
}

type calicoPeer struct {
	NamespaceSelector string          `yaml:"namespaceSelector,omitempty"`
	ServiceAccounts   *calicoAccounts `yaml:"serviceAccounts,omitempty"`
	Services          *calicoService  `yaml:"services,omitempty"`
	Nets              []string        `yaml:"nets,omitempty"`
	Ports             []uint16        `yaml:"ports,omitempty"`
}

type calicoAccounts struct {
	Names []string `yaml:"names"`
}

type calicoService struct {
	Name      string `yaml:"name"`
	Namespace string `yaml:"namespace"`
}

// calicoProtocols as Calico writes them.
var calicoProtocols = map[event.Protocol]string{event.TCP: "TCP", event.UDP: "UDP"}

func (w *writer) calico() (any, error) {
	p := calicoPolicy{APIVersion: "projectcalico.org/v3", Kind: "StagedNetworkPolicy", Metadata: w.meta(nil)}
	p.Spec = calicoSpec{StagedAction: "Set", ServiceAccountSelector: "projectcalico.org/name == '" + w.account.name + "'", Types: []string{"Egress"}}
	w.note("it is staged: Calico tells what it would deny, and denies nothing until its kind is NetworkPolicy, without stagedAction")
	for _, e := range w.entries(event.Outbound) {
		if peer, ports := w.calicoPeer(&e); peer != nil {
			rule := calicoRule{Action: "Allow", Destination: peer}
			if ports {
				rule.Protocol, peer.Ports = calicoProtocols[e.r.Protocol()], []uint16{e.r.Port()}
			}
			p.Spec.Egress = append(p.Spec.Egress, rule)
		}
	}
	inbound := w.entries(event.Inbound)
	if len(inbound) > 0 {
		p.Spec.Types = append(p.Spec.Types, "Ingress")
	}
	for _, e := range inbound {
		if e.r.Kind() == event.ResourceService {
			w.lack(&e, "peers that connect are known by service accounts and addresses only")
			continue
		}
		if peer, _ := w.calicoPeer(&e); peer != nil {
			p.Spec.Ingress = append(p.Spec.Ingress, calicoRule{Action: "Allow", Protocol: calicoProtocols[e.r.Protocol()], Source: peer, Destination: &calicoPeer{Ports: []uint16{e.r.Port()}}})
		}
	}
	return p, nil
}

// calicoPeer also says whether ports go with it.
func (w *writer) calicoPeer(e *entry) (peer *calicoPeer, ports bool) {
	if e.pattern {
		w.lack(e, "Calico has no patterns of names")
		return nil, false
	}
	switch e.r.Kind() {
	case event.ResourceIdentity:
		if a := w.peer(e.r); a.name != "" {
			return &calicoPeer{NamespaceSelector: "projectcalico.org/name == '" + a.namespace + "'", ServiceAccounts: &calicoAccounts{[]string{a.name}}}, true
		}
		w.lack(e, "it is no service account")
	case event.ResourceNet:
		return &calicoPeer{Nets: []string{cidr(e.r.Prefix())}}, true
	case event.ResourceService:
		if a, ok := service(e.r.Name()); ok {
			w.note("services are allowed with all of their ports, which Calico takes from the service")
			return &calicoPeer{Services: &calicoService{a.name, a.namespace}}, false
		}
		w.lack(e, "it is no <name>.<namespace>")
	default:
		w.lack(e, "the open Calico has no DNS names in policies: write a network set of its addresses")
	}
	return nil, false
}
