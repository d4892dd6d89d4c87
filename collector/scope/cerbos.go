package scope

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/ambit-nhi/ambit/event"
)

// CerbosResource is the kind of resource that Cerbos is asked about: its attributes are resource (a text as in a scope) and direction.
const CerbosResource = "ambit:connection"

type cerbosPolicy struct {
	APIVersion     string         `yaml:"apiVersion"`
	Metadata       cerbosMeta     `yaml:"metadata"`
	ResourcePolicy cerbosResource `yaml:"resourcePolicy"`
}

type cerbosMeta struct {
	Annotations map[string]string `yaml:"annotations"`
}

type cerbosResource struct {
	Resource string       `yaml:"resource"`
	Version  string       `yaml:"version"`
	Scope    string       `yaml:"scope"`
	Rules    []cerbosRule `yaml:"rules"`
}

type cerbosRule struct {
	Name      string          `yaml:"name"`
	Actions   []string        `yaml:"actions"`
	Effect    string          `yaml:"effect"`
	Roles     []string        `yaml:"roles"`
	Condition cerbosCondition `yaml:"condition"`
}

type cerbosCondition struct {
	Match struct {
		All struct {
			Of []cerbosExpr `yaml:"of"`
		} `yaml:"all"`
	} `yaml:"match"`
}

type cerbosExpr struct {
	Expr string `yaml:"expr"`
}

// cerbos writes a resource policy with a scope of its own for the identity, so that many stand side by side.
func (w *writer) cerbos() any {
	id := w.scope.Identity.String()
	sum := sha256.Sum256([]byte(id))
	p := cerbosPolicy{APIVersion: "api.cerbos.dev/v1", Metadata: cerbosMeta{map[string]string{"ambit.dev/identity": id}}}
	p.ResourcePolicy = cerbosResource{Resource: CerbosResource, Version: "default", Scope: "ambit_" + hex.EncodeToString(sum[:8]), Rules: []cerbosRule{}}
	w.note("the principal's id is the SPIFFE ID; the resource is of the kind %s, with the attribute resource, in the scope %s", CerbosResource, p.ResourcePolicy.Scope)
	who := "P.id == " + celText(id)
	if strings.HasPrefix(id, "spiffe://") {
		who = "spiffeMatchExact(spiffeID(" + celText(id) + ")).matchesID(spiffeID(P.id))"
	}
	for _, way := range []event.Direction{event.Outbound, event.Inbound} {
		var exact []string
		for _, e := range w.entries(way) {
			switch {
			case e.pattern:
				w.lack(&e, "write it as an expression of your own")
			case e.r.Kind() == event.ResourceNet && !e.r.Prefix().IsSingleIP():
				w.note("%s is matched as this text, not by the addresses in it", e.text)
				fallthrough
			default:
				exact = append(exact, celText(e.text))
			}
		}
		if len(exact) == 0 {
			continue
		}
		rule := cerbosRule{Name: string(way), Actions: []string{"connect"}, Effect: "EFFECT_ALLOW", Roles: []string{"*"}}
		if way == event.Inbound {
			rule.Actions = []string{"accept"}
		}
		rule.Condition.Match.All.Of = []cerbosExpr{{who}, {"R.attr.resource in [" + strings.Join(exact, ", ") + "]"}}
		p.ResourcePolicy.Rules = append(p.ResourcePolicy.Rules, rule)
	}
	return p
}

// celText writes a text as CEL does: in double quotes, with escapes that Go and CEL share.
func celText(s string) string {
	return strconv.QuoteToASCII(s)
}
