// Package town makes up what the nodes of a cluster would observe: workloads as Kubernetes and systemd run them, edges of which few are used
// always and many seldom, names, peers with identities, some TLS. The same town and node give the same observations each time.
package town

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Interval is how often the nodes of a town drain their edges.
const Interval = 10 * time.Second

// Sizes of a node, as of a busy one, and of the town.
const (
	pods        = 90  // of a node that may have 110
	units       = 20  // systemd units that talk
	deployments = 240 // of the cluster; each is a service as well
	outside     = 300 // names on the Internet and in the company
)

// Domain is the trust domain of a town.
var Domain = func() event.TrustDomain {
	td, err := event.ParseTrustDomain("town.example")
	if err != nil {
		panic(err) // a constant
	}
	return td
}()

// edge is one thing that a workload does, and how likely it does it in an interval.
type edge struct {
	observation event.Observation
	chance      float64
	many        float64 // mean of its connections in an interval
	size        float64 // logarithm of the mean of its bytes
}

// Node is one node of a town. It is for one goroutine.
type Node struct {
	Name  string
	edges []edge
	known map[known]bool
	r     *rand.Rand
}

// known is what the kernel keeps one edge for.
type known struct {
	process   *process
	direction event.Direction
	address   netip.Addr
	port      uint16
}

// NewNode makes the node of a number, from 1, with so many edges used in an interval on average.
func NewNode(number, active int) *Node {
	n := &Node{Name: fmt.Sprintf("n%d", number), known: map[known]bool{}, r: rand.New(rand.NewPCG(uint64(number), 1))}
	// Of all edges, a third is used in an interval; the popular ones always.
	running := n.running()
	for len(n.edges) < 3*active { // in rounds, as more clients come and names get more addresses
		for i := range running {
			n.connect(&running[i])
		}
	}
	n.r.Shuffle(len(n.edges), func(i, j int) { n.edges[i], n.edges[j] = n.edges[j], n.edges[i] })
	sum := 0.0
	for i := range n.edges {
		e, rank := &n.edges[i], float64(i+1)/float64(len(n.edges))
		e.chance = min(1, 0.09*math.Pow(rank, -0.9))
		e.many = 1 + 200*math.Exp(-12*rank)
		e.size = 6 + 5*n.r.Float64()
		sum += e.chance
	}
	for i := range n.edges {
		n.edges[i].chance *= float64(active) / sum
	}
	n.r.Shuffle(len(n.edges), func(i, j int) { n.edges[i], n.edges[j] = n.edges[j], n.edges[i] }) // agents tell them in no order
	return n
}

func (n *Node) hex(bytes int) string {
	b := make([]byte, bytes)
	for i := range b {
		b[i] = byte(n.r.Uint32())
	}
	return hex.EncodeToString(b)
}

var (
	spaces = []string{"shop", "payments", "search", "data", "ml", "platform", "monitoring", "kube-system", "edge", "partners"}
	jobs   = []string{"api", "worker", "gateway", "sync", "indexer", "cache", "scheduler", "exporter", "proxy", "web", "etl", "mailer"}
	roots  = []string{"/app/server", "/usr/bin/python3.12", "/usr/local/openjdk-21/bin/java", "/usr/local/bin/node", "/app/worker", "/usr/bin/curl", "/bin/busybox"}
)

// deployment is one of the town's, which the nodes share: they run its pods.
type deployment struct {
	namespace, account, hash string
	image                    string
	number                   int
	port                     uint16
	uses, names, callers     []int // other deployments, names outside, and deployments that call it
}

var ports = [...]uint16{443, 8080, 5432, 6379, 9092, 3306, 80, 50051}

// town are all deployments. Few are used by very many.
var town = func() (all [deployments]deployment) {
	r := rand.New(rand.NewPCG(1, 2))
	few := func(least, most, of int) (out []int) {
		for range least + r.IntN(most-least+1) {
			out = append(out, int(float64(of)*math.Pow(r.Float64(), 2.5)))
		}
		return out
	}
	for i := range all {
		namespace, account := spaces[i%len(spaces)], fmt.Sprintf("%s-%s", jobs[i/len(spaces)%len(jobs)], []string{"v1", "v2", "eu", "us"}[i%4])
		sum := sha256.Sum256([]byte(namespace + account))
		all[i] = deployment{
			namespace: namespace, account: account, hash: hex.EncodeToString(sum[:5]), number: i, port: ports[i%len(ports)],
			image: "registry.town.example/" + namespace + "/" + account + "@sha256:" + hex.EncodeToString(sum[:]), uses: few(3, 10, deployments), names: few(1, 5, outside),
		}
	}
	for i := range all {
		for _, used := range all[i].uses {
			all[used].callers = append(all[used].callers, i)
		}
	}
	return all
}()

func (d *deployment) identity() event.Identity {
	return event.KubernetesIdentity(Domain, d.namespace, d.account)
}

func (d *deployment) name() string { return d.account + "." + d.namespace + ".svc.cluster.local" }

// address is that of one of its pods.
func (n *Node) address(d *deployment) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 244, byte(d.number), byte(2 + n.r.IntN(12))})
}

// process is a workload, and the deployment that it belongs to, if any.
type process struct {
	event.Workload
	of *deployment
}

func (n *Node) running() (out []process) {
	for range pods {
		d := &town[n.r.IntN(deployments)]
		uid := fmt.Sprintf("%s_%s_%s_%s_%s", n.hex(4), n.hex(2), n.hex(2), n.hex(2), n.hex(6))
		w := event.Workload{
			Identity: d.identity(), Evidence: event.EvidenceKubernetes, Namespace: d.namespace,
			Pod: d.account + "-" + d.hash + "-" + n.hex(3)[:5], Container: "main", Image: d.image, ServiceAccount: d.account, Owner: "Deployment/" + d.account, UID: 65532,
			Cgroup: "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uid + ".slice/cri-containerd-" + n.hex(32) + ".scope",
		}
		for e := range 1 + n.r.IntN(2) {
			w.Executable = roots[(d.number+3*e)%len(roots)]
			out = append(out, process{w, d})
		}
	}
	for i := range units {
		unit := fmt.Sprintf("%s-agent-%d.service", jobs[i%len(jobs)], i)
		out = append(out, process{Workload: event.Workload{
			Identity: event.UnitIdentity(Domain, n.Name, unit), Evidence: event.EvidenceSystemd, Unit: unit, Executable: "/usr/sbin/" + jobs[i%len(jobs)] + "d",
			Cgroup: "/system.slice/" + unit,
		}})
	}
	return out
}

func (n *Node) add(p *process, direction event.Direction, protocol event.Protocol, peer event.Peer, tls *event.TLS) {
	k := known{p, direction, peer.Address, peer.Port}
	if n.known[k] {
		return
	}
	n.known[k] = true
	n.edges = append(n.edges, edge{observation: event.Observation{
		Node: n.Name, Workload: p.Workload, Direction: direction, Protocol: protocol, Peer: peer, TLS: tls,
	}})
}

// connect adds one edge of each kind that a process has.
func (n *Node) connect(p *process) {
	names := []int{len(p.Unit) % outside}
	if d := p.of; d != nil {
		names = d.names
		for _, u := range d.uses {
			n.service(p, &town[u])
		}
		for _, c := range d.callers[:min(len(d.callers), 12)] {
			caller := &town[c]
			n.add(p, event.Inbound, event.TCP, event.Peer{Address: n.address(caller), Port: d.port, Identity: caller.identity(), Evidence: event.EvidenceKubernetes}, nil)
		}
		n.add(p, event.Outbound, event.UDP, event.Peer{
			Address: netip.AddrFrom4([4]byte{10, 244, 0, byte(2 + n.r.IntN(2))}), Port: 53, Dialled: netip.MustParseAddrPort("10.96.0.10:53"),
			Name: "kube-dns.kube-system.svc.cluster.local", NameSource: event.NameService, Identity: event.KubernetesIdentity(Domain, "kube-system", "coredns"), Evidence: event.EvidenceKubernetes,
		}, nil)
	}
	for _, s := range names {
		peer := event.Peer{
			Address: netip.AddrFrom4([4]byte{52, byte(s), byte(s * 7), byte(1 + n.r.IntN(16))}), Port: 443,
			Name: fmt.Sprintf("%s%d.cloud.example", []string{"api", "storage", "queue", "login"}[s%4], s), NameSource: event.NameDNS,
		}
		var tls *event.TLS
		if s%3 > 0 {
			tls = &event.TLS{Version: "1.3", SNI: peer.Name, ALPN: "h2", Provenance: "wire-only"}
		}
		n.add(p, event.Outbound, event.TCP, peer, tls)
	}
	if n.r.IntN(8) == 0 { // without a name
		n.add(p, event.Outbound, event.TCP, event.Peer{Address: netip.AddrFrom4([4]byte{192, 168, byte(n.r.IntN(4)), byte(n.r.IntN(256))}), Port: ports[n.r.IntN(len(ports))]}, nil)
	}
}

// service adds an edge to a service of the cluster. Every fifth speaks mutual TLS.
func (n *Node) service(p *process, d *deployment) {
	peer := event.Peer{
		Address: n.address(d), Port: d.port, Dialled: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, byte(d.number >> 4), byte(d.number<<4 | 1)}), d.port),
		Name: d.name(), NameSource: event.NameService,
	}
	if d.number%4 > 0 { // whose pods are known
		peer.Identity, peer.Evidence = d.identity(), event.EvidenceKubernetes
	}
	if d.number%5 > 0 {
		n.add(p, event.Outbound, event.TCP, peer, nil)
		return
	}
	peer.Identity, peer.Evidence = d.identity(), event.EvidenceSVID
	sum := sha256.Sum256([]byte(d.identity().String()))
	since := time.Date(2026, 11, 1, d.number%24, 0, 0, 0, time.UTC)
	n.add(p, event.Outbound, event.TCP, peer, &event.TLS{
		Version: "1.3", SNI: d.name(), Mutual: true, Verified: true, Provenance: "full",
		PeerCertificate: &event.Certificate{
			SHA256: hex.EncodeToString(sum[:]), Serial: hex.EncodeToString(sum[8:24]), Issuer: "O=town.example,CN=mesh", NotBefore: since, NotAfter: since.Add(30 * 24 * time.Hour), Proven: true,
		},
	})
}

// Observe gives what the node observed in the interval that ends at end, which is passed to visit and may be changed by it until it returns.
func (n *Node) Observe(end time.Time, visit func(*event.Observation)) {
	for i := range n.edges {
		e := &n.edges[i]
		if n.r.Float64() >= e.chance {
			continue
		}
		o := e.observation
		o.Time = end
		o.FirstTime = end.Add(-time.Duration(n.r.Float64() * float64(Interval)))
		o.Counts.Connections = 1 + uint64(e.many*n.r.ExpFloat64()/2)
		sent := math.Exp(e.size + n.r.NormFloat64()/2)
		o.Counts.BytesSent = uint64(sent) * o.Counts.Connections
		o.Counts.BytesReceived = uint64(sent*4*n.r.Float64()) * o.Counts.Connections
		if n.r.IntN(100) == 0 {
			o.Counts.Failed, o.Error = 1, "refused"
		}
		visit(&o)
	}
}
