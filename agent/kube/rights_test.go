package kube

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
)

// apply creates what the file for administrators holds.
func (a admin) apply(file string) *rbacv1.ClusterRole {
	a.t.Helper()
	text, err := os.ReadFile(file)
	a.must(err)
	var role *rbacv1.ClusterRole
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		o, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(document), nil, nil)
		a.must(err)
		switch o := o.(type) {
		case *corev1.Namespace:
			_, err = a.CoreV1().Namespaces().Create(a.ctx, o, metav1.CreateOptions{})
		case *corev1.ServiceAccount:
			_, err = a.CoreV1().ServiceAccounts(o.Namespace).Create(a.ctx, o, metav1.CreateOptions{})
		case *rbacv1.ClusterRole:
			role, err = a.RbacV1().ClusterRoles().Create(a.ctx, o, metav1.CreateOptions{})
		case *rbacv1.ClusterRoleBinding:
			_, err = a.RbacV1().ClusterRoleBindings().Create(a.ctx, o, metav1.CreateOptions{})
		default:
			a.t.Fatalf("%s holds a %T", file, o)
		}
		a.must(err)
	}
	return role
}

// without is a role's rules without one right.
func without(rules []rbacv1.PolicyRule, missing right) (left []rbacv1.PolicyRule) {
	for _, rule := range rules {
		for _, resource := range rule.Resources {
			verbs := slices.Clone(rule.Verbs)
			if rule.APIGroups[0] == missing.group && resource == missing.resource {
				verbs = slices.DeleteFunc(verbs, func(v string) bool { return v == missing.verb })
			}
			if len(verbs) > 0 {
				left = append(left, rbacv1.PolicyRule{APIGroups: rule.APIGroups, Resources: []string{resource}, Verbs: verbs})
			}
		}
	}
	return left
}

func TestRights(t *testing.T) {
	c, a := cluster(t)
	role := a.apply("../../deploy/rbac/agent.yaml")
	kubeconfig := c.KubeconfigFor("ambit", "ambit-agent")
	agent := newAdmin(t, kubeconfig)
	await(t, "the rights", func() bool { return len(agent.refused(t)) == 0 })

	t.Run("are enough", func(t *testing.T) {
		s := newSinks(t)
		w, _ := start(t, kubeconfig, s)
		await(t, "sync", w.Synced)
		a.pod("n1", "pod", "10.244.0.5", ownedBy("ReplicaSet", "apps/v1", "gone-7c9f", "1"))
		await(t, "a pod", func() bool { _, ok := s.pod("pod"); return ok })
		await(t, "its owner to be asked for", func() bool { return w.Gauges()["kubernetes-owners-guessed"] == 1 })
		if got := w.Missing(); len(got) != 0 {
			t.Errorf("missing: %q", got)
		}
		if missing, err := w.rights.check(t.Context()); missing || err != nil {
			t.Errorf("rights are missing: %v, %v", missing, err)
		}
	})

	t.Run("are no more than needed", func(t *testing.T) { agent.checkRights(t) })

	for _, missing := range needed {
		t.Run("without "+missing.verb+" "+missing.resource, func(t *testing.T) {
			less := role.DeepCopy()
			less.Rules, less.ResourceVersion = without(role.Rules, missing), ""
			if _, err := a.RbacV1().ClusterRoles().Update(t.Context(), less, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			await(t, "the right to be gone, and no other", func() bool {
				return slices.Equal(agent.refused(t), []right{missing})
			})
			w, _ := start(t, kubeconfig, newSinks(t))
			await(t, "words for it", func() bool { return len(w.Missing()) > 0 })
			if some, err := w.rights.check(t.Context()); !some || err != nil {
				t.Errorf("check: %v, %v", some, err)
			}
			got := w.Missing()
			if len(got) != 1 || !strings.Contains(got[0], "may not "+missing.verb+" "+missing.object()) || strings.Contains(got[0], "\n") {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestCredentialsThatAreRefused(t *testing.T) {
	c, _ := cluster(t)
	text, err := os.ReadFile(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	wrong := regexp.MustCompile(`("token": *)"[^"]+"`).ReplaceAll(text, []byte(`$1"wrong"`))
	if err := os.WriteFile(file, wrong, 0o600); err != nil {
		t.Fatal(err)
	}
	w, _ := start(t, file, newSinks(t))
	want := "new pods and addresses: the Kubernetes API at " + c.URL() + " does not accept the agent's credentials"
	await(t, "words for it", func() bool { got := w.Missing(); return len(got) == 1 && strings.HasPrefix(got[0], want) })
}

// refused are the needed rights that are not given.
func (a admin) refused(t *testing.T) (refused []right) {
	for _, n := range needed {
		if !a.may(t, n, "") {
			refused = append(refused, n)
		}
	}
	return refused
}

func (a admin) may(t *testing.T, r right, namespace string) bool {
	t.Helper()
	resource, sub, _ := strings.Cut(r.resource, "/")
	review, err := a.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: r.verb, Group: r.group, Resource: resource, Subresource: sub, Namespace: namespace,
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// checkRights asks for every verb of every resource that the API server has.
func (a admin) checkRights(t *testing.T) {
	_, lists, err := a.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	var allowed []string
	asked := 0
	for _, list := range lists {
		group, _, found := strings.Cut(list.GroupVersion, "/")
		if !found {
			group = ""
		}
		for _, resource := range list.APIResources {
			for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "impersonate", "bind", "escalate", "proxy"} {
				asked++
				if r := (right{verb, group, resource.Name}); a.may(t, r, "kube-system") {
					allowed = append(allowed, fmt.Sprint(r))
				}
			}
		}
	}
	want := []string{ // what everybody may: ask who they are and what they may
		fmt.Sprint(right{"create", "authorization.k8s.io", "selfsubjectaccessreviews"}), fmt.Sprint(right{"create", "authorization.k8s.io", "selfsubjectrulesreviews"}),
		fmt.Sprint(right{"create", "authentication.k8s.io", "selfsubjectreviews"}),
	}
	for _, n := range needed {
		want = append(want, fmt.Sprint(n))
	}
	slices.Sort(want)
	slices.Sort(allowed)
	if allowed = slices.Compact(allowed); !slices.Equal(allowed, want) {
		t.Errorf("allowed: %v\nwant %v", allowed, want)
	}
	t.Logf("%d rights were asked for, %d are given", asked, len(allowed))

	_, secrets := a.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{})
	_, made := a.CoreV1().ConfigMaps("ambit").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
	deleted := a.CoreV1().Pods("shop").Delete(t.Context(), "pod", metav1.DeleteOptions{})
	for _, err := range []error{secrets, made, deleted} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("not forbidden: %v", err)
		}
	}
}
