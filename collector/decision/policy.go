package decision

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ambit-nhi/ambit/event"
)

// PolicyFormat is a language of network policies.
type PolicyFormat string

// The formats.
const (
	Cilium     PolicyFormat = "cilium"
	Kubernetes PolicyFormat = "kubernetes"
)

type object = map[string]any

// Policy writes a decision as a network policy, for those who enforce there. It has no end of its own: whoever applies it takes it away. Selector is a pod's label as
// key=value, which Kubernetes needs, since its policies do not know service accounts. Errors wrap [ErrInvalid] and say why a language cannot say it.
func Policy(d *event.Decision, format PolicyFormat, selector string) (string, error) {
	namespace, account, ok := serviceAccount(d.Identity)
	if !ok || d.Glob {
		return "", fmt.Errorf("%w: policies are about one Kubernetes service account, which %s is not", ErrInvalid, d.Identity)
	}
	t, err := event.ParseTarget(d.To)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var doc object
	var notes []string
	switch format {
	case Cilium:
		doc, err = ciliumPolicy(d, t, namespace, account)
		notes = []string{"enableDefaultDeny is off, so that nothing else is denied by it."}
	case Kubernetes:
		doc, err = kubernetesPolicy(d, t, namespace, selector)
		notes = []string{
			"Network policies of Kubernetes only allow: this one allows all but what the decision denies, and pods that others select keep what those allow.",
			"The label is what selects the pods: see that it is on those of the service account, and on no other.",
		}
	default:
		return "", fmt.Errorf("%w: format %q is not cilium or kubernetes", ErrInvalid, format)
	}
	if err != nil {
		return "", err
	}
	if d.Mode == event.DryRun {
		notes = append(notes, "The decision is a dry run, and this policy would refuse.")
	}
	body, err := yaml.Marshal(doc)
	if err != nil {
		return "", fmt.Errorf("write a policy: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Decision %s: %s may not reach %s (%s, %s).\n", d.ID, d.Identity, d.To, d.Direction, d.Mode)
	fmt.Fprintf(&b, "# It ends %s. A policy does not end by itself: delete it then.\n", d.Expires.UTC().Format("2006-01-02 15:04:05 UTC"))
	for _, n := range notes {
		fmt.Fprintf(&b, "# %s\n", n)
	}
	return b.String() + string(body), nil
}

// serviceAccount reads …/ns/<namespace>/sa/<account>.
func serviceAccount(identity string) (namespace, account string, ok bool) {
	rest, ok := strings.CutPrefix(identity, "spiffe://")
	if !ok {
		return "", "", false
	}
	part := strings.Split(rest, "/")
	n := len(part)
	if n < 5 || part[n-4] != "ns" || part[n-2] != "sa" || part[n-3] == "" || part[n-1] == "" {
		return "", "", false
	}
	return part[n-3], part[n-1], true
}

func policyMeta(d *event.Decision, namespace string) object {
	return object{
		"name": "ambit-" + strings.Trim(strings.ReplaceAll(strings.ToLower(d.ID), "_", "-"), "-"), "namespace": namespace,
		"labels":      object{"app.kubernetes.io/managed-by": "ambit"},
		"annotations": object{"ambit/decision": d.ID, "ambit/expires": d.Expires.UTC().Format("2006-01-02T15:04:05Z")},
	}
}

func ways(d *event.Decision) (out []string) {
	if d.Direction != event.Inbound {
		out = append(out, "egress")
	}
	if d.Direction != event.Outbound {
		out = append(out, "ingress")
	}
	return out
}

// policyPorts is empty where all ports are meant.
func policyPorts(t event.Target, field string) []any {
	if t.Port == 0 && t.Protocol == "" {
		return nil
	}
	protocols := []string{"TCP", "UDP"}
	if t.Protocol != "" {
		protocols = []string{strings.ToUpper(string(t.Protocol))}
	}
	var out []any
	for _, p := range protocols {
		port := object{"protocol": p}
		switch {
		case t.Port != 0 && field == "cilium":
			port["port"] = fmt.Sprint(t.Port)
		case t.Port != 0:
			port["port"] = int(t.Port)
		case field == "cilium":
			port["port"] = "0" // any
		}
		out = append(out, port)
	}
	return out
}

func ciliumPolicy(d *event.Decision, t event.Target, namespace, account string) (object, error) {
	const accountLabel = "k8s:io.cilium.k8s.policy.serviceaccount"
	spec := object{
		"endpointSelector":  object{"matchLabels": object{accountLabel: account}},
		"enableDefaultDeny": object{"egress": false, "ingress": false},
		"description":       d.Reason,
	}
	for _, way := range ways(d) {
		side := map[string]string{"egress": "to", "ingress": "from"}[way]
		rule := object{}
		switch t.Kind {
		case event.TargetAny, event.TargetPort:
			rule[side+"Entities"] = []string{"all"}
		case event.TargetNet:
			rule[side+"CIDR"] = []string{t.Prefix.String()}
		case event.TargetIdentity:
			peerSpace, peer, ok := serviceAccount(t.Identity.String())
			if !ok {
				return nil, fmt.Errorf("%w: Cilium knows peers by service accounts, which %s is not", ErrInvalid, t.Identity)
			}
			rule[side+"Endpoints"] = []any{object{"matchLabels": object{accountLabel: peer, "k8s:io.kubernetes.pod.namespace": peerSpace}}}
		case event.TargetService:
			if way == "ingress" {
				return nil, fmt.Errorf("%w: a service opens no connections: a policy about it is for outbound ones", ErrInvalid)
			}
			name, space, _ := strings.Cut(t.Name, ".")
			rule["toServices"] = []any{object{"k8sService": object{"serviceName": name, "namespace": space}}}
		default:
			return nil, fmt.Errorf("%w: deny rules of Cilium do not know DNS names; name the addresses with net: instead", ErrInvalid)
		}
		if ports := policyPorts(t, "cilium"); ports != nil {
			rule["toPorts"] = []any{object{"ports": ports}}
		}
		spec[way+"Deny"] = []any{rule}
	}
	return object{"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": policyMeta(d, namespace), "spec": spec}, nil
}

func kubernetesPolicy(d *event.Decision, t event.Target, namespace, selector string) (object, error) {
	key, value, ok := strings.Cut(selector, "=")
	if !ok || key == "" || value == "" || strings.ContainsAny(selector, " \t\r\n") {
		return nil, fmt.Errorf("%w: a network policy of Kubernetes selects pods by a label: give one as selector, such as app=checkout", ErrInvalid)
	}
	var types []string
	spec := object{"podSelector": object{"matchLabels": object{key: value}}}
	for _, way := range ways(d) {
		side := map[string]string{"egress": "to", "ingress": "from"}[way]
		types = append(types, map[string]string{"egress": "Egress", "ingress": "Ingress"}[way])
		switch {
		case t.Kind == event.TargetAny && t.Port == 0 && t.Protocol == "":
			spec[way] = []any{} // nothing is allowed
		case t.Kind == event.TargetNet && t.Port == 0 && t.Protocol == "":
			var blocks []any
			for _, all := range []string{"0.0.0.0/0", "::/0"} {
				block := object{"cidr": all}
				if strings.Contains(all, ":") == t.Prefix.Addr().Is6() {
					if t.Prefix.Bits() == 0 {
						continue
					}
					block["except"] = []string{t.Prefix.String()}
				}
				blocks = append(blocks, object{"ipBlock": block})
			}
			spec[way] = []any{object{side: blocks}}
		default:
			return nil, fmt.Errorf("%w: a network policy of Kubernetes only allows: of denials it can say those toward * or a net: without a port, not toward %s", ErrInvalid, d.To)
		}
	}
	spec["policyTypes"] = types
	return object{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": policyMeta(d, namespace), "spec": spec}, nil
}
