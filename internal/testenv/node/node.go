// Package node gives tests a Kubernetes node without a kubelet: pods are objects in a real API server, and cgroups, network namespaces and
// processes on this machine, named and connected as kubelet, container runtime, network plugin and kube-proxy do it. The test decides what happens
// when. All of it is in the network that testenv.OwnNetwork made, and goes with it.
package node

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// Config of a node. Zero fields have the values of the first kind of node there is: "n1", systemd, containerd.
type Config struct {
	Name     string
	Cgroupfs bool    // kubelet's cgroup driver: cgroupfs instead of systemd
	Runtime  Runtime // who names the containers' cgroups
}

// Runtime is a container runtime.
type Runtime string

// The runtimes.
const (
	Containerd Runtime = "containerd"
	CRIO       Runtime = "cri-o"
	Docker     Runtime = "docker"
)

// The addresses of the node itself, of a host that is not in the cluster, and where the pods' addresses are taken from.
var (
	Address4 = netip.MustParseAddr("192.168.77.10")
	Address6 = netip.MustParseAddr("fd00:77::10")
	Outside4 = netip.MustParseAddr("203.0.113.7")
	Outside6 = netip.MustParseAddr("2001:db8::7")
	Pods4    = netip.MustParsePrefix("10.244.0.0/16")
	Pods6    = netip.MustParsePrefix("fd00:10:244::/64")
)

// Node is one node. Its methods, and those of its pods, may be used from several goroutines, and return errors instead of failing the test.
type Node struct {
	Client *kubernetes.Clientset // the administrator's

	cfg       Config
	program   string // the traffic program
	cgroup    string // folder that kubelet's cgroups are below
	spawner   *spawner
	network   *network
	services  *services
	addresses addresses
}

// New makes a node, and its object in the cluster. It must be called in [testenv.OwnNetwork].
func New(t testing.TB, cluster *testenv.Cluster, cfg Config) *Node {
	t.Helper()
	if testenv.OwnCgroup() == "" {
		t.Fatal("make node: the test is not in a network of its own (testenv.OwnNetwork)")
	}
	if cfg.Name == "" {
		cfg.Name = "n1"
	}
	if cfg.Runtime == "" {
		cfg.Runtime = Containerd
	}
	n := &Node{cfg: cfg, cgroup: testenv.OwnCgroup(), program: filepath.Join(t.TempDir(), "traffic")}
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", n.program, "github.com/ambit-nhi/ambit/internal/testenv/traffic/program")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the traffic program: %v\n%s", err, out)
	}
	client, err := clientcmd.BuildConfigFromFlags("", cluster.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	client.QPS = -1
	client.ContentType = "application/vnd.kubernetes.protobuf"
	if n.Client, err = kubernetes.NewForConfig(client); err != nil {
		t.Fatal(err)
	}
	n.spawner = newSpawner()
	t.Cleanup(n.spawner.close)
	outside, err := n.spawner.newNamespace()
	if err != nil {
		t.Fatalf("make a network outside of the cluster: %v", err)
	}
	if n.network, err = newNetwork(outside); err != nil {
		t.Fatalf("make the node's network: %v", err)
	}
	t.Cleanup(n.network.close)
	if n.services, err = newServices(); err != nil {
		t.Fatalf("make the node's packet filter: %v", err)
	}
	if err := n.register(t.Context()); err != nil {
		t.Fatalf("create the node's object: %v", err)
	}
	return n
}

// Outside starts the traffic program on the host that is not in the cluster.
func (n *Node) Outside() (*Program, error) {
	dir := filepath.Join(n.cgroup, "outside")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	return n.startProgram("outside", dir, n.network.outside)
}

// register tells the API server of the node.
func (n *Node) register(ctx context.Context) error {
	made, err := n.Client.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.cfg.Name, Labels: map[string]string{"kubernetes.io/hostname": n.cfg.Name}},
		Spec:       corev1.NodeSpec{PodCIDR: Pods4.String(), PodCIDRs: []string{Pods4.String(), Pods6.String()}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	made.Status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: Address4.String()},
		{Type: corev1.NodeInternalIP, Address: Address6.String()},
		{Type: corev1.NodeHostName, Address: n.cfg.Name},
	}
	_, err = n.Client.CoreV1().Nodes().UpdateStatus(ctx, made, metav1.UpdateOptions{})
	return err
}

// Name of the node.
func (n *Node) Name() string { return n.cfg.Name }
