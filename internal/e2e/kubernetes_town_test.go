package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
	"github.com/ambit-nhi/ambit/internal/testenv/node"
	talk "github.com/ambit-nhi/ambit/internal/testenv/traffic"
)

// town is a node full of pods that connect to each other, and the truth of who connected to whom, by what the pods' own programs count.
type town struct {
	node  *node.Node
	td    event.TrustDomain
	truth *tally

	mu      sync.Mutex
	pods    []*resident // that run
	names   map[string]*resident
	groups  []*group // of pods that are replaced now and then
	numbers map[string]int
}

// group is what one controller runs. All its pods have one service account, so that its service has one identity.
type group struct {
	kind, namespace, name, account string
	pods                           int
	containers                     []string
	owner                          *metav1.OwnerReference
	labels                         map[string]string
	port                           uint16

	busy     sync.RWMutex // held by who connects to a service's address, against changes of its endpoints
	services []*node.Service
	members  []*resident
}

// resident is a pod that runs.
type resident struct {
	*node.Pod
	group    *group
	identity event.Identity
	busy     sync.RWMutex // held by who connects from it or to it, against its end
}

func (r *resident) name() string { return r.Spec.Namespace + "/" + r.Spec.Name }

const (
	appPort   = 8080 // of the first container, TCP and UDP
	proxyPort = 9090 // of the second
	hostPort  = 9100 // and up, of pods in the node's network
)

// found makes the controllers, accounts and services: 40 service accounts over 10 namespaces.
func (w *town) found(ctx context.Context) error {
	for i := range 10 {
		namespace := fmt.Sprintf("shop-%d", i)
		daemon := &group{kind: "DaemonSet", namespace: namespace, name: "exporter", account: "exporter", pods: 1, port: appPort}
		if i < 5 {
			daemon.port = hostPort + uint16(i)
		}
		w.groups = append(w.groups,
			&group{kind: "Deployment", namespace: namespace, name: "web", account: "web", pods: 8, containers: []string{"app", "proxy"}, port: appPort},
			&group{kind: "Deployment", namespace: namespace, name: "api", account: "api", pods: 7, port: appPort},
			&group{kind: "StatefulSet", namespace: namespace, name: "db", account: "db", pods: 4, port: appPort},
			daemon,
			&group{kind: "CronJob", namespace: namespace, name: "report", account: "exporter", port: appPort})
	}
	for _, g := range w.groups {
		if err := w.node.Account(ctx, g.namespace, g.account); err != nil {
			return err
		}
		var err error
		if g.owner, g.labels, err = w.node.Own(ctx, g.kind, g.namespace, g.name); err != nil {
			return err
		}
		if g.kind != "Deployment" && g.kind != "StatefulSet" {
			continue
		}
		for suffix, protocol := range map[string]string{"": "tcp", "-udp": "udp"} {
			s, err := w.node.Service(ctx, node.ServiceSpec{
				Namespace: g.namespace, Name: g.name + suffix, Selector: g.labels, Protocol: protocol, Port: 80, Target: appPort, Headless: g.kind == "StatefulSet",
			})
			if err != nil {
				return err
			}
			g.services = append(g.services, s)
		}
	}
	return nil
}

// create makes the object of another pod of a group.
func (w *town) create(ctx context.Context, g *group) (*resident, error) {
	w.mu.Lock()
	number := w.numbers[g.namespace+g.name]
	w.numbers[g.namespace+g.name]++
	w.mu.Unlock()
	spec := node.PodSpec{
		Namespace: g.namespace, Name: fmt.Sprintf("%s-%d", g.owner.Name, number), ServiceAccount: g.account, Labels: g.labels, Owner: g.owner,
		Containers: g.containers, Ports: []uint16{g.port}, HostNetwork: g.port >= hostPort, QoS: []node.QoS{node.Burstable, node.Guaranteed, node.BestEffort}[number%3],
	}
	pod, err := w.node.Create(ctx, spec)
	if err != nil {
		return nil, err
	}
	r := &resident{Pod: pod, group: g, identity: event.KubernetesIdentity(w.td, g.namespace, g.account)}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, container := range pod.Spec.Containers {
		w.names[spec.Namespace+"/"+spec.Name+"/"+container] = r
	}
	return r, nil
}

// start starts a pod that was created, and has it serve.
func (w *town) start(r *resident) error {
	if err := r.Start(); err != nil {
		return err
	}
	for i, program := range r.Programs {
		serve := talk.Serve{TCP: []uint16{proxyPort}}
		if i == 0 {
			serve = talk.Serve{TCP: []uint16{r.group.port}, UDP: []uint16{r.group.port}}
		}
		if err := program.Serve(serve); err != nil {
			return err
		}
	}
	return nil
}

// join reports a pod and makes it reachable for others. It can be drawn to be ended only when its services have it: else they would keep it for good.
func (w *town) join(ctx context.Context, r *resident) error {
	if err := r.Report(ctx); err != nil {
		return err
	}
	if err := r.group.change(ctx, func() { r.group.members = append(r.group.members, r) }); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pods = append(w.pods, r)
	return nil
}

// move adds pods to a group until it is complete.
func (w *town) move(ctx context.Context, g *group) error {
	for range g.pods {
		r, err := w.create(ctx, g)
		if err == nil {
			err = w.start(r)
		}
		if err == nil {
			err = w.join(ctx, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leave ends a pod in order: nobody connects to it any more, then it says what it served, then it ends. The caller holds busy.
func (w *town) leave(ctx context.Context, r *resident) error {
	w.mu.Lock()
	w.pods = slices.DeleteFunc(w.pods, func(o *resident) bool { return o == r })
	w.mu.Unlock()
	g, member := r.group, false
	if err := g.change(ctx, func() {
		member = slices.Contains(g.members, r)
		g.members = slices.DeleteFunc(g.members, func(o *resident) bool { return o == r })
	}); err != nil {
		return err
	}
	if !member { // what is told of the service would be measured against what it is not
		return fmt.Errorf("%s ends before its services have it", r.name())
	}
	return w.ask(r)
}

// ask ends a pod's programs and counts what they served.
func (w *town) ask(r *resident) error {
	for i, program := range r.Programs {
		served, err := program.Stop()
		if err != nil {
			return err
		}
		for _, s := range served {
			w.mu.Lock()
			from := w.names[s.From]
			w.mu.Unlock()
			if from == nil {
				return fmt.Errorf("%s served %q, which is nobody", program.Name, s.From)
			}
			e := end{
				who: r.identity, pod: r.name(), direction: event.Inbound, protocol: event.Protocol(s.Network),
				at: netip.AddrPortFrom(netip.Addr{}, s.Port), peer: from.identity,
			}
			if from.Spec.HostNetwork { // the address is the node's, and anybody's there
				e.peer, e.name = event.Identity{}, w.node.Name()
			}
			w.truth.add(e, r.Spec.Containers[i], s.Times)
		}
	}
	return nil
}

// change changes a group's members, and the endpoints of its services with them.
func (g *group) change(ctx context.Context, do func()) error {
	g.busy.Lock()
	defer g.busy.Unlock()
	do()
	var pods []*node.Pod
	for _, m := range g.members {
		pods = append(pods, m.Pod)
	}
	for _, s := range g.services {
		if err := s.Endpoints(ctx, pods...); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) size() int {
	g.busy.RLock()
	defer g.busy.RUnlock()
	return len(g.members)
}

// anyone is a pod that runs, held against its end until release is called; nil if the one that was drawn is about to end.
func (w *town) anyone(draw *rand.Rand) (r *resident, release func()) {
	w.mu.Lock()
	r = w.pods[draw.IntN(len(w.pods))]
	w.mu.Unlock()
	if !r.busy.TryRLock() {
		return nil, nil
	}
	return r, r.busy.RUnlock
}

func newTown(t *testing.T, n *node.Node) *town {
	t.Helper()
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	return &town{node: n, td: td, truth: newTally(), names: make(map[string]*resident), numbers: make(map[string]int)}
}

func isService(a netip.Addr) bool {
	return netip.MustParsePrefix(testenv.ServiceRange4).Contains(a) || netip.MustParsePrefix(testenv.ServiceRange6).Contains(a)
}
