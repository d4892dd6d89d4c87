package workload

import (
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	uidA  = "0a1b2c3d-4e5f-6789-abcd-ef0123456789"
	uidB  = "fedcba98-7654-3210-fedc-ba9876543210"
	hashA = "d41d8cd98f00b204e9800998ecf8427e"
)

var (
	idA = strings.Repeat("0123456789abcdef", 4)
	idB = strings.Repeat("fedcba9876543210", 4)
)

// fill puts uids and ids into the paths of tests: U and V stand for uids as they are, u and v as systemd has them, X and Y for containers.
func fill(path string) string {
	under := func(uid string) string { return strings.ReplaceAll(uid, "-", "_") }
	return strings.NewReplacer("<U>", uidA, "<V>", uidB, "<u>", under(uidA), "<v>", under(uidB), "<H>", hashA, "<X>", idA, "<Y>", idB).Replace(path)
}

func TestParsePodPath(t *testing.T) {
	f := func(path, uid, container string) {
		t.Helper()
		got, ok := parsePodPath(fill(path))
		if want := (podPath{uid, container}); got != want || ok != (uid != "") {
			t.Errorf("%s\ngot  %+v, %v\nwant %+v", path, got, ok, want)
		}
	}
	// systemd driver
	f("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<u>.slice/cri-containerd-<X>.scope", uidA, idA)
	f("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<u>.slice/crio-<X>.scope", uidA, idA)
	f("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<u>.slice/crio-<X>.scope/container", uidA, idA)
	f("/kubepods.slice/kubepods-pod<u>.slice/docker-<X>.scope", uidA, idA)
	f("/kubepods.slice/kubepods-pod<u>.slice", uidA, "")
	f("/kubepods.slice/kubepods-pod<u>.slice/crio-conmon-<X>.scope", uidA, "")
	f("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<H>.slice/cri-containerd-<X>.scope", hashA, idA)
	// cgroupfs driver
	f("/kubepods/burstable/pod<U>/<X>", uidA, idA)
	f("/kubepods/besteffort/pod<U>/crio-<X>", uidA, idA)
	f("/kubepods/besteffort/pod<U>/crio-conmon-<X>", uidA, "")
	f("/kubepods/pod<U>/<X>", uidA, idA)
	f("/kubepods/pod<U>", uidA, "")
	f("/kubepods/burstable/pod<H>/<X>", hashA, idA)
	f("/kubepods/kubepods/burstable/pod<U>/<X>", uidA, idA)
	f("kubepods/burstable/pod<U>/<X>", uidA, idA)
	// kubelet by systemd, the engine by itself
	f("/system.slice/containerd.service/kubepods-burstable-pod<u>.slice:cri-containerd:<X>", uidA, idA)
	f("/kubepods-pod<u>.slice:docker:<X>/init.scope", uidA, idA)
	f("/kubepods-pod<u>.slice:docker", uidA, "")
	// a root of its own; in a container itself
	f("/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod<u>.slice/cri-containerd-<X>.scope", uidA, idA)
	f("/system.slice/docker-<Y>.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<u>.slice/cri-containerd-<X>.scope", uidA, idA)
	f("/docker/<Y>/kubelet/kubepods/burstable/pod<U>/<X>", uidA, idA)
	// what is below a container is its own affair
	f("/kubepods.slice/kubepods-pod<u>.slice/cri-containerd-<X>.scope/system.slice/nginx.service", uidA, idA)
	f("/kubepods/burstable/pod<U>/<X>/kubepods/burstable/pod<V>/<Y>", uidA, idA)
	f("/kubepods.slice/kubepods-pod<u>.slice/cri-containerd-<X>.scope/kubepods.slice/kubepods-pod<v>.slice/cri-containerd-<Y>.scope", uidA, idA)
	// whoever may name cgroups is no pod by that
	f("/user.slice/user-1000.slice/user@1000.service/app.slice/kubepods/burstable/pod<U>/<X>", "", "")
	f("/user.slice/kubepods.slice/kubepods-pod<u>.slice/cri-containerd-<X>.scope", "", "")
	f("/system.slice/app.service/kubepods/burstable/pod<U>/<X>", "", "")
	f("/system.slice/app.service/kubepods-pod<u>.slice:cri-containerd:<X>", "", "")
	// no pods
	f("", "", "")
	f("/", "", "")
	f("/kubepods.slice", "", "")
	f("/kubepods/burstable", "", "")
	f("/kubepods/burstable/pod", "", "")
	f("/kubepods/burstable/pod<U>x/y", uidA+"x", "")
	f("/kubepods/other/pod<U>/<X>", "", "")
	f("/kubepods/other/burstable/pod<U>/<X>", "", "")
	f("/notkubepods/pod<U>/<X>", "", "")
	f("/notkubepods.slice/notkubepods-pod<u>.slice/cri-containerd-<X>.scope", "", "")
	f("/kubepods.slice/kubepods-pod.slice", "", "")
	f("/kubepods.slice/kubepods-burstable-podé.slice/x", "", "")
	f("/kubepods/pod"+strings.Repeat("a", 129), "", "")
	f("/system.slice/docker-<X>.scope", "", "")
	f("/system.slice/nginx.service", "", "")
	// a container by another name than an id
	f("/kubepods/pod<U>/../x", uidA, "")
	f("/kubepods/pod<U>/"+idA[1:], uidA, "")
	f("/kubepods/pod<U>/"+strings.ToUpper(idA), uidA, "")
}

// Whatever stands below a container, and above kubelet's cgroups, changes neither pod nor container.
func TestPodPathHasOneReading(t *testing.T) {
	drivers := []string{
		"kubepods/burstable/pod<U>/<X>", "kubepods/pod<U>/crio-<X>",
		"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<u>.slice/cri-containerd-<X>.scope",
		"kubepods-besteffort-pod<u>.slice:crio:<X>",
	}
	prefixes := []string{"/", "/kubelet/", "/docker/<Y>/", "/system.slice/docker-<Y>.scope/kubelet.slice/", "/system.slice/k3s.service/"}
	rapid.Check(t, func(t *rapid.T) {
		hex := func(n int, label string) string {
			return rapid.StringMatching("[0-9a-f]{"+strconv.Itoa(n)+"}").Draw(t, label)
		}
		uid := hex(8, "a") + "-" + hex(4, "b") + "-" + hex(4, "c") + "-" + hex(4, "d") + "-" + hex(12, "e")
		id := hex(64, "id")
		path := rapid.SampledFrom(prefixes).Draw(t, "prefix") + rapid.SampledFrom(drivers).Draw(t, "driver")
		path = strings.NewReplacer("<U>", uid, "<u>", strings.ReplaceAll(uid, "-", "_"), "<X>", id, "<Y>", idB).Replace(path)
		for _, s := range rapid.SliceOfN(rapid.OneOf(rapid.String(), rapid.Just(fill("kubepods/pod<V>/<Y>"))), 0, 4).Draw(t, "below") {
			path += "/" + s
		}
		if got, ok := parsePodPath(path); !ok || got != (podPath{uid, id}) {
			t.Fatalf("%s: %+v, %v", path, got, ok)
		}
	})
}

func FuzzParsePodPath(f *testing.F) {
	for _, path := range []string{
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<u>.slice/cri-containerd-<X>.scope", "/kubepods/burstable/pod<U>/<X>",
		"/system.slice/containerd.service/kubepods-burstable-pod<u>.slice:cri-containerd:<X>", "/user.slice/kubepods/pod<U>", "//", "/-pod.slice:::",
	} {
		f.Add(fill(path))
	}
	f.Fuzz(func(t *testing.T, path string) {
		p, ok := parsePodPath(path)
		if !ok {
			if p != (podPath{}) {
				t.Errorf("no pod, but %+v", p)
			}
			return
		}
		if !validUID(p.uid) || p.container != "" && containerID(p.container) == "" {
			t.Errorf("%q: %+v", path, p)
		}
		named := strings.ReplaceAll(path, "_", "-")
		if !strings.Contains(named, "pod"+strings.ReplaceAll(p.uid, "_", "-")) || !strings.Contains(path, p.container) || !strings.Contains(path, "kubepods") {
			t.Errorf("%q does not name %+v", path, p)
		}
		if again, _ := parsePodPath(path + "/kubepods/pod" + uidB); again.uid != p.uid {
			t.Errorf("%q: what is below made it %+v", path, again)
		}
	})
}
