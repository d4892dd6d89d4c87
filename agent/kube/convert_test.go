package kube

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ambit-nhi/ambit/agent/peer"
	"github.com/ambit-nhi/ambit/agent/workload"
)

func inState(name, id string, state corev1.ContainerState) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, ContainerID: id, Image: "tools:1", State: state}
}

var (
	running = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	waiting = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}
)

func terminated(second int64) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.Unix(second, 0)}}
}

func TestConvertPod(t *testing.T) {
	server := inState("server", "containerd://s2", running)
	server.LastTerminationState = terminated(5)
	server.LastTerminationState.Terminated.ContainerID = "containerd://s1"
	o := convertPod(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			UID: "u", Namespace: "kube-system", Name: "etcd-n1", ResourceVersion: "17", CreationTimestamp: metav1.Unix(1, 0),
			Annotations: map[string]string{mirrorAnnotation: "h", hashAnnotation: "h"},
		},
		Spec: corev1.PodSpec{
			NodeName: "n1", HostNetwork: true,
			Containers: []corev1.Container{{Ports: []corev1.ContainerPort{
				{ContainerPort: 2379}, {ContainerPort: 53, Protocol: corev1.ProtocolUDP}, {ContainerPort: 9, Protocol: corev1.ProtocolSCTP}, {ContainerPort: 70000},
				{ContainerPort: 10248, HostIP: "127.0.0.1"}, {ContainerPort: 2380, HostIP: "0.0.0.0"},
			}}},
		},
		Status: corev1.PodStatus{
			PodIPs:                     []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}, {IP: "?"}},
			InitContainerStatuses:      []corev1.ContainerStatus{inState("migrate", "containerd://i", terminated(4)), inState("not-made", "", waiting)},
			ContainerStatuses:          []corev1.ContainerStatus{server},
			EphemeralContainerStatuses: []corev1.ContainerStatus{inState("debug", "docker://e", running)},
		},
	})
	wantPeer := &peer.Pod{
		UID: "u", Namespace: "kube-system", Name: "etcd-n1", Version: 17, Node: "n1", HostNetwork: true,
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")},
		HostPorts: []peer.Port{{Number: 2379, Protocol: unix.IPPROTO_TCP}, {Number: 53, Protocol: unix.IPPROTO_UDP}, {Number: 2380, Protocol: unix.IPPROTO_TCP}},
		Created:   time.Unix(1, 0),
	}
	if !reflect.DeepEqual(o.change.Pod, wantPeer) {
		t.Errorf("got  %+v\nwant %+v", o.change.Pod, wantPeer)
	}
	want := workload.Pod{
		UID: "u", ConfigHash: "h", Namespace: "kube-system", Name: "etcd-n1", HostNetwork: true,
		Containers: []workload.PodContainer{
			{Name: "migrate", ID: "i", Image: "tools:1"}, {Name: "server", ID: "s2", Image: "tools:1"}, {Name: "server", ID: "s1", Image: "tools:1"},
			{Name: "debug", ID: "e", Image: "tools:1"},
		},
	}
	if !reflect.DeepEqual(o.owned.pod, want) {
		t.Errorf("got  %+v\nwant %+v", o.owned.pod, want)
	}
}

func TestPodEnds(t *testing.T) {
	f := func(phase corev1.PodPhase, deleted bool, init, main []corev1.ContainerState, want bool, finished int64) {
		t.Helper()
		p := &corev1.Pod{Spec: corev1.PodSpec{Containers: make([]corev1.Container, 2)}, Status: corev1.PodStatus{Phase: phase}}
		if deleted {
			p.DeletionTimestamp = &metav1.Time{Time: time.Unix(9, 0)}
		}
		for _, s := range init {
			p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, inState("i", "", s))
		}
		for _, s := range main {
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, inState("c", "", s))
		}
		got := convertPod(p).change.Pod
		if got.Ended != want || got.Terminating != deleted || (finished == 0) != got.Finished.IsZero() || finished != 0 && got.Finished.Unix() != finished {
			t.Errorf("%+v, want ended: %v, finished at %d", got, want, finished)
		}
	}
	states := func(s ...corev1.ContainerState) []corev1.ContainerState { return s }
	f(corev1.PodRunning, false, nil, states(running, running), false, 0)
	f(corev1.PodRunning, false, nil, states(terminated(3), terminated(4)), false, 0) // it may start again
	f(corev1.PodSucceeded, false, states(terminated(7)), states(terminated(3), terminated(4)), true, 7)
	f(corev1.PodFailed, false, nil, nil, true, 0)
	f(corev1.PodRunning, true, nil, states(terminated(3), running), false, 0)
	f(corev1.PodRunning, true, nil, states(terminated(4), terminated(3)), true, 4)
	f(corev1.PodRunning, true, states(running), states(terminated(4), terminated(3)), false, 0) // a sidecar
	f(corev1.PodRunning, true, nil, states(terminated(4)), false, 0)                            // of two
	f(corev1.PodPending, true, nil, nil, false, 0)
}

func TestImageOf(t *testing.T) {
	f := func(image, id, want string) {
		t.Helper()
		if got := imageOf(image, id); got != want {
			t.Errorf("imageOf(%q, %q) = %q, want %q", image, id, got, want)
		}
	}
	f("shop:1", "registry.example/shop@sha256:12", "registry.example/shop@sha256:12")
	f("shop:1", "docker-pullable://registry.example/shop@sha256:12", "registry.example/shop@sha256:12")
	f("shop:1", "docker://sha256:34", "shop:1")
	f("shop:1", "sha256:34", "shop:1")
	f("sha256:34", "sha256:34", "")
	f("shop:1", "", "shop:1")
}

func TestCronJobOf(t *testing.T) {
	f := func(job, want string) {
		t.Helper()
		if got, ok := cronJobOf(job); got != want || ok != (want != "") {
			t.Errorf("cronJobOf(%q) = %q", job, got)
		}
	}
	f("nightly-29384756", "nightly")
	f("a-b-29384756", "a-b")
	f("nightly-2938475", "")
	f("nightly-2938475x", "")
	f("-29384756", "")
	f("29384756", "")
	f("", "")
}

func TestConvertServiceAndSlice(t *testing.T) {
	service := convertService(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", ResourceVersion: "3"},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.96.0.5", ClusterIPs: []string{"10.96.0.5", "fd00::5"}, ExternalIPs: []string{"203.0.113.1"}, ExternalName: "left.over",
			Ports: []corev1.ServicePort{{Name: "a", Port: 5432, NodePort: 30000}, {Name: "s", Port: 1, Protocol: corev1.ProtocolSCTP}},
		},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "203.0.113.2"}, {Hostname: "lb.example"}}}},
	}).change.Service
	want := &peer.Service{
		Namespace: "shop", Name: "db", Version: 3, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.5"), netip.MustParseAddr("fd00::5")},
		External: []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")},
		Ports:    []peer.ServicePort{{Name: "a", Port: peer.Port{Number: 5432, Protocol: unix.IPPROTO_TCP}, NodePort: 30000}},
	}
	if !reflect.DeepEqual(service, want) {
		t.Errorf("got  %+v\nwant %+v", service, want)
	}
	alias := convertService(&corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "db.example"}}).change.Service
	if alias.ExternalName != "db.example" || len(alias.ClusterIPs) != 0 {
		t.Errorf("%+v", alias)
	}
	if headless := convertService(&corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None"}}}).change.Service; len(headless.ClusterIPs) != 0 {
		t.Errorf("%+v", headless)
	}

	yes, no, port, udp := true, false, int32(53), corev1.ProtocolUDP
	slice := convertSlice(&discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "db-1", Labels: map[string]string{discoveryv1.LabelServiceName: "db"}},
		AddressType: discoveryv1.AddressTypeIPv6, Ports: []discoveryv1.EndpointPort{{Port: &port, Protocol: &udp}, {}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"fd00::1"}, TargetRef: &corev1.ObjectReference{Kind: "Node", UID: "n"}},
			{Addresses: []string{"fd00::2"}, Conditions: discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}},
		},
	}).change.Slice
	wantSlice := &peer.EndpointSlice{
		Namespace: "shop", Name: "db-1", Service: "db", Ports: []peer.SlicePort{{Port: peer.Port{Number: 53, Protocol: unix.IPPROTO_UDP}}},
		Endpoints: []peer.Endpoint{
			{Addresses: []netip.Addr{netip.MustParseAddr("fd00::1")}, Ready: true, Serving: true},
			{Addresses: []netip.Addr{netip.MustParseAddr("fd00::2")}, Serving: true, Terminating: true},
		},
	}
	if !reflect.DeepEqual(slice, wantSlice) {
		t.Errorf("got  %+v\nwant %+v", slice, wantSlice)
	}
}

// A slice that loses its service is of no use any more, and is gone for those who were told of it.
func TestSliceWithoutService(t *testing.T) {
	s := newSinks(t)
	f := &feed{kind: watched[2], status: newStatus("", ""), addresses: &addresses{sink: s}, told: map[key]struct{}{}}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db-1", Labels: map[string]string{discoveryv1.LabelServiceName: "db"}}}
	f.Add(slice)
	if _, ok := s.object("slice shop/db-1"); !ok {
		t.Error("not told")
	}
	slice.Labels = nil
	f.Update(slice)
	if len(s.objects) != 0 || len(f.told) != 0 {
		t.Errorf("%v, %v", s.objects, f.told)
	}
	f.Delete(slice)
	f.Replace([]any{slice}, "1")
	if len(s.objects) != 0 || len(f.told) != 0 {
		t.Errorf("%v, %v", s.objects, f.told)
	}
}

func TestMissing(t *testing.T) {
	now := time.Now()
	s := newStatus("https://api.example", "n1")
	if got := s.missing(now); len(got) != 0 {
		t.Errorf("before it runs: %q", got)
	}
	s.start()
	f := func(after time.Duration, want ...string) {
		t.Helper()
		got := s.missing(now.Add(after))
		if len(got) != len(want) {
			t.Fatalf("%q, want %q", got, want)
		}
		for i := range want {
			if !strings.HasPrefix(got[i], want[i]) {
				t.Errorf("%q, want %q", got[i], want[i])
			}
		}
	}
	f(time.Second)
	f(time.Minute, "pods, services, endpointslices, nodes: the Kubernetes API at https://api.example has not told them yet")
	s.asking("pods")
	f(time.Second)
	f(2*time.Minute, "new pods: the Kubernetes API at https://api.example is away")
	if n := s.counters(now.Add(5 * time.Minute))["kubernetes-away-seconds"]; n < 170 || n > 190 {
		t.Errorf("away for %d seconds", n)
	}
	s.asked("pods", "watch", nil)
	for _, k := range watched {
		s.told(k.resource)
	}
	f(time.Minute)
	s.nodeKnown(false)
	f(time.Minute, `pods of this node: the Kubernetes API knows no node "n1"; set kubernetes.node`)
}
