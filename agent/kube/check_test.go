package kube

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestCheck(t *testing.T) {
	c, a := cluster(t)
	a.apply("../../deploy/rbac/agent.yaml")
	_, err := a.CoreV1().ServiceAccounts("ambit").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "other"}}, metav1.CreateOptions{})
	a.must(err)
	_, err = a.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "ip-10-0-0-1.ec2.internal"}}, metav1.CreateOptions{})
	a.must(err)
	kubeconfig, other := c.KubeconfigFor("ambit", "ambit-agent"), c.KubeconfigFor("ambit", "other")
	await(t, "the rights", func() bool { return len(newAdmin(t, kubeconfig).refused(t)) == 0 })
	r := newRoad(t, c.URL())
	away := r.kubeconfig(c.Kubeconfig())
	r.close()

	f := func(cfg Config, want ...string) {
		t.Helper()
		err := Check(t.Context(), cfg)
		if (err != nil) != (len(want) > 0) {
			t.Fatalf("%v, want %q", err, want)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q does not say %q in one line", err, w)
			}
		}
	}
	f(Config{Kubeconfig: kubeconfig, Node: "ip-10-0-0-1.ec2.internal"})
	f(Config{Kubeconfig: kubeconfig, Node: "ip-10-0-0-1"}, `knows no node "ip-10-0-0-1"; set kubernetes.node`)
	f(Config{Kubeconfig: away, Node: "n1"}, "cannot be asked: ")
	var all []string
	for _, n := range needed {
		all = append(all, n.verb+" "+n.object())
	}
	f(Config{Kubeconfig: other, Node: "ip-10-0-0-1.ec2.internal"}, append(all, "apply deploy/rbac/agent.yaml")...)
}
