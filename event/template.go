package event

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// DefaultIdentityTemplate is what SPIRE's and Istio's own registrations of service accounts look like.
const DefaultIdentityTemplate = "spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"

// IdentityTemplate makes identities of Kubernetes workloads. The zero IdentityTemplate is [DefaultIdentityTemplate]. It is a value, safe for
// concurrent use.
type IdentityTemplate struct {
	segments []string // of the path; nil for the default
	domain   string   // empty for {trust_domain}
}

// Placeholders of a template.
const (
	placeDomain    = "{trust_domain}"
	placeNamespace = "{namespace}"
	placeAccount   = "{service_account}"
	placePod       = "{pod}"
)

// ParseIdentityTemplate reads a template such as [DefaultIdentityTemplate]. {pod} is allowed besides its placeholders, but makes an identity of each
// pod. A template that would give two service accounts one identity is refused.
func ParseIdentityTemplate(text string) (IdentityTemplate, error) {
	bad := func(why string) (IdentityTemplate, error) {
		return IdentityTemplate{}, fmt.Errorf("parse identity template %q: %s; want, for example, %s", text, why, DefaultIdentityTemplate)
	}
	rest, ok := strings.CutPrefix(text, "spiffe://")
	if !ok {
		return bad("it does not begin with spiffe://")
	}
	domain, path, ok := strings.Cut(rest, "/")
	if !ok || path == "" {
		return bad("it has no path")
	}
	t := IdentityTemplate{segments: strings.Split(path, "/"), domain: domain}
	if domain == placeDomain {
		t.domain = ""
	}
	for _, place := range []string{placeNamespace, placeAccount} {
		if !strings.Contains(path, place) {
			return bad(place + " is missing, so that different service accounts would be one identity")
		}
	}
	for _, s := range t.segments {
		if err := checkTemplateSegment(s); err != nil {
			return bad(err.Error())
		}
	}
	if _, err := spiffeid.FromString(t.fill("example.org", "n", "s", "p")); err != nil {
		return bad(err.Error())
	}
	return t, nil
}

// checkTemplateSegment: a placeholder may have text around it, but not another placeholder: "a-b" and "c" would read as "a" and "b-c".
func checkTemplateSegment(s string) error {
	places := 0
	for _, place := range []string{placeNamespace, placeAccount, placePod} {
		places += strings.Count(s, place)
		s = strings.ReplaceAll(s, place, "")
	}
	switch {
	case places > 1:
		return errors.New("a segment holds two placeholders")
	case strings.ContainsAny(s, "{}"):
		return errors.New("a placeholder in it is unknown, or one that its path may not hold")
	}
	return nil
}

func (t IdentityTemplate) fill(domain, namespace, account, pod string) string {
	if t.domain != "" {
		domain = t.domain
	}
	values := strings.NewReplacer(placeNamespace, namespace, placeAccount, account, placePod, pod)
	var b strings.Builder
	b.WriteString("spiffe://")
	b.WriteString(domain)
	for _, s := range t.segments {
		b.WriteByte('/')
		b.WriteString(values.Replace(s))
	}
	return b.String()
}

// Identity is the identity of a pod's service account. Names that SPIFFE does not allow are changed as in all derived identities; Kubernetes' own
// names need no change.
func (t IdentityTemplate) Identity(td TrustDomain, namespace, account, pod string) Identity {
	if t.segments == nil {
		return KubernetesIdentity(td, namespace, account)
	}
	if td.IsZero() && t.domain == "" { // a programming error: every agent has a validated trust domain
		return Identity{}
	}
	id, err := ParseIdentity(t.fill(td.Name(), pathSegment(namespace), pathSegment(account), pathSegment(pod)))
	if err != nil { // too long: no Kubernetes name is
		return KubernetesIdentity(td, namespace, account)
	}
	return id
}

// Makes says whether an identity is of the form that the template gives to pods, whoever they are.
func (t IdentityTemplate) Makes(td TrustDomain, id Identity) bool {
	segments, domain := t.segments, t.domain
	if segments == nil {
		_, path, _ := strings.Cut(strings.TrimPrefix(DefaultIdentityTemplate, "spiffe://"), "/")
		segments = strings.Split(path, "/")
	}
	if domain == "" {
		domain = td.Name()
	}
	path, ok := strings.CutPrefix(id.uri, "spiffe://"+domain+"/")
	parts := strings.Split(path, "/")
	if !ok || len(parts) != len(segments) {
		return false
	}
	for i, s := range segments {
		open, end := strings.IndexByte(s, '{'), strings.IndexByte(s, '}')
		if open < 0 {
			if parts[i] != s {
				return false
			}
			continue
		}
		before, after := s[:open], s[end+1:]
		if len(parts[i]) <= len(before)+len(after) || !strings.HasPrefix(parts[i], before) || !strings.HasSuffix(parts[i], after) {
			return false
		}
	}
	return true
}
