package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ambit-nhi/ambit/agent/peer"
	"github.com/ambit-nhi/ambit/agent/workload"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// sinks know what a watcher told them, and fail the test if two calls of one sink overlap.
type sinks struct {
	t        testing.TB
	inPods   atomic.Int32
	inApply  atomic.Int32
	mu       sync.Mutex
	pods     map[string]workload.Pod
	replaced int
	objects  map[string]peer.Change
	claims   map[string]int // pods that are told to have an address now, by address
	worst    int            // of claims
}

func newSinks(t testing.TB) *sinks {
	return &sinks{t: t, pods: map[string]workload.Pod{}, objects: map[string]peer.Change{}, claims: map[string]int{}}
}

func (s *sinks) enter(in *atomic.Int32) func() {
	if in.Add(1) != 1 {
		s.t.Error("two calls of one sink overlap")
	}
	s.mu.Lock()
	return func() {
		s.mu.Unlock()
		in.Add(-1)
	}
}

func (s *sinks) PutPod(p workload.Pod) {
	defer s.enter(&s.inPods)()
	s.pods[p.UID] = p
}

func (s *sinks) DeletePod(uid string) {
	defer s.enter(&s.inPods)()
	delete(s.pods, uid)
}

func (s *sinks) ReplacePods(pods []workload.Pod) {
	defer s.enter(&s.inPods)()
	clear(s.pods)
	s.replaced++
	for _, p := range pods {
		s.pods[p.UID] = p
	}
}

func (s *sinks) Apply(changes []peer.Change) {
	defer s.enter(&s.inApply)()
	if len(changes) == 0 || len(changes) > batch {
		s.t.Errorf("%d changes at once", len(changes))
	}
	for _, c := range changes {
		k := name(c)
		s.claim(s.objects[k], -1)
		delete(s.objects, k)
		if !c.Deleted {
			s.objects[k] = c
			s.claim(c, 1)
		}
	}
}

func (s *sinks) claim(c peer.Change, n int) {
	if c.Pod == nil || c.Pod.Ended || c.Pod.HostNetwork {
		return
	}
	for _, a := range c.Pod.Addresses {
		s.claims[a.String()] += n
		s.worst = max(s.worst, s.claims[a.String()])
	}
}

func name(c peer.Change) string {
	switch {
	case c.Pod != nil:
		return "pod " + c.Pod.UID
	case c.Service != nil:
		return "service " + c.Service.Namespace + "/" + c.Service.Name
	case c.Slice != nil:
		return "slice " + c.Slice.Namespace + "/" + c.Slice.Name
	case c.Node != nil:
		return "node " + c.Node.Name
	}
	return "nothing"
}

// pod gives a pod of this node by its name.
func (s *sinks) pod(name string) (workload.Pod, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pods {
		if p.Name == name {
			return p, true
		}
	}
	return workload.Pod{}, false
}

func (s *sinks) object(name string) (peer.Change, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.objects[name]
	return c, ok
}

// await waits for something that other programs do. It gives how long that took.
func await(t testing.TB, what string, done func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if done() {
			tick.Stop()
			return time.Since(began)
		}
		if time.Since(began) > 90*time.Second {
			t.Fatalf("waited for nothing: %s", what)
		}
	}
}

// start runs a watcher until the test ends, or stop is called.
func start(t testing.TB, kubeconfig string, s interface {
	PodSink
	AddressSink
}) (w *Watcher, stop func()) {
	t.Helper()
	w, err := New(Config{Kubeconfig: kubeconfig, Node: "n1"}, s, s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("the watcher does not stop")
		}
	})
	t.Cleanup(stop)
	return w, stop
}

// admin is the administrator's client, and what tests make with it.
type admin struct {
	*kubernetes.Clientset
	t   testing.TB
	ctx context.Context
}

func newAdmin(t testing.TB, kubeconfig string) admin {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return admin{client, t, t.Context()}
}

func (a admin) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a admin) namespace(name string) {
	a.t.Helper()
	_, err := a.CoreV1().Namespaces().Create(a.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	a.must(err)
}

func (a admin) node(name, address string) {
	a.t.Helper()
	n, err := a.CoreV1().Nodes().Create(a.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.244.0.0/24"}}}, metav1.CreateOptions{})
	a.must(err)
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}, {Type: corev1.NodeHostName, Address: name}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	_, err = a.CoreV1().Nodes().UpdateStatus(a.ctx, n, metav1.UpdateOptions{})
	a.must(err)
}

// pod makes a pod that runs at an address.
func (a admin) pod(node, name, address string, change ...func(*corev1.Pod)) *corev1.Pod {
	a.t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: corev1.PodSpec{
			NodeName: node, ServiceAccountName: "checkout", Containers: []corev1.Container{{Name: "server", Image: "registry.example/checkout:1"}},
		},
	}
	for _, c := range change {
		c(p)
	}
	p, err := a.CoreV1().Pods("shop").Create(a.ctx, p, metav1.CreateOptions{})
	a.must(err)
	p.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: "server", ContainerID: "containerd://" + strings.Repeat("ab", 32), Image: "registry.example/checkout:1",
			ImageID: "registry.example/checkout@sha256:" + strings.Repeat("12", 32), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}},
	}
	p, err = a.CoreV1().Pods("shop").UpdateStatus(a.ctx, p, metav1.UpdateOptions{})
	a.must(err)
	return p
}

func (a admin) deletePod(name string) {
	a.t.Helper()
	now := int64(0)
	a.must(a.CoreV1().Pods("shop").Delete(a.ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &now}))
}

// service makes a service and its only endpoint.
func (a admin) service(name string, pod *corev1.Pod) *corev1.Service {
	a.t.Helper()
	s, err := a.CoreV1().Services("shop").Create(a.ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}, metav1.CreateOptions{})
	a.must(err)
	port, portName := int32(8080), "http"
	_, err = a.DiscoveryV1().EndpointSlices("shop").Create(a.ctx, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &portName, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{pod.Status.PodIP}, TargetRef: &corev1.ObjectReference{Kind: "Pod", UID: pod.UID, Name: pod.Name, Namespace: pod.Namespace},
		}},
	}, metav1.CreateOptions{})
	a.must(err)
	return s
}

func ownedBy(kind, apiVersion, name string, uid types.UID) func(*corev1.Pod) {
	yes := true
	return func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name, UID: uid, Controller: &yes}}
	}
}

// road is the way from a watcher to the API server: it can be closed, and be cut under those who are on it.
type road struct {
	t        testing.TB
	to       string
	at       string
	mu       sync.Mutex
	listener net.Listener
	on       map[net.Conn]bool
	busy     sync.WaitGroup
}

func newRoad(t testing.TB, server string) *road {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	r := &road{t: t, to: u.Host, at: "127.0.0.1:0", on: map[net.Conn]bool{}}
	r.open()
	t.Cleanup(func() {
		r.close()
		r.busy.Wait()
	})
	return r
}

// kubeconfig is a copy of another that leads over this road.
func (r *road) kubeconfig(of string) string {
	r.t.Helper()
	text, err := os.ReadFile(of)
	if err != nil {
		r.t.Fatal(err)
	}
	led := bytes.ReplaceAll(text, []byte(r.to), []byte(r.at))
	if bytes.Equal(led, text) {
		r.t.Fatalf("the kubeconfig does not name %s", r.to)
	}
	file := filepath.Join(r.t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, led, 0o600); err != nil {
		r.t.Fatal(err)
	}
	return file
}

func (r *road) open() {
	r.t.Helper()
	l, err := net.Listen("tcp", r.at)
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listener, r.at = l, l.Addr().String()
	r.busy.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.busy.Go(func() { r.carry(c) })
		}
	})
}

func (r *road) carry(from net.Conn) {
	to, err := net.Dial("tcp", r.to)
	if err != nil {
		from.Close()
		return
	}
	r.mu.Lock()
	r.on[from], r.on[to] = true, true
	r.mu.Unlock()
	r.busy.Go(func() {
		io.Copy(to, from)
		to.Close()
	})
	io.Copy(from, to)
	from.Close()
}

// cut ends all connections; new ones are welcome.
func (r *road) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.on {
		c.Close()
	}
	clear(r.on)
}

func (r *road) close() {
	r.mu.Lock()
	l := r.listener
	r.mu.Unlock()
	if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		r.t.Error(err)
	}
	r.cut()
}

func cluster(t *testing.T) (*testenv.Cluster, admin) {
	t.Helper()
	c := testenv.Kubernetes(t)
	a := newAdmin(t, c.Kubeconfig())
	a.namespace("shop")
	a.node("n1", "192.168.77.10")
	return c, a
}

func lines(w *Watcher) string { return fmt.Sprintf("%q", w.Missing()) }
