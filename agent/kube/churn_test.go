package kube

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ambit-nhi/ambit/agent/peer"
	"github.com/ambit-nhi/ambit/agent/workload"
	"github.com/ambit-nhi/ambit/event"
)

var churn = flag.Int("churn", 20, "how many pods each of three replaces in TestChurn")

// table gives changes to a [peer.Cluster], as the agent does.
type table struct{ *peer.Cluster }

func (table) PutPod(workload.Pod)           {}
func (table) DeletePod(string)              {}
func (table) ReplacePods([]workload.Pod)    {}
func (c table) Apply(changes []peer.Change) { c.Update(time.Now(), changes, nil) }
func (c table) at(a string, port uint16) event.Identity {
	return c.Lookup(peer.Query{Address: netip.MustParseAddr(a), Port: port, Protocol: unix.IPPROTO_TCP}).Identity
}

// deployment is a service whose pods come and go, all of one service account.
type deployment struct {
	account string
	service *corev1.Service

	mu      sync.Mutex
	slice   *discoveryv1.EndpointSlice
	pods    []*corev1.Pod // that are its endpoints
	settled []*corev1.Pod // that were told in full, and may be replaced
}

// churning are deployments that take each other's addresses.
type churning struct {
	admin
	mu   sync.Mutex
	free []string // the last that was given back is the next that is given out
	made int
}

// pod makes a pod at an address that the API is not told of yet.
func (c *churning) pod(d *deployment) (*corev1.Pod, error) {
	c.mu.Lock()
	c.made++
	name, last := fmt.Sprintf("%s-%d", d.account, c.made), len(c.free)-1
	address := c.free[last]
	c.free = c.free[:last]
	c.mu.Unlock()
	p, err := c.CoreV1().Pods("shop").Create(c.ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{NodeName: "n1", ServiceAccountName: d.account, Containers: []corev1.Container{{Name: "server", Image: "registry.example/shop:1"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	p.ResourceVersion = "" // its next states are told whatever was told meanwhile
	p.Status.Phase, p.Status.PodIP, p.Status.PodIPs = corev1.PodRunning, address, []corev1.PodIP{{IP: address}}
	return p, nil
}

// end tells that a pod has ended, and gives its address back.
func (c *churning) end(p *corev1.Pod) error {
	p.Status.Phase = corev1.PodSucceeded
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "server", Image: "registry.example/shop:1", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.Now()}},
	}}
	_, err := c.CoreV1().Pods("shop").UpdateStatus(c.ctx, p, metav1.UpdateOptions{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free = append(c.free, p.Status.PodIP)
	return err
}

// change changes a deployment's pods, and its endpoints with them.
func (c *churning) change(d *deployment, pods func([]*corev1.Pod) []*corev1.Pod) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pods = pods(d.pods)
	d.slice.Endpoints = nil
	for _, p := range d.pods {
		d.slice.Endpoints = append(d.slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{p.Status.PodIP}, TargetRef: &corev1.ObjectReference{Kind: "Pod", UID: p.UID, Name: p.Name, Namespace: p.Namespace},
		})
	}
	d.slice, err = c.DiscoveryV1().EndpointSlices("shop").Update(c.ctx, d.slice, metav1.UpdateOptions{})
	return err
}

// join makes a pod, and has it serve: its address is told as the pod's and as the service's, in one order or the other.
func (c *churning) join(d *deployment, serveFirst bool) error {
	p, err := c.pod(d)
	if err != nil {
		return err
	}
	serve := func() error {
		return c.change(d, func(pods []*corev1.Pod) []*corev1.Pod { return append(pods, p) })
	}
	if serveFirst {
		if err := serve(); err != nil {
			return err
		}
	}
	if _, err := c.CoreV1().Pods("shop").UpdateStatus(c.ctx, p, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if !serveFirst {
		if err := serve(); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settled = append(d.settled, p)
	return nil
}

// take takes a pod out of a deployment that keeps others, if there is one.
func (d *deployment) take(draw *rand.Rand) *corev1.Pod {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.settled) < 2 {
		return nil
	}
	i := draw.IntN(len(d.settled))
	p := d.settled[i]
	d.settled = slices.Delete(d.settled, i, i+1)
	return p
}

// replace ends a pod of one deployment and makes one of another, mostly at its address, and now and then one that ends at once.
func (c *churning) replace(from, to *deployment, draw *rand.Rand) error {
	old := from.take(draw)
	if old == nil {
		return nil
	}
	err := c.change(from, func(pods []*corev1.Pod) []*corev1.Pod {
		return slices.DeleteFunc(pods, func(p *corev1.Pod) bool { return p == old })
	})
	if err != nil {
		return err
	}
	if err := c.end(old); err != nil {
		return err
	}
	now := int64(0)
	if err := c.CoreV1().Pods("shop").Delete(c.ctx, old.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		return err
	}
	if draw.IntN(2) == 0 { // a short one, which the API is told to have had an address only when it has ended
		p, err := c.pod(to)
		if err == nil {
			err = c.end(p)
		}
		if err != nil {
			return err
		}
	}
	return c.join(to, draw.IntN(2) == 0)
}

// Pods end and others get their addresses, while services change with them, and the watches are cut in between. When that is over, each service is known
// to have its pods' identity, and each pod its own.
func TestChurn(t *testing.T) {
	k, a := cluster(t)
	domain, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	c := &churning{admin: a}
	for i := range 60 {
		c.free = append(c.free, fmt.Sprintf("10.244.0.%d", i+1))
	}
	way := newRoad(t, k.URL())
	sink := table{peer.NewCluster(peer.ClusterConfig{TrustDomain: domain})}
	start(t, way.kubeconfig(k.Kubeconfig()), sink)
	var all []*deployment
	for i := range 6 {
		d := &deployment{account: fmt.Sprint("account-", i)}
		d.service = a.service(d.account, &corev1.Pod{Status: corev1.PodStatus{PodIP: "10.244.0.99"}})
		d.slice, err = a.DiscoveryV1().EndpointSlices("shop").Get(a.ctx, d.account+"-1", metav1.GetOptions{})
		a.must(err)
		for range 4 {
			a.must(c.join(d, false))
		}
		all = append(all, d)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var work errgroup.Group
	for n := range 3 {
		draw := rand.New(rand.NewPCG(seed, uint64(n)))
		work.Go(func() error {
			for i := range *churn {
				from, to := all[draw.IntN(len(all))], all[draw.IntN(len(all))]
				if err := c.replace(from, to, draw); err != nil {
					return err
				}
				if n == 0 && i%10 == 9 {
					way.cut()
				}
			}
			return nil
		})
	}
	a.must(work.Wait())
	var differs string
	defer func() {
		if differs != "" {
			t.Log(differs, sink.Gauges())
		}
	}()
	agree := func() bool {
		differs = ""
		for _, d := range all {
			want := event.KubernetesIdentity(domain, "shop", d.account)
			f := func(what, address string, port uint16) {
				if got := sink.at(address, port); got != want {
					differs += fmt.Sprintf("%s at %s is %q, not %q\n", what, address, got, want)
				}
			}
			f("service", d.service.Spec.ClusterIP, 80)
			for _, p := range d.pods {
				f("pod", p.Status.PodIP, 8080)
			}
		}
		return differs == ""
	}
	await(t, "what is known to be as it is", agree)
	for _, d := range all { // nothing comes after these that would mend what they broke
		a.must(c.join(d, true))
	}
	await(t, "the last pods to be known", agree)
}
