package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

// policy is a rule as "verbs resources groups names", with commas within.
func policy(text string) rbacv1.PolicyRule {
	part := strings.Fields(text + " - -")
	list := func(s string) []string {
		if s == "-" {
			return nil
		}
		return strings.Split(strings.ReplaceAll(s, "core", ""), ",")
	}
	groups := list(part[2])
	if groups == nil {
		groups = []string{""}
	}
	return rbacv1.PolicyRule{Verbs: list(part[0]), Resources: list(part[1]), APIGroups: groups, ResourceNames: list(part[3])}
}

func TestGranted(t *testing.T) {
	f := func(text, namespace string, want event.Privilege, reasons ...string) {
		t.Helper()
		b := granted("r", []rbacv1.PolicyRule{policy(text)}, namespace)
		if b.privilege != want {
			t.Errorf("%s: %s, want %s", text, b.privilege, want)
		}
		if got := strings.Join(b.told(), "; "); len(reasons) != len(b.reasons) {
			t.Errorf("%s: %s, want %d reasons", text, got, len(reasons))
		}
		for _, reason := range reasons {
			if !slices.ContainsFunc(b.reasons, func(s string) bool { return strings.Contains(s, reason) }) {
				t.Errorf("%s: %q says nothing of %q", text, b.reasons, reason)
			}
		}
	}
	const ns, cluster = "shop", ""
	const none, low, medium, high, admin = event.PrivilegeNone, event.PrivilegeLow, event.PrivilegeMedium, event.PrivilegeHigh, event.PrivilegeClusterAdmin
	const whole = "acts in the whole cluster (role r)"
	f("* * *", cluster, admin, "may do everything in the whole cluster (role r)")
	f("* * *", ns, high, "may do everything in namespace shop (role r)")
	f("* configmaps core one", cluster, high, "any verb")
	f("impersonate serviceaccounts", ns, high, "act as service accounts")
	f("impersonate users", ns, low) // users are of no namespace
	f("get,list configmaps", ns, low)
	f("get,list configmaps", cluster, medium, whole)
	f("create selfsubjectaccessreviews,selfsubjectrulesreviews authorization.k8s.io", cluster, none)
	f("get secrets", ns, medium, "reads secrets in namespace shop")
	f("watch secrets", cluster, high, "reads secrets in the whole cluster", whole)
	f("get secrets - a,b", ns, low, "reads 2 named secrets in namespace shop")
	f("patch secrets", ns, medium, "changes secrets")
	f("get secrets apps", ns, low) // of a group that has none
	f("get * *", ns, medium, "get on any resource of any group", "reads secrets", "runs commands in pods")
	f("* configmaps", ns, medium, "any verb on configmaps in namespace shop")
	f("* configmaps", cluster, high, "any verb on configmaps in the whole cluster", whole)
	f("create * apps", ns, high, "create on any resource of apps", "starts pods by deployments")
	f("escalate roles rbac.authorization.k8s.io", ns, high, "(escalate)")
	f("bind clusterroles rbac.authorization.k8s.io", cluster, high, "(bind)", whole)
	f("bind clusterroles", cluster, medium, whole) // of a group that has none
	f("impersonate users", cluster, high, "(impersonate)", whole)
	f("create pods", ns, medium, "starts pods, as any service account")
	f("create pods", cluster, high, "starts pods", whole)
	f("get pods", ns, low)
	f("create pods/exec", ns, medium, "runs commands in pods")
	f("get */exec", cluster, high, "runs commands in pods", whole)
	f("create serviceaccounts/token - self", ns, low, "makes tokens of service accounts")
	f("create serviceaccounts/token", cluster, high, "makes tokens", whole)
	f("create,update rolebindings rbac.authorization.k8s.io", ns, medium, "changes role bindings")
	f("update deployments apps", cluster, high, "starts pods by deployments", whole)
	f("get nodes/proxy", cluster, high, "kubelet", whole)

	b := granted("r", []rbacv1.PolicyRule{{NonResourceURLs: []string{"*"}, Verbs: []string{"*"}}}, "")
	if b.privilege != none || b.reasons != nil {
		t.Errorf("paths: %+v", b)
	}
}

// TestGrantedGrows: more rules never mean less, and reasons are bounded.
func TestGrantedGrows(t *testing.T) {
	word := func(words ...string) *rapid.Generator[[]string] {
		return rapid.SliceOfN(rapid.SampledFrom(words), 1, 3)
	}
	rapid.Check(t, func(r *rapid.T) {
		var rules []rbacv1.PolicyRule
		before := event.PrivilegeNone
		ns := rapid.SampledFrom([]string{"", "shop"}).Draw(r, "ns")
		for range rapid.IntRange(1, 6).Draw(r, "n") {
			rules = append(rules, rbacv1.PolicyRule{
				Verbs:     word("*", "get", "create", "update", "bind", "escalate", "impersonate").Draw(r, "verbs"),
				Resources: word("*", "secrets", "pods", "pods/exec", "roles", "users", "deployments", "configmaps").Draw(r, "resources"),
				APIGroups: word("*", "", "apps", rbacv1.GroupName).Draw(r, "groups"),
			})
			b := granted("r", rules, ns)
			wide := granted("r", rules, "")
			if b.privilege.Rank() < before.Rank() || wide.privilege.Rank() < b.privilege.Rank() || len(b.told()) > maxReasons {
				r.Fatalf("%+v: %+v, in the whole cluster %+v, before %s", rules, b, wide, before)
			}
			before = b.privilege
		}
	})
}

// TestStrangeRules: Kubernetes takes any words as verbs and resources of a role. They must not keep an account out of the inventory.
func TestStrangeRules(t *testing.T) {
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	k := &Kubernetes{cfg: Config{TrustDomain: td, Cluster: "east"}}
	for name, word := range map[string]string{"long": strings.Repeat("ü", 2000), "control": "a\x1b[2J\nb", "not UTF-8": "a\xff"} {
		all, refused := k.declare(&objects{
			accounts: []*corev1.ServiceAccount{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a"}}},
			clusterRoles: []*rbacv1.ClusterRole{{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Rules: []rbacv1.PolicyRule{
				{Verbs: []string{"*"}, APIGroups: []string{""}, Resources: []string{word, "secrets"}},
				{Verbs: []string{word}, APIGroups: []string{word}, Resources: []string{"*"}},
			}}},
			clusterBindings: []*rbacv1.ClusterRoleBinding{{
				RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "r"}, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "shop", Name: "a"}},
			}},
		})
		if refused != 0 || len(all) != 1 || all[0].Privilege != event.PrivilegeHigh {
			t.Errorf("%s: %d refused, %+v", name, refused, all)
		}
	}
}

func TestDeclare(t *testing.T) {
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	k := &Kubernetes{cfg: Config{TrustDomain: td, Cluster: "east"}}
	account := func(name string, annotations map[string]string) *corev1.ServiceAccount {
		return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Annotations: annotations}}
	}
	many := map[string]string{"ambit.dev/owner": "team\nshop", "huge": strings.Repeat("x", maxValue+1), "odd": "a\x1bb"}
	for i := range 100 {
		many[fmt.Sprintf("a%02d", i)] = "x"
	}
	role := func(name, text string) *rbacv1.ClusterRole {
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{policy(text)}}
	}
	bind := func(role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
		return &rbacv1.ClusterRoleBinding{RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: role}, Subjects: subjects}
	}
	o := &objects{
		accounts:     []*corev1.ServiceAccount{account("b", many), account("a", nil), account("c", nil)},
		clusterRoles: []*rbacv1.ClusterRole{role("everyone", "get configmaps"), role("user", "impersonate users"), role("group", "get secrets")},
		clusterBindings: []*rbacv1.ClusterRoleBinding{
			bind("everyone", rbacv1.Subject{Kind: "Group", Name: "system:serviceaccounts"}),
			bind("user", rbacv1.Subject{Kind: "User", Name: "system:serviceaccount:shop:a"}),
			bind("missing", rbacv1.Subject{Kind: "ServiceAccount", Namespace: "shop", Name: "b"}),
			bind("group", rbacv1.Subject{Kind: "Group", Name: "system:serviceaccounts:other"}),
		},
		bindings: []*rbacv1.RoleBinding{{ // without a namespace, an account is one of the binding's
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "group"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "c"}},
		}},
		tokens: []*metav1.PartialObjectMetadata{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Annotations: map[string]string{corev1.ServiceAccountNameKey: "c"}}}},
	}
	all, refused := k.declare(o)
	if refused != 0 || len(all) != 3 {
		t.Fatalf("%d refused, %+v", refused, all)
	}
	for i := range all {
		if err := all[i].Validate(); err != nil {
			t.Error(err)
		}
	}
	a, b, c := all[0], all[1], all[2]
	if a.Identity.String() != "spiffe://shop.example/ns/shop/sa/a" || a.Privilege != event.PrivilegeHigh || len(a.Tokens) != 1 {
		t.Errorf("%+v", a)
	}
	if b.Owner != "team shop" || b.Privilege != event.PrivilegeMedium || len(b.Annotations) != maxPairs || b.Annotations["huge"] != "" {
		t.Errorf("%+v", b)
	}
	if c.Privilege != event.PrivilegeMedium || !slices.Contains(c.PrivilegeReasons, "reads secrets in namespace shop (role group)") || !slices.Contains(c.Tokens, event.TokenSecret) {
		t.Errorf("%+v", c)
	}
	slices.Reverse(o.accounts)
	slices.Reverse(o.clusterBindings)
	again, _ := k.declare(o)
	if fmt.Sprint(again) != fmt.Sprint(all) {
		t.Errorf("in another order:\n%+v\n%+v", again, all)
	}

	pod, err := event.ParseIdentityTemplate("spiffe://{trust_domain}/{namespace}/{service_account}/{pod}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{TrustDomain: td, Template: pod, Kubeconfig: "/none"}); err == nil || !strings.Contains(err.Error(), "{pod}") {
		t.Errorf("%v", err)
	}
	if _, err := New(Config{TrustDomain: td, Kubeconfig: "/none"}); err == nil || !strings.Contains(err.Error(), "/none") {
		t.Errorf("%v", err)
	}
}
