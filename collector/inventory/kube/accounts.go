package kube

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ambit-nhi/ambit/event"
)

// objects are what a cluster holds that says what its service accounts are.
type objects struct {
	accounts        []*corev1.ServiceAccount
	roles           []*rbacv1.Role
	clusterRoles    []*rbacv1.ClusterRole
	bindings        []*rbacv1.RoleBinding
	clusterBindings []*rbacv1.ClusterRoleBinding
	tokens          []*metav1.PartialObjectMetadata // Secrets of the type kubernetes.io/service-account-token
}

// Annotations that say what a service account is.
const (
	annotationOwner       = "ambit.dev/owner"
	annotationPurpose     = "ambit.dev/purpose"
	annotationEnvironment = "ambit.dev/environment"
	annotationFunction    = "ambit.dev/business-function"
)

// declare makes one declaration of each service account, ordered by identity. refused counts accounts that cannot be declared.
func (k *Kubernetes) declare(o *objects) (out []event.Declaration, refused int) {
	grants := grantsOf(o)
	legacy := map[string]bool{}
	for _, s := range o.tokens {
		if name := s.Annotations[corev1.ServiceAccountNameKey]; name != "" {
			legacy[s.Namespace+"/"+name] = true
		}
	}
	for _, a := range o.accounts {
		d := event.Declaration{
			Identity: k.cfg.Template.Identity(k.cfg.TrustDomain, a.Namespace, a.Name, ""), Kind: "service-account",
			Source: event.SourceKubernetes, SourceName: k.cfg.Cluster, Namespace: a.Namespace, Name: a.Name, Created: a.CreationTimestamp.UTC(),
			Owner: clean(a.Annotations[annotationOwner], maxText), Purpose: clean(a.Annotations[annotationPurpose], maxText),
			Environment: clean(a.Annotations[annotationEnvironment], maxText), BusinessFunction: clean(a.Annotations[annotationFunction], maxText),
			Tokens: []event.TokenKind{event.TokenBound}, Labels: pairs(a.Labels), Annotations: pairs(a.Annotations),
		}
		if legacy[a.Namespace+"/"+a.Name] {
			d.Tokens = append(d.Tokens, event.TokenSecret)
		}
		b := grants.of(a.Namespace, a.Name)
		d.Privilege, d.PrivilegeReasons = b.privilege, b.told()
		if d.Validate() != nil {
			refused++
			continue
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b event.Declaration) int { return cmp.Compare(a.Identity.String(), b.Identity.String()) })
	n := len(out)
	out = slices.CompactFunc(out, func(a, b event.Declaration) bool { return a.Identity == b.Identity })
	return out, refused + n - len(out)
}

// grants are what subjects were granted.
type grants map[rbacv1.Subject]*breadth

func grantsOf(o *objects) grants {
	rules, clusterRules := map[string][]rbacv1.PolicyRule{}, map[string][]rbacv1.PolicyRule{}
	for _, r := range o.roles {
		rules[r.Namespace+"/"+r.Name] = r.Rules
	}
	for _, r := range o.clusterRoles {
		clusterRules[r.Name] = r.Rules
	}
	g := grants{}
	for _, b := range o.bindings {
		role := clusterRules[b.RoleRef.Name]
		if b.RoleRef.Kind == "Role" {
			role = rules[b.Namespace+"/"+b.RoleRef.Name]
		}
		g.grant(b.Subjects, granted(b.RoleRef.Name, role, b.Namespace), b.Namespace)
	}
	for _, b := range o.clusterBindings {
		g.grant(b.Subjects, granted(b.RoleRef.Name, clusterRules[b.RoleRef.Name], ""), "")
	}
	return g
}

func (g grants) grant(subjects []rbacv1.Subject, b breadth, namespace string) {
	for _, s := range subjects {
		key := rbacv1.Subject{Kind: s.Kind, Name: s.Name}
		if s.Kind == rbacv1.ServiceAccountKind {
			key.Namespace = cmp.Or(s.Namespace, namespace)
		}
		if g[key] == nil {
			g[key] = &breadth{privilege: event.PrivilegeNone}
		}
		g[key].join(b)
	}
}

// of is what an account was granted, by its own name or as a member of groups.
func (g grants) of(namespace, name string) breadth {
	out := breadth{privilege: event.PrivilegeNone}
	for _, s := range []rbacv1.Subject{
		{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name},
		{Kind: rbacv1.UserKind, Name: "system:serviceaccount:" + namespace + ":" + name},
		{Kind: rbacv1.GroupKind, Name: "system:serviceaccounts:" + namespace},
		{Kind: rbacv1.GroupKind, Name: "system:serviceaccounts"},
		{Kind: rbacv1.GroupKind, Name: "system:authenticated"},
	} {
		if b := g[s]; b != nil {
			out.join(*b)
		}
	}
	return out
}

// Bounds of what is kept of an account.
const (
	maxText  = 1024 // bytes
	maxValue = 256  // bytes of a label or annotation; longer ones are documents of some tool
	maxPairs = 32
)

// clean makes one line of a text, cut where it is too long.
func clean(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return strings.TrimSpace(s)
}

// pairs keeps a bounded part of labels or annotations, always the same one, our own first.
func pairs(all map[string]string) map[string]string {
	var keys []string
	for key, value := range all {
		if len(value) <= maxValue && clean(value, maxValue) == value {
			keys = append(keys, key)
		}
	}
	foreign := func(key string) int {
		if strings.HasPrefix(key, "ambit.dev/") {
			return 0
		}
		return 1
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(cmp.Compare(foreign(a), foreign(b)), cmp.Compare(a, b)) })
	if len(keys) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, key := range keys[:min(len(keys), maxPairs)] {
		out[key] = all[key]
	}
	return out
}
