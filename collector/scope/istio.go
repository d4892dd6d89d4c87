package scope

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ambit-nhi/ambit/event"
)

type istioPolicy struct {
	APIVersion string    `yaml:"apiVersion"`
	Kind       string    `yaml:"kind"`
	Metadata   meta      `yaml:"metadata"`
	Spec       istioSpec `yaml:"spec"`
}

type istioSpec struct {
	Selector labels      `yaml:"selector"`
	Action   string      `yaml:"action"`
	Rules    []istioRule `yaml:"rules"`
}

type istioRule struct {
	From []istioFrom `yaml:"from"`
	To   []istioTo   `yaml:"to"`
}

type istioFrom struct {
	Source istioSource `yaml:"source"`
}

type istioSource struct {
	Principals []string `yaml:"principals,omitempty"`
	IPBlocks   []string `yaml:"ipBlocks,omitempty"`
}

type istioTo struct {
	Operation struct {
		Ports []string `yaml:"ports"`
	} `yaml:"operation"`
}

// istio writes who may reach the identity: an AuthorizationPolicy holds where a connection arrives.
func (w *writer) istio() (any, error) {
	inbound := w.entries(event.Inbound)
	if len(inbound) == 0 {
		return nil, fmt.Errorf("%w: an AuthorizationPolicy says who may reach an identity, and the scope has no inbound entry; generate it with both directions", ErrFormat)
	}
	p := istioPolicy{APIVersion: "security.istio.io/v1", Kind: "AuthorizationPolicy", Metadata: w.meta(map[string]string{"istio.io/dry-run": "true"})}
	p.Spec = istioSpec{Selector: labels{map[string]string{AccountLabel: w.account.name}}, Action: "ALLOW", Rules: []istioRule{}}
	w.note("it is a dry run: Istio logs what it would deny, until the annotation istio.io/dry-run is taken away")
	w.note("an AuthorizationPolicy selects pods by labels: give pods the label %s with the name of their service account", AccountLabel)
	w.note("it holds for who reaches the identity; what the identity reaches is allowed or denied where that arrives")
	for _, e := range inbound {
		var s istioSource
		switch {
		case e.pattern:
			w.lack(&e, "its patterns mean something else in Istio")
			continue
		case e.r.Protocol() != event.TCP:
			w.lack(&e, "Istio sees TCP only")
			continue
		case e.r.Kind() == event.ResourceIdentity:
			s.Principals = []string{strings.TrimPrefix(e.r.Name(), "spiffe://")}
		case e.r.Kind() == event.ResourceNet:
			s.IPBlocks = []string{cidr(e.r.Prefix())}
		default:
			w.lack(&e, "peers that connect are known by SPIFFE IDs and addresses only")
			continue
		}
		var to istioTo
		to.Operation.Ports = []string{strconv.Itoa(int(e.r.Port()))}
		p.Spec.Rules = append(p.Spec.Rules, istioRule{[]istioFrom{{s}}, []istioTo{to}})
	}
	return p, nil
}
