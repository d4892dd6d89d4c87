package kube

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/ambit-nhi/ambit/event"
)

// breadth is how much was granted, and why that is so.
type breadth struct {
	privilege event.Privilege
	reasons   []string
}

// Bounds of the reasons of an account. Kubernetes takes words of any length, and of any letters, in a role.
const (
	maxReasons = 16
	maxRole    = 253 // bytes of a role's name
	maxWord    = 63  // bytes of a verb, a resource or a group
)

func (b *breadth) add(p event.Privilege, reason string) {
	if p.Rank() > b.privilege.Rank() {
		b.privilege = p
	}
	if reason != "" && !slices.Contains(b.reasons, reason) {
		b.reasons = append(b.reasons, reason)
	}
}

func (b *breadth) join(o breadth) {
	b.add(o.privilege, "")
	for _, r := range o.reasons {
		b.add("", r)
	}
}

// told gives the reasons in order, the rest of too many as their number.
func (b *breadth) told() []string {
	slices.Sort(b.reasons)
	if len(b.reasons) <= maxReasons {
		return b.reasons
	}
	return append(b.reasons[:maxReasons-1:maxReasons-1], fmt.Sprintf("and %d more", len(b.reasons)-maxReasons+1))
}

// granted judges the rules of a role where a binding puts them in force: in a namespace, or in the whole cluster where it is empty.
func granted(role string, rules []rbacv1.PolicyRule, namespace string) breadth {
	b := breadth{privilege: event.PrivilegeNone}
	role = clean(role, maxRole)
	for i := range rules {
		r := rule{&rules[i], namespace, role}
		if len(r.Resources) > 0 && !r.ownReview() {
			r.judge(&b)
		}
	}
	return b
}

type rule struct {
	*rbacv1.PolicyRule
	namespace string
	role      string
}

// ownReview: everybody may ask what they themselves may do.
func (r *rule) ownReview() bool {
	return !slices.ContainsFunc(r.Resources, func(s string) bool { return !strings.HasPrefix(s, "selfsubject") })
}

func (r *rule) where() string {
	if r.namespace == "" {
		return "in the whole cluster"
	}
	return "in namespace " + r.namespace
}

func (r *rule) say(what string) string {
	return fmt.Sprintf("%s %s (role %s)", what, r.where(), r.role)
}

// wide is the privilege of what is bad in a namespace and worse in the whole cluster.
func (r *rule) wide(in, all event.Privilege) event.Privilege {
	if r.namespace == "" {
		return all
	}
	return in
}

// verb says whether one of some verbs is allowed.
func (r *rule) verb(verbs ...string) bool {
	return slices.ContainsFunc(r.Verbs, func(v string) bool { return v == rbacv1.VerbAll || slices.Contains(verbs, v) })
}

// resource says whether the rule is for a resource of a group, with a subresource as pods/exec.
func (r *rule) resource(group, name string) bool {
	if !slices.Contains(r.APIGroups, rbacv1.APIGroupAll) && !slices.Contains(r.APIGroups, group) {
		return false
	}
	_, sub, _ := strings.Cut(name, "/")
	return slices.ContainsFunc(r.Resources, func(s string) bool { return s == rbacv1.ResourceAll || s == name || sub != "" && s == "*/"+sub })
}

var reading, writing = []string{"get", "list", "watch"}, []string{"create", "update", "patch", "delete", "deletecollection"}

func (r *rule) judge(b *breadth) {
	const medium, high = event.PrivilegeMedium, event.PrivilegeHigh
	anyVerb, anyGroup := slices.Contains(r.Verbs, rbacv1.VerbAll), slices.Contains(r.APIGroups, rbacv1.APIGroupAll)
	anyResource := slices.Contains(r.Resources, rbacv1.ResourceAll)
	named := len(r.ResourceNames) > 0
	if anyVerb && anyGroup && anyResource && !named {
		b.add(r.wide(high, event.PrivilegeClusterAdmin), r.say("may do everything"))
		return
	}
	if r.namespace == "" && !named {
		b.add(medium, fmt.Sprintf("acts in the whole cluster (role %s)", r.role))
	} else {
		b.add(event.PrivilegeLow, "")
	}
	if anyVerb {
		b.add(r.wide(medium, high), r.say("any verb on "+words(r.Resources)))
	}
	if anyResource {
		p := r.wide(medium, high)
		if r.verb(writing...) {
			p = high
		}
		b.add(p, r.say(words(r.Verbs)+" on any resource of "+groups(r.APIGroups)))
	}
	r.secrets(b)
	for _, e := range escalations {
		if !slices.ContainsFunc(e.resources, func(s string) bool { return r.resource(e.group, s) }) || !r.verb(e.verbs...) {
			continue
		}
		if r.namespace != "" && e.in == "" {
			continue
		}
		if named && e.named != "" {
			b.add(e.named, r.say(e.reason))
			continue
		}
		b.add(r.wide(e.in, e.all), r.say(e.reason))
	}
}

func (r *rule) secrets(b *breadth) {
	if !r.resource("", "secrets") {
		return
	}
	if n := len(r.ResourceNames); n > 0 {
		if r.verb(reading...) {
			b.add(event.PrivilegeLow, r.say(fmt.Sprintf("reads %d named secrets", n)))
		}
		return
	}
	if r.verb(reading...) {
		b.add(r.wide(event.PrivilegeMedium, event.PrivilegeHigh), r.say("reads secrets"))
	}
	if r.verb(writing...) {
		b.add(r.wide(event.PrivilegeMedium, event.PrivilegeHigh), r.say("changes secrets"))
	}
}

// escalations are rights that lead to more rights.
var escalations = []struct {
	group     string
	resources []string
	verbs     []string
	in, all   event.Privilege // in a namespace (empty: nothing comes of it there), in the whole cluster
	named     event.Privilege // of named objects only; empty: as without names
	reason    string
}{
	{rbacv1.GroupName, []string{"roles", "clusterroles"}, []string{"escalate"}, event.PrivilegeHigh, event.PrivilegeHigh, "", "may give roles rights that it has not (escalate)"},
	{rbacv1.GroupName, []string{"roles", "clusterroles"}, []string{"bind"}, event.PrivilegeHigh, event.PrivilegeHigh, "", "may bind roles with rights that it has not (bind)"},
	{rbacv1.GroupName, []string{"rolebindings", "clusterrolebindings"}, writing, event.PrivilegeMedium, event.PrivilegeMedium, "", "changes role bindings"},
	{"", []string{"users", "groups"}, []string{"impersonate"}, "", event.PrivilegeHigh, "", "may act as others (impersonate)"},
	{"", []string{"serviceaccounts"}, []string{"impersonate"}, event.PrivilegeHigh, event.PrivilegeHigh, "", "may act as service accounts (impersonate)"},
	{"", []string{"pods"}, []string{"create"}, event.PrivilegeMedium, event.PrivilegeHigh, "", "starts pods, as any service account of their namespace"},
	{"", []string{"pods/exec", "pods/attach", "pods/ephemeralcontainers"}, []string{"create", "get", "update", "patch"}, event.PrivilegeMedium, event.PrivilegeHigh, "", "runs commands in pods"},
	{"", []string{"serviceaccounts/token"}, []string{"create"}, event.PrivilegeMedium, event.PrivilegeHigh, event.PrivilegeLow, "makes tokens of service accounts"},
	{"", []string{"nodes/proxy"}, []string{"get", "create", "update", "patch"}, "", event.PrivilegeHigh, "", "reaches the kubelet of nodes"},
	{"", []string{"replicationcontrollers"}, []string{"create", "update", "patch"}, event.PrivilegeMedium, event.PrivilegeHigh, event.PrivilegeMedium, "starts pods by replicationcontrollers"},
	{"apps", []string{"deployments", "daemonsets", "statefulsets", "replicasets"}, []string{"create", "update", "patch"}, event.PrivilegeMedium, event.PrivilegeHigh, event.PrivilegeMedium, "starts pods by deployments and the like"},
	{"batch", []string{"jobs", "cronjobs"}, []string{"create", "update", "patch"}, event.PrivilegeMedium, event.PrivilegeHigh, event.PrivilegeMedium, "starts pods by jobs"},
	{"certificates.k8s.io", []string{"certificatesigningrequests/approval"}, []string{"update", "patch"}, "", event.PrivilegeHigh, "", "approves certificates"},
	{"admissionregistration.k8s.io", []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations"}, []string{"create", "update", "patch"}, "", event.PrivilegeHigh, "", "changes admission webhooks"},
}

// words are a few of a list.
func words(list []string) string {
	const most = 4
	var told []string
	for _, w := range list[:min(len(list), most)] {
		told = append(told, clean(w, maxWord))
	}
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(told, ", "), len(list)-most)
	}
	return strings.Join(told, ", ")
}

func groups(list []string) string {
	if slices.Contains(list, rbacv1.APIGroupAll) {
		return "any group"
	}
	named := make([]string, len(list))
	for i, g := range list {
		if named[i] = g; g == "" {
			named[i] = "core"
		}
	}
	return words(named)
}
