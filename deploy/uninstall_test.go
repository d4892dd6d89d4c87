package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ambit-nhi/ambit/agent/kube"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// client is the administrator's.
func client(t *testing.T, kubeconfig string) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = 100, 100
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// until tries until something is there.
func until(t *testing.T, what string, try func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// TestInstallUpgradeUninstall has Helm itself do all three on a real API server. An upgrade takes nothing out of the nodes; uninstalling waits until each node has
// said that it is clean, and then nothing of Ambit is left. The test plays the controllers and the nodes.
func TestInstallUpgradeUninstall(t *testing.T) {
	cluster := testenv.Kubernetes(t)
	kubeconfig := cluster.Kubeconfig()
	run := func(args ...string) error {
		_, errs, err := helm(t, append(args, "--namespace", "ambit", "--kubeconfig", kubeconfig)...)
		if err != nil {
			return fmt.Errorf("helm %s: %w: %s", strings.Join(args, " "), err, errs)
		}
		return nil
	}
	for _, args := range [][]string{
		{"install", "ambit", "chart", "--create-namespace", "--values", "testdata/values/files.yaml"},
		{"upgrade", "ambit", "chart", "--values", "testdata/values/files.yaml", "--set", "image.tag=9.9.9"},
	} {
		if err := run(args...); err != nil {
			t.Fatal(err)
		}
	}
	api := client(t, kubeconfig)
	sets, ctx := api.AppsV1().DaemonSets("ambit"), t.Context()
	if d, err := sets.Get(ctx, "ambit-agent", metav1.GetOptions{}); err != nil || !strings.HasSuffix(d.Spec.Template.Spec.Containers[0].Image, ":9.9.9") {
		t.Errorf("after the upgrade the agent is %v, %v", d, err)
	}
	if d, err := sets.Get(ctx, "ambit-unpin", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("an upgrade unpins: %v, %v", d, err)
	}

	uninstalled := make(chan error, 1)
	go func() { uninstalled <- run("uninstall", "ambit", "--timeout", "5m") }()
	until(t, "the job that waits", func() error {
		_, err := api.BatchV1().Jobs("ambit").Get(ctx, "ambit-unpin", metav1.GetOptions{})
		return err
	})
	if d, err := sets.Get(ctx, "ambit-agent", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("nodes are cleaned while agents are deployed: %v, %v", d, err)
	}

	// What the job's pod does, with the rights of its service account. They come a little late, as caches of API servers have it.
	limited, bindings := cluster.KubeconfigFor("ambit", "ambit-unpin"), api.RbacV1().RoleBindings("ambit")
	binding, err := bindings.Get(ctx, "ambit-unpin", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := bindings.Delete(ctx, binding.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the end of its rights", func() error {
		if _, err := client(t, limited).AppsV1().DaemonSets("ambit").Get(ctx, "ambit-unpin", metav1.GetOptions{}); !apierrors.IsForbidden(err) {
			return fmt.Errorf("it may still ask: %v", err)
		}
		return nil
	})
	told := make(chan string, 100)
	rolled := make(chan error, 1)
	go func() {
		rolled <- kube.Rollout(ctx, kube.Config{Kubeconfig: limited}, "ambit", "ambit-unpin", func(line string) { told <- line })
	}()
	await := func(want string) {
		t.Helper()
		for {
			select {
			case got := <-told:
				if strings.Contains(got, want) {
					return
				}
				t.Logf("the job says %q", got)
			case err := <-rolled:
				t.Fatalf("the job ended before it said %q: %v", want, err)
			case <-time.After(2 * time.Minute):
				t.Fatalf("the job does not say %q", want)
			}
		}
	}
	await("the API server says Forbidden")
	binding.ResourceVersion, binding.UID = "", ""
	if _, err := bindings.Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for ready := range int32(3) {
		until(t, "the state of the nodes", func() error {
			d, err := sets.Get(ctx, "ambit-unpin", metav1.GetOptions{})
			if err != nil {
				return err
			}
			d.Status = appsv1.DaemonSetStatus{ObservedGeneration: d.Generation, DesiredNumberScheduled: 2, NumberReady: ready}
			_, err = sets.UpdateStatus(ctx, d, metav1.UpdateOptions{})
			return err
		})
		if ready < 2 {
			await(fmt.Sprint(ready, " of 2 nodes are done"))
		}
	}
	select {
	case err := <-rolled:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the job goes on when all nodes are done")
	}
	refused, giveUp := context.WithCancel(ctx)
	defer giveUp()
	if err := kube.Rollout(refused, kube.Config{Kubeconfig: limited}, "ambit", "other", func(string) { giveUp() }); !apierrors.IsForbidden(err) {
		t.Errorf("the job may ask for others: %v", err)
	}
	checkJob(t, api)
	select {
	case err := <-uninstalled:
		t.Fatalf("Helm did not wait for the job: %v", err)
	default:
	}
	until(t, "the end of the job", func() error { return complete(ctx, api) })
	select {
	case err := <-uninstalled:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("Helm does not see that the job is done")
	}
	if left := leftOver(t, api); len(left) > 0 {
		t.Errorf("left after uninstalling: %v", left)
	}
}

// checkJob looks at how the job that Helm waits for is bounded: longer than its pod waits, in which others may stand in for it, and shorter than Helm waits
// by itself.
func checkJob(t *testing.T, api *kubernetes.Clientset) {
	t.Helper()
	j, err := api.BatchV1().Jobs("ambit").Get(t.Context(), "ambit-unpin", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	args := j.Spec.Template.Spec.Containers[0].Args
	wait, err := time.ParseDuration(args[len(args)-1])
	if err != nil {
		t.Fatal(err)
	}
	const helmWaits = 5 * time.Minute
	if d := j.Spec.ActiveDeadlineSeconds; d == nil || time.Duration(*d)*time.Second <= wait || time.Duration(*d)*time.Second >= helmWaits {
		t.Errorf("the job ends after %v seconds, its pod after %s, Helm after %s", d, wait, helmWaits)
	}
	if n := j.Spec.BackoffLimit; n == nil || *n < 1 || *n > 5 {
		t.Errorf("the job may fail %v times", n)
	}
	if got := j.Annotations["helm.sh/hook-delete-policy"]; got != "before-hook-creation,hook-succeeded" { // what failed stays, to be looked at and to go on
		t.Errorf("Helm deletes the job by %q", got)
	}
}

// complete has the job be done.
func complete(ctx context.Context, api *kubernetes.Clientset) error {
	jobs := api.BatchV1().Jobs("ambit")
	j, err := jobs.Get(ctx, "ambit-unpin", metav1.GetOptions{})
	if err != nil {
		return err
	}
	now := metav1.Now()
	j.Status.StartTime, j.Status.CompletionTime, j.Status.Succeeded = &now, &now, 1
	j.Status.Conditions = []batchv1.JobCondition{
		{Type: batchv1.JobSuccessCriteriaMet, Status: corev1.ConditionTrue, LastTransitionTime: now},
		{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, LastTransitionTime: now},
	}
	_, err = jobs.UpdateStatus(ctx, j, metav1.UpdateOptions{})
	return err
}

// leftOver lists what there still is of the chart.
func leftOver(t *testing.T, api *kubernetes.Clientset) (left []string) {
	t.Helper()
	var faults []error
	of, ctx := metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=ambit"}, t.Context()
	note := func(kind string, n int, err error) {
		if n > 0 {
			left = append(left, fmt.Sprint(n, " ", kind))
		}
		faults = append(faults, err)
	}
	daemonSets, err := api.AppsV1().DaemonSets("").List(ctx, of)
	note("DaemonSets", len(daemonSets.Items), err)
	statefulSets, err := api.AppsV1().StatefulSets("").List(ctx, of)
	note("StatefulSets", len(statefulSets.Items), err)
	jobs, err := api.BatchV1().Jobs("").List(ctx, of)
	note("Jobs", len(jobs.Items), err)
	configs, err := api.CoreV1().ConfigMaps("").List(ctx, of)
	note("ConfigMaps", len(configs.Items), err)
	services, err := api.CoreV1().Services("").List(ctx, of)
	note("Services", len(services.Items), err)
	accounts, err := api.CoreV1().ServiceAccounts("").List(ctx, of)
	note("ServiceAccounts", len(accounts.Items), err)
	roles, err := api.RbacV1().Roles("").List(ctx, of)
	note("Roles", len(roles.Items), err)
	bindings, err := api.RbacV1().RoleBindings("").List(ctx, of)
	note("RoleBindings", len(bindings.Items), err)
	clusterRoles, err := api.RbacV1().ClusterRoles().List(ctx, of)
	note("ClusterRoles", len(clusterRoles.Items), err)
	clusterBindings, err := api.RbacV1().ClusterRoleBindings().List(ctx, of)
	note("ClusterRoleBindings", len(clusterBindings.Items), err)
	policies, err := api.NetworkingV1().NetworkPolicies("").List(ctx, of)
	note("NetworkPolicies", len(policies.Items), err)
	budgets, err := api.PolicyV1().PodDisruptionBudgets("").List(ctx, of)
	note("PodDisruptionBudgets", len(budgets.Items), err)
	if err := errors.Join(faults...); err != nil {
		t.Fatal(err)
	}
	return left
}
