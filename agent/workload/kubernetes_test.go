package workload

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

func testKubernetes(t testing.TB, cfg KubernetesConfig) *Kubernetes {
	t.Helper()
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	cfg.TrustDomain, cfg.Node = td, "n1"
	return NewKubernetes(cfg)
}

func testPod(uid, account string, containers ...PodContainer) Pod {
	return Pod{UID: uid, Namespace: "shop", Name: account + "-7c9f", ServiceAccount: account, Owner: "Deployment/" + account, Containers: containers}
}

var (
	pathA = fill("/kubepods/burstable/pod<U>/<X>")
	pathB = fill("/kubepods.slice/kubepods-pod<v>.slice/cri-containerd-<Y>.scope")
)

func TestKubernetesNamesPods(t *testing.T) {
	k := testKubernetes(t, KubernetesConfig{})
	r := testResolver(t, Config{Sources: []Source{k}, Names: named{
		1: pathA, 2: pathB, 3: "/system.slice/nginx.service", 4: fill("/kubepods/burstable/pod<H>/<X>"), 5: fill("/kubepods/burstable/pod<U>/<Y>/inner"),
		6: fill("/kubepods/burstable/pod<U>"), 7: fill("/system.slice/containerd.service/kubepods-pod<v>.slice:cri-containerd:<Y>"),
	}})
	p := Process{TGID: 9, UID: 33, Executable: "/app/checkout"}
	f := func(cgroup uint64, want event.Workload) {
		t.Helper()
		w := *r.Resolve(cgroup, p)
		w.Cgroup, want.Executable, want.UID = "", p.Executable, p.UID
		if w != want {
			t.Errorf("got  %+v\nwant %+v", w, want)
		}
	}
	td := k.cfg.TrustDomain
	unknown := func(path string) event.Workload {
		return event.Workload{Identity: event.CgroupIdentity(td, "n1", path), Evidence: event.EvidenceCgroup, Unattributed: event.UnattributedPod}
	}
	f(1, unknown(pathA)) // kubelet is faster than the API

	early := testPod(uidA, "checkout")
	k.PutPod(early)
	want := event.Workload{
		Identity: event.KubernetesIdentity(td, "shop", "checkout"), Evidence: event.EvidenceKubernetes, Namespace: "shop", Pod: "checkout-7c9f",
		ServiceAccount: "checkout", Owner: "Deployment/checkout",
	}
	f(1, want) // its container is not in its status yet
	k.PutPod(testPod(uidA, "checkout", PodContainer{Name: "migrate", ID: idB, Image: "tools"}, PodContainer{Name: "server", ID: idA, Image: "shop@sha256:12"}))
	f(6, want)
	want.Container, want.Image = "server", "shop@sha256:12"
	f(1, want)
	want.Container, want.Image = "migrate", "tools"
	f(5, want)

	f(2, unknown(pathB))
	if w := r.Resolve(7, p); w.Unattributed != event.UnattributedPod || w.Evidence != event.EvidenceCgroup {
		t.Errorf("below an engine's service: %+v", w)
	}
	if w := r.Resolve(3, p); w.Evidence != event.EvidenceSystemd || w.Unattributed != "" {
		t.Errorf("unit: %+v", w)
	}

	k.PutPod(Pod{UID: uidB, ConfigHash: hashA, Namespace: "kube-system", Name: "etcd-n1", Owner: "Node/n1", Containers: []PodContainer{{Name: "etcd", ID: idA}}})
	f(4, event.Workload{
		Identity: event.ContainerIdentity(td, "n1", "kube-system/etcd-n1"), Evidence: event.EvidenceKubernetes, Namespace: "kube-system", Pod: "etcd-n1",
		Container: "etcd", Owner: "Node/n1",
	})
}

func TestPodsWithoutKubernetes(t *testing.T) {
	r := testResolver(t, Config{Names: named{1: pathA, 2: fill("/system.slice/containerd.service/kubepods-pod<v>.slice:cri-containerd:<Y>")}})
	for cgroup := range uint64(2) {
		if w := r.Resolve(cgroup+1, Process{Executable: "/app"}); w.Unattributed != event.UnattributedAPI || w.Evidence != event.EvidenceCgroup || w.Executable != "/app" {
			t.Errorf("%+v", w)
		}
	}
}

func TestIdentityOfPodsByTemplate(t *testing.T) {
	template, err := event.ParseIdentityTemplate("spiffe://{trust_domain}/k8s/{namespace}/{service_account}")
	if err != nil {
		t.Fatal(err)
	}
	k := testKubernetes(t, KubernetesConfig{Template: template})
	k.PutPod(testPod(uidA, "checkout"))
	if w, _ := k.Workload(Cgroup{Path: pathA}, Process{}); w.Identity.String() != "spiffe://shop.example/k8s/shop/checkout" {
		t.Errorf("%+v", w)
	}
}

// A pod's maker writes its annotations: with the uid or the hash of another it must not become the other, nor take its name away.
func TestConfigHashOfAnotherPod(t *testing.T) {
	k := testKubernetes(t, KubernetesConfig{})
	thief := testPod(uidB, "thief")
	thief.ConfigHash = uidA
	k.PutPod(thief)
	if w, _ := k.Workload(Cgroup{Path: pathA}, Process{}); w.Unattributed != event.UnattributedPod {
		t.Errorf("took a uid: %+v", w)
	}
	static := Pod{UID: "mirror", ConfigHash: hashA, Namespace: "kube-system", Name: "etcd-n1"}
	k.PutPod(static)
	thief.ConfigHash = hashA
	k.PutPod(thief)
	at := Cgroup{Path: fill("/kubepods/pod<H>/<X>")}
	if w, _ := k.Workload(at, Process{}); w.Unattributed != event.UnattributedPod || k.Counters()["static-pod-ambiguous"] != 1 {
		t.Errorf("two claims: %+v, %v", w, k.Counters())
	}
	thief.ConfigHash = ""
	k.PutPod(thief)
	k.PutPod(Pod{UID: "mirror", ConfigHash: hashA, Namespace: "kube-system", Name: "etcd-n1", Owner: "Node/n1"})
	if w, _ := k.Workload(at, Process{}); w.Pod != "etcd-n1" {
		t.Errorf("one claim is left: %+v", w)
	}
}

func TestPodsAreKnownForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := testKubernetes(t, KubernetesConfig{MaxPods: 3})
		r := testResolver(t, Config{Sources: []Source{k}, Names: named{1: pathA, 2: pathB}})
		f := func(path string, known bool) {
			t.Helper()
			if w, _ := k.Workload(Cgroup{Path: path}, Process{}); (w.Unattributed == "") != known {
				t.Errorf("%s: %+v, want known: %v", path, w, known)
			}
		}
		k.PutPod(testPod(uidA, "a"))
		kept := r.Resolve(1, Process{})
		k.DeletePod(uidA)
		f(pathA, true)
		time.Sleep(4 * time.Minute)
		k.ReplacePods([]Pod{testPod(uidB, "b")})
		f(pathA, true)
		time.Sleep(2 * time.Minute)
		k.ReplacePods(nil)
		f(pathA, false)
		f(pathB, true)
		if again := r.Resolve(1, Process{}); again != kept {
			t.Errorf("a known cgroup became %+v", again)
		}
		k.PutPod(testPod(uidB, "b")) // it was a mistake
		time.Sleep(10 * time.Minute)
		k.ReplacePods([]Pod{testPod(uidB, "b")})
		f(pathB, true)

		ended := testPod(uidA, "a")
		ended.Ended = true
		k.PutPod(ended) // a short one: told when it was over
		f(pathA, true)
		time.Sleep(6 * time.Minute)
		k.DeletePod("nobody")
		f(pathA, false)

		for i := range 3 { // room is made of those that are gone, not of those that are there
			k.PutPod(testPod(fmt.Sprint("there-", i), "there"))
		}
		if c := k.Counters(); len(k.pods) != 3 || c["pods-overflow"] != 1 {
			t.Errorf("%d pods, %v", len(k.pods), c)
		}
		k.DeletePod(uidB)
		k.PutPod(testPod("there-3", "there"))
		f(pathB, false)
	})
}

func TestGenerationMovesOnlyWithAnswers(t *testing.T) {
	k := testKubernetes(t, KubernetesConfig{})
	r := testResolver(t, Config{Sources: []Source{k}, Names: named{1: pathA, 2: pathB}})
	k.PutPod(testPod(uidA, "a"))
	first, generation := r.Resolve(1, Process{}), r.Generation()
	k.PutPod(testPod(uidA, "a"))
	k.DeletePod(uidA)
	k.ReplacePods([]Pod{testPod(uidA, "a")})
	if r.Generation() != generation {
		t.Error("moved, though nothing is new")
	}
	k.PutPod(testPod(uidB, "b"))
	if r.Generation() == generation {
		t.Error("did not move with a new pod")
	}
	if r.Resolve(1, Process{}) != first {
		t.Error("an equal answer is another value")
	}
}

// Whatever is told in whatever order, a cgroup is either unknown or has the service account of the pod with its uid.
func TestTwoPodsNeverShareAnAnswer(t *testing.T) {
	uid := func(i int) string { return fmt.Sprintf("%08d-0000-0000-0000-000000000000", i) }
	pod := func(t *rapid.T) Pod {
		i := rapid.IntRange(0, 9).Draw(t, "pod")
		p := testPod(uid(i), fmt.Sprint("account-", i))
		if rapid.Bool().Draw(t, "container") {
			p.Containers = []PodContainer{{Name: fmt.Sprint("c-", i), ID: rapid.SampledFrom([]string{idA, idB, ""}).Draw(t, "id")}}
		}
		p.ConfigHash = rapid.SampledFrom([]string{"", "", hashA, uid(3)}).Draw(t, "hash")
		p.Ended = rapid.Bool().Draw(t, "ended")
		return p
	}
	rapid.Check(t, func(rt *rapid.T) {
		k := testKubernetes(t, KubernetesConfig{MaxPods: rapid.IntRange(1, 12).Draw(rt, "max")})
		rt.Repeat(map[string]func(*rapid.T){
			"put":    func(t *rapid.T) { k.PutPod(pod(t)) },
			"delete": func(t *rapid.T) { k.DeletePod(uid(rapid.IntRange(0, 9).Draw(t, "pod"))) },
			"replace": func(t *rapid.T) {
				k.ReplacePods(rapid.SliceOfNDistinct(rapid.Custom(pod), 0, 8, func(p Pod) string { return p.UID }).Draw(t, "pods"))
			},
			"": func(t *rapid.T) {
				if len(k.pods) > k.cfg.MaxPods {
					t.Fatalf("%d pods", len(k.pods))
				}
				for i := range 10 {
					w, ok := k.Workload(Cgroup{Path: "/kubepods/pod" + uid(i) + "/" + idA}, Process{})
					if !ok || w.Unattributed == "" && w.ServiceAccount != fmt.Sprint("account-", i) || w.Container != "" && w.Container != fmt.Sprint("c-", i) {
						t.Fatalf("pod %d: %+v", i, w)
					}
				}
			},
		})
	})
}

func TestNamesOfPodsFitToTravel(t *testing.T) {
	k := testKubernetes(t, KubernetesConfig{})
	p := testPod(uidA, "a", PodContainer{Name: "c", ID: idA, Image: strings.Repeat("x", 100_000) + "@sha256:12"})
	p.Owner = "Kind/\x1b[31m" + strings.Repeat("y", 100_000)
	k.PutPod(p)
	w, _ := k.Workload(Cgroup{Path: pathA}, Process{})
	if len(w.Image) > maxText || !strings.HasSuffix(w.Image, "@sha256:12") || len(w.Owner) > maxText || strings.Contains(w.Owner, "\x1b") {
		t.Errorf("%+v", w)
	}
	k.PutPod(Pod{UID: "a/b", Namespace: "x", Name: "y"})
	k.PutPod(Pod{UID: uidB})
	if k.Counters()["pod-refused"] != 2 {
		t.Errorf("%v", k.Counters())
	}
}

func TestKnownPodsDoNotAllocate(t *testing.T) {
	k := testKubernetes(t, KubernetesConfig{})
	k.PutPod(testPod(uidA, "a", PodContainer{Name: "server", ID: idA}))
	r := testResolver(t, Config{Sources: []Source{k}, Names: named{1: pathA}})
	p := Process{TGID: 1, UID: 33, Executable: "/app"}
	r.Resolve(1, p)
	if n := testing.AllocsPerRun(100, func() { r.Resolve(1, p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkResolvePod(b *testing.B) {
	k := testKubernetes(b, KubernetesConfig{})
	k.PutPod(testPod(uidA, "a", PodContainer{Name: "server", ID: idA}))
	r := testResolver(b, Config{Sources: []Source{k}, Names: named{1: pathA}})
	p := Process{TGID: 1, UID: 33, Executable: "/app"}
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.Resolve(1, p)
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			k.Workload(Cgroup{Path: pathA}, p)
		}
	})
}
