package scope

import "github.com/ambit-nhi/ambit/event"

// AccountLabel is the label of pods that stands for their service account where a language selects pods by labels only.
const AccountLabel = "ambit.dev/service-account"

const namespaceLabel = "kubernetes.io/metadata.name"

type k8sPolicy struct {
	APIVersion string  `yaml:"apiVersion"`
	Kind       string  `yaml:"kind"`
	Metadata   meta    `yaml:"metadata"`
	Spec       k8sSpec `yaml:"spec"`
}

type k8sSpec struct {
	PodSelector labels    `yaml:"podSelector"`
	PolicyTypes []string  `yaml:"policyTypes"`
	Egress      []k8sRule `yaml:"egress,omitempty"`
	Ingress     []k8sRule `yaml:"ingress,omitempty"`
}

type labels struct {
	MatchLabels map[string]string `yaml:"matchLabels,omitempty"`
}

type k8sRule struct {
	To    []k8sPeer `yaml:"to,omitempty"`
	From  []k8sPeer `yaml:"from,omitempty"`
	Ports []k8sPort `yaml:"ports"`
}

type k8sPeer struct {
	NamespaceSelector *labels `yaml:"namespaceSelector,omitempty"`
	PodSelector       *labels `yaml:"podSelector,omitempty"`
	IPBlock           *block  `yaml:"ipBlock,omitempty"`
}

type block struct {
	CIDR string `yaml:"cidr"`
}

type k8sPort struct {
	Protocol string `yaml:"protocol"`
	Port     uint16 `yaml:"port"`
}

func (w *writer) kubernetes() (any, error) {
	p := k8sPolicy{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy", Metadata: w.meta(nil)}
	p.Spec.PodSelector = labels{map[string]string{AccountLabel: w.account.name}}
	p.Spec.PolicyTypes = []string{"Egress"}
	w.note("a NetworkPolicy selects pods by labels and knows no service accounts: give pods the label %s with the name of theirs", AccountLabel)
	w.note("ports are those of services; where a service turns them to others of its pods, write these")
	for _, e := range w.entries(event.Outbound) {
		if peer := w.k8sPeer(&e); peer != nil {
			p.Spec.Egress = append(p.Spec.Egress, k8sRule{To: []k8sPeer{*peer}, Ports: []k8sPort{{upper(e.r.Protocol()), e.r.Port()}}})
		}
	}
	inbound := w.entries(event.Inbound)
	if len(inbound) > 0 {
		p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, "Ingress")
	}
	for _, e := range inbound {
		if peer := w.k8sPeer(&e); peer != nil {
			p.Spec.Ingress = append(p.Spec.Ingress, k8sRule{From: []k8sPeer{*peer}, Ports: []k8sPort{{upper(e.r.Protocol()), e.r.Port()}}})
		}
	}
	return p, nil
}

func (w *writer) k8sPeer(e *entry) *k8sPeer {
	if e.pattern {
		w.lack(e, "a NetworkPolicy has no patterns of names")
		return nil
	}
	switch e.r.Kind() {
	case event.ResourceIdentity:
		if a := w.peer(e.r); a.name != "" {
			return &k8sPeer{NamespaceSelector: &labels{map[string]string{namespaceLabel: a.namespace}}, PodSelector: &labels{map[string]string{AccountLabel: a.name}}}
		}
		w.lack(e, "it is no service account")
	case event.ResourceNet:
		return &k8sPeer{IPBlock: &block{cidr(e.r.Prefix())}}
	case event.ResourceService:
		w.lack(e, "a NetworkPolicy has no services: write the labels of its pods")
	default:
		w.lack(e, "a NetworkPolicy has no names: write its addresses, if they do not change")
	}
	return nil
}
