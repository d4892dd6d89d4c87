package kube

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ambit-nhi/ambit/agent/peer"
	"github.com/ambit-nhi/ambit/agent/workload"
	"github.com/ambit-nhi/ambit/event"
)

var outage = flag.Duration("outage", 3*time.Second, "how long the API server is away in TestOutage")

func TestWatch(t *testing.T) {
	c, a := cluster(t)
	a.node("n2", "192.168.77.11")
	before := a.pod("n1", "before", "10.244.0.5")
	s := newSinks(t)
	w, _ := start(t, c.Kubeconfig(), s)
	t.Logf("first sync took %s", await(t, "sync", w.Synced))
	if got := w.Missing(); len(got) != 0 {
		t.Errorf("missing: %q", got)
	}
	if p, ok := s.pod("before"); !ok || p.UID != string(before.UID) || s.replaced != 1 {
		t.Errorf("pod of this node: %+v, %v", p, ok)
	}

	began := time.Now()
	db := a.pod("n2", "db", "10.244.1.7")
	made := time.Since(began)
	await(t, "a pod elsewhere", func() bool {
		p, ok := s.object("pod " + string(db.UID))
		return ok && len(p.Pod.Addresses) == 1
	})
	t.Logf("a pod was told %s after its status was written, which took %s", time.Since(began)-made, made)
	got, _ := s.object("pod " + string(db.UID))
	if p := got.Pod; p.Node != "n2" || p.ServiceAccount != "checkout" || p.Addresses[0] != netip.MustParseAddr("10.244.1.7") || p.Ended || p.Version == 0 || p.Created.IsZero() {
		t.Errorf("pod: %+v", p)
	}
	if p, ok := s.pod("db"); ok {
		t.Errorf("a pod of another node: %+v", p)
	}
	service := a.service("db", db)
	await(t, "service and slice", func() bool {
		_, one := s.object("service shop/db")
		_, two := s.object("slice shop/db-1")
		return one && two
	})
	if got, _ := s.object("service shop/db"); got.Service.ClusterIPs[0].String() != service.Spec.ClusterIP || got.Service.Ports[0] != (peer.ServicePort{Name: "http", Port: peer.Port{Number: 80, Protocol: unix.IPPROTO_TCP}}) {
		t.Errorf("service: %+v", got.Service)
	}
	if got, _ := s.object("slice shop/db-1"); got.Slice.Service != "db" || got.Slice.Endpoints[0].Pod != string(db.UID) || !got.Slice.Endpoints[0].Ready ||
		got.Slice.Ports[0] != (peer.SlicePort{Name: "http", Port: peer.Port{Number: 8080, Protocol: unix.IPPROTO_TCP}}) {
		t.Errorf("slice: %+v", got.Slice)
	}
	if got, _ := s.object("node n2"); got.Node == nil || len(got.Node.Addresses) != 1 || len(got.Node.PodRanges) != 1 || got.Node.Lost {
		t.Errorf("node: %+v", got.Node)
	}

	again := a.pod("n1", "again", "10.244.0.6")
	await(t, "a pod of this node", func() bool { p, _ := s.pod("again"); return len(p.Containers) == 1 })
	if p, _ := s.pod("again"); p.Containers[0].ID != strings.Repeat("ab", 32) || p.Containers[0].Image != "registry.example/checkout@sha256:"+strings.Repeat("12", 32) {
		t.Errorf("container: %+v", p.Containers[0])
	}
	a.deletePod("again")
	next := a.pod("n1", "again", "10.244.0.6") // as a StatefulSet does
	await(t, "the pod that follows", func() bool { p, _ := s.pod("again"); return p.UID == string(next.UID) && len(p.Containers) == 1 })
	if _, ok := s.object("pod " + string(again.UID)); ok || s.worst > 1 {
		t.Errorf("the former pod is still there, or %d pods had one address", s.worst)
	}
	a.must(a.CoreV1().Services("shop").Delete(a.ctx, "db", metav1.DeleteOptions{}))
	a.must(a.CoreV1().Nodes().Delete(a.ctx, "n1", metav1.DeleteOptions{}))
	await(t, "deletions", func() bool {
		_, service := s.object("service shop/db")
		_, node := s.object("node n1")
		return !service && !node
	})
	if got := lines(w); !strings.Contains(got, `knows no node \"n1\"`) {
		t.Errorf("missing: %s", got)
	}
	a.node("n1", "192.168.77.10")
	await(t, "the node", func() bool { return len(w.Missing()) == 0 })
}

func TestOwners(t *testing.T) {
	c, a := cluster(t)
	yes := true
	by := func(kind, apiVersion, name string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name, UID: "5a5a5a5a-0000-0000-0000-000000000000", Controller: &yes}}
	}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "x"}},
		Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	set := func(name string, owners []metav1.OwnerReference) *appsv1.ReplicaSet {
		template := template
		template.Spec.RestartPolicy = corev1.RestartPolicyAlways
		r, err := a.AppsV1().ReplicaSets("shop").Create(a.ctx, &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: owners},
			Spec:       appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}, Template: template},
		}, metav1.CreateOptions{})
		a.must(err)
		return r
	}
	job := func(name string, owners []metav1.OwnerReference) *batchv1.Job {
		j, err := a.BatchV1().Jobs("shop").Create(a.ctx, &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: owners}, Spec: batchv1.JobSpec{Template: template},
		}, metav1.CreateOptions{})
		a.must(err)
		return j
	}
	s := newSinks(t)
	w, _ := start(t, c.Kubeconfig(), s)
	await(t, "sync", w.Synced)
	f := func(pod, want string, change ...func(*corev1.Pod)) {
		t.Helper()
		a.pod("n1", pod, "10.244.0.9", change...)
		await(t, pod+" of "+want, func() bool { p, ok := s.pod(pod); return ok && p.Owner == want })
		a.deletePod(pod)
	}
	hash := func(p *corev1.Pod) { p.Labels = map[string]string{"pod-template-hash": "7c9f"} }
	checkout := set("checkout-7c9f", by("Deployment", "apps/v1", "checkout"))
	f("one", "Deployment/checkout", ownedBy("ReplicaSet", "apps/v1", checkout.Name, checkout.UID), hash)
	rollout := set("shop-7c9f", by("Rollout", "argoproj.io/v1alpha1", "shop"))
	f("two", "Rollout/shop", ownedBy("ReplicaSet", "apps/v1", rollout.Name, rollout.UID))
	alone := set("alone-7c9f", nil)
	f("three", "ReplicaSet/alone-7c9f", ownedBy("ReplicaSet", "apps/v1", alone.Name, alone.UID), hash) // though its name looks like a Deployment's
	nightly := job("nightly-29384756", by("CronJob", "batch/v1", "nightly"))
	f("four", "CronJob/nightly", ownedBy("Job", "batch/v1", nightly.Name, nightly.UID))
	once := job("import-20261122", nil)
	f("five", "Job/import-20261122", ownedBy("Job", "batch/v1", once.Name, once.UID))
	f("six", "StatefulSet/db", ownedBy("StatefulSet", "apps/v1", "db", "1"))
	f("seven", "")
	f("eight", "Deployment/gone", ownedBy("ReplicaSet", "apps/v1", "gone-7c9f", "2"), hash) // nobody can be asked any more
	await(t, "the count of those who could not be asked", func() bool { return w.Gauges()["kubernetes-owners-guessed"] == 1 })
}

func TestOutage(t *testing.T) {
	c, a := cluster(t)
	kept, gone := a.pod("n1", "kept", "10.244.0.5"), a.pod("n1", "gone", "10.244.0.6")
	r := newRoad(t, c.URL())
	s := newSinks(t)
	w, _ := start(t, r.kubeconfig(c.Kubeconfig()), s)
	await(t, "sync", w.Synced)

	r.cut() // the watches end, nothing else
	a.pod("n1", "after-cut", "10.244.0.7")
	t.Logf("closed watches: next pod told after %s", await(t, "a pod", func() bool { _, ok := s.pod("after-cut"); return ok }))
	if n := w.Gauges()["kubernetes-watch-restarts"]; n == 0 {
		t.Error("the restart of watches is not counted")
	}

	// Away for the watcher alone, so that things happen meanwhile.
	r.close()
	away := regexp.MustCompile(`^new pods and addresses: the Kubernetes API at https://127\.0\.0\.1:\d+ is away$`)
	words := func() bool { got := w.Missing(); return len(got) == 1 && away.MatchString(got[0]) }
	took := await(t, "words for it", words)
	if !w.Synced() {
		t.Error("what was told is forgotten")
	}
	a.deletePod("gone")
	a.pod("n1", "new", "10.244.0.6") // at the address of the one before
	a.pod("n1", "short", "10.244.0.8")
	a.deletePod("short")
	t.Logf("an outage was told after %s", took)
	time.Sleep(*outage) // it is what is tested
	if _, ok := s.pod("gone"); !ok {
		t.Error("the outage was none")
	}
	r.open()
	t.Logf("after %s of outage, up to date after %s", *outage, await(t, "what happened meanwhile", func() bool {
		_, one := s.pod("gone")
		p, two := s.pod("new")
		_, three := s.object("pod " + string(gone.UID))
		return !one && two && len(p.Containers) == 1 && !three
	}))
	await(t, "no words", func() bool { return len(w.Missing()) == 0 })
	if n := w.Counters()["kubernetes-away-seconds"]; n < uint64(outage.Seconds()) {
		t.Errorf("away for %d seconds", n)
	}

	// The server itself restarts.
	c.Stop()
	await(t, "words for it", words)
	t.Log(w.Missing())
	c.Start()
	a.deletePod("new")
	t.Logf("after a restart of the API server, up to date after %s", await(t, "a deletion", func() bool { _, ok := s.pod("new"); return !ok }))
	if p, ok := s.pod("kept"); !ok || p.UID != string(kept.UID) || s.worst > 1 {
		t.Errorf("kept: %+v, %v; %d pods had one address", p, ok, s.worst)
	}
}

func TestResourceVersionTooOld(t *testing.T) {
	c, a := cluster(t)
	first := a.pod("n1", "first", "10.244.0.5")
	r := newRoad(t, c.URL())
	s := newSinks(t)
	w, _ := start(t, r.kubeconfig(c.Kubeconfig()), s)
	await(t, "sync", w.Synced)
	replaced := s.replaced
	r.close()
	a.deletePod("first")
	second := a.pod("n1", "first", "10.244.0.5")
	for i := range 20 {
		a.pod("n1", fmt.Sprint("more-", i), fmt.Sprint("10.244.1.", i))
	}
	c.Stop()
	c.Compact()
	c.Start() // its own memory of the past is gone too
	r.open()
	t.Logf("resource version too old: up to date after %s", await(t, "a new list", func() bool {
		_, old := s.object("pod " + string(first.UID))
		p, _ := s.pod("first")
		_, last := s.pod("more-19")
		return !old && p.UID == string(second.UID) && last
	}))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replaced == replaced || w.Gauges()["kubernetes-relists"] == 0 {
		t.Errorf("pods were replaced %d times, then %d: %v", replaced, s.replaced, w.Gauges())
	}
	if len(s.pods) != 21 || s.worst > 1 {
		t.Errorf("%d pods; %d had one address", len(s.pods), s.worst)
	}
}

func TestAwayFromTheBeginning(t *testing.T) {
	c, _ := cluster(t)
	r := newRoad(t, c.URL())
	kubeconfig := r.kubeconfig(c.Kubeconfig())
	r.close()
	s := newSinks(t)
	w, stop := start(t, kubeconfig, s)
	await(t, "words for it", func() bool { return len(w.Missing()) == 1 })
	if w.Synced() || s.replaced != 0 {
		t.Error("synced with nobody")
	}
	r.open()
	await(t, "sync", func() bool { return w.Synced() && len(w.Missing()) == 0 })
	r.close()
	await(t, "words for it", func() bool { return len(w.Missing()) == 1 })
	stop() // while it waits for the next attempt
}

func TestRunLeavesNothingBehind(t *testing.T) {
	c, _ := cluster(t)
	before := goleak.IgnoreCurrent()
	w, stop := start(t, c.Kubeconfig(), newSinks(t))
	await(t, "sync", w.Synced)
	stop()
	goleak.VerifyNone(t, before)
}

func TestNew(t *testing.T) {
	f := func(cfg Config, want string) {
		t.Helper()
		_, err := New(cfg, nil, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want one line with %q", err, want)
		}
	}
	f(Config{}, "node's name is missing")
	f(Config{Node: "n1", Kubeconfig: "/nonexistent"}, "read kubeconfig /nonexistent")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	f(Config{Node: "n1"}, "name a kubeconfig")
}

// An agent that starts while the API is away knows the pods that it knew before; what happened meanwhile it learns when the API is back.
func TestRestartWhileAway(t *testing.T) {
	c, a := cluster(t)
	pod := a.pod("n1", "kept", "10.244.0.5")
	gone := a.pod("n1", "gone", "10.244.0.6")
	td, err := event.ParseTrustDomain("shop.example")
	a.must(err)
	cfg := workload.KubernetesConfig{TrustDomain: td, Node: "n1", Checkpoint: filepath.Join(t.TempDir(), "pods.json")}
	r := newRoad(t, c.URL())
	kubeconfig := r.kubeconfig(c.Kubeconfig())
	run := func() (*Watcher, *workload.Kubernetes, func()) {
		pods := workload.NewKubernetes(cfg)
		w, err := New(Config{Kubeconfig: kubeconfig, Node: "n1"}, pods, newSinks(t))
		a.must(err)
		ctx, cancel := context.WithCancel(context.Background())
		var group errgroup.Group
		group.Go(func() error { return pods.Run(ctx) })
		group.Go(func() error { return w.Run(ctx) })
		stop := sync.OnceFunc(func() {
			cancel()
			if err := group.Wait(); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(stop)
		return w, pods, stop
	}
	ask := func(k *workload.Kubernetes, p *corev1.Pod) event.Workload {
		w, _ := k.Workload(workload.Cgroup{Path: "/kubepods/burstable/pod" + string(p.UID) + "/" + strings.Repeat("ab", 32)}, workload.Process{})
		return w
	}
	w, pods, stop := run()
	await(t, "sync", w.Synced)
	want := ask(pods, pod)
	if want.Identity != event.KubernetesIdentity(td, "shop", "checkout") || want.Container != "server" || want.Evidence != event.EvidenceKubernetes {
		t.Errorf("%+v", want)
	}
	stop()
	r.close()
	a.deletePod("gone")
	later := a.pod("n1", "later", "10.244.0.7")

	w, pods, _ = run()
	await(t, "words for it", func() bool { return len(w.Missing()) == 1 })
	if got := ask(pods, pod); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := ask(pods, later); got.Unattributed != event.UnattributedPod {
		t.Errorf("nobody can know yet: %+v", got)
	}
	r.open()
	t.Logf("attributed %s after the API was back", await(t, "the pod that came meanwhile", func() bool { return ask(pods, later).Container == "server" }))
	if got := ask(pods, gone); got.Pod != "gone" { // its last events
		t.Errorf("%+v", got)
	}
	if got := ask(pods, pod); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
