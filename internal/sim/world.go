package sim

import (
	"fmt"
	"net/netip"

	"github.com/ambit-nhi/ambit/event"
)

const trustDomain = "sim.example"

// world is all that there is before time runs.
type world struct {
	Params
	domain    event.TrustDomain
	slots     []*slot
	prodSlots int // the first of them
	members   []*member
	saas      []*place
	mirrors   []*place // what runners fetch from
	customers []*place // what wide identities reach
	byName    map[string]*member

	apiserver, metadata, clock, registry, git, packages *place
	dns                                                 *member
	clusterIPs                                          int
}

func newWorld(p Params) (*world, error) {
	td, err := event.ParseTrustDomain(trustDomain)
	if err != nil {
		return nil, err
	}
	w := &world{Params: p, domain: td, byName: map[string]*member{}}
	w.addNodes()
	w.addPlaces()
	w.addInfrastructure()
	w.addUnits()
	w.addRunners()
	w.addIdle()
	w.addTeams()
	w.addLives()
	w.addDeploys()
	w.settleEdges()
	w.addPartners()
	w.addOutages()
	return w, nil
}

// outside makes a place on the internet that answers with several addresses in turn.
func (w *world) outside(name string, port uint16, addresses int) *place {
	p := &place{name: name, source: event.NameDNS, port: port, protocol: event.TCP, tls: port == 443, hash: mix(w.Seed, hashText(name))}
	for i := range addresses {
		p.addresses = append(p.addresses, publicAddress(mix(p.hash, uint64(i))))
	}
	return p
}

// publicAddress makes one that is neither private nor special.
func publicAddress(h uint64) netip.Addr {
	return netip.AddrFrom4([4]byte{23 + byte(h>>24&31), byte(h >> 16), byte(h >> 8), 1 + byte(h)%250})
}

func (w *world) addPlaces() {
	for i := range w.SaaSNames {
		w.saas = append(w.saas, w.outside(fmt.Sprintf("api.vendor-%02d.example", i+1), 443, w.SaaSAddresses))
	}
	for i := range 300 {
		w.mirrors = append(w.mirrors, w.outside(fmt.Sprintf("mirror.packages-%03d.example", i+1), 443, 2))
	}
	for i := range 6000 {
		w.customers = append(w.customers, w.outside(fmt.Sprintf("hooks.customer-%04d.example", i+1), 443, 1))
	}
	node := netip.MustParseAddr("10.0.255.10")
	w.apiserver = &place{
		name: "kubernetes.default.svc", source: event.NameService, addresses: []netip.Addr{node}, port: 6443, dialled: netip.MustParseAddr("10.96.0.1"), dialPort: 443,
		protocol: event.TCP, tls: true, hash: mix(w.Seed, hashText("apiserver")),
	}
	w.metadata = &place{addresses: []netip.Addr{netip.MustParseAddr("169.254.169.254")}, port: 80, protocol: event.TCP, hash: mix(w.Seed, hashText("metadata"))}
	w.clock = w.outside("time.corp.example", 123, 2)
	w.clock.protocol = event.UDP
	w.registry = w.outside("registry.corp.example", 443, 2)
	w.git = w.outside("git.corp.example", 443, 1)
	w.packages = w.outside("deb.mirror.example", 80, 3)
}

// add makes an identity of a service account.
func (w *world) add(k kind, env, team, function string) *member {
	m := &member{
		kind: k, env: env, team: team, function: function, namespace: team + "-" + env, account: function, owner: "Deployment/" + function,
		exe: "/app/" + function, image: "registry.corp.example/" + team + "/" + function, replicas: 1, gone: never, prod: env == "prod", port: 8080, podPort: 8080,
	}
	m.hash = mix(w.Seed, hashText(m.namespace+"/"+m.account))
	w.place(m, m.namespace)
	w.reached(m)
	w.members = append(w.members, m)
	w.byName[m.namespace+"/"+m.account] = m
	return m
}

// place puts a member into a namespace.
func (w *world) place(m *member, namespace string) {
	m.namespace, m.service = namespace, m.account+"."+namespace+".svc"
	m.id = event.KubernetesIdentity(w.domain, namespace, m.account)
	m.derived = m.id
}

// reached gives a member a service's address.
func (w *world) reached(m *member) {
	w.clusterIPs++
	m.clusterIP = netip.AddrFrom4([4]byte{10, 96, byte(1 + w.clusterIPs>>8), byte(w.clusterIPs)})
}

// register names a member's SVID by a registration entry.
func (w *world) register(m *member) {
	id, err := event.ParseIdentity("spiffe://" + trustDomain + "/" + m.env + "/" + m.team + "/" + m.function)
	if err == nil { // names of ours are always valid
		m.id, m.registry = id, true
	}
}

func (w *world) find(env, team, function string) *member { return w.byName[team+"-"+env+"/"+function] }

// infrastructure that is there in every cluster.
func (w *world) addInfrastructure() {
	w.dns = w.add(kindStore, "cluster", "dns", "coredns")
	w.dns.prod = true
	w.place(w.dns, "kube-system")
	w.dns.owner, w.dns.exe = "Deployment/coredns", "/coredns"
	w.dns.port, w.dns.podPort, w.dns.replicas = 53, 53, 2
	for _, env := range []string{"prod", "staging"} {
		vault := w.add(kindStore, env, "vault", "vault")
		vault.port, vault.podPort, vault.owner, vault.mesh = 8200, 8200, "StatefulSet/vault", true
		queue := w.add(kindStore, env, "data", "kafka")
		queue.port, queue.podPort, queue.owner, queue.replicas = 9092, 9092, "StatefulSet/kafka", 3
		telemetry := w.add(kindService, env, "telemetry", "collector")
		telemetry.port, telemetry.podPort, telemetry.replicas = 4317, 4317, 2
		w.connect(telemetry, w.saas[0], 200, 20_000, 900)
		w.resolves(telemetry)
	}
	operator := w.add(kindService, "prod", "platform", "operator")
	w.connect(operator, w.apiserver, 120, 4000, 30_000)
	w.connect(operator, w.metadata, 4, 300, 2000)
	w.resolves(operator)
}

func (w *world) addUnits() {
	perSlot := 2
	if w.Identities < 200 {
		perSlot = 1
	}
	for _, s := range w.slots {
		for _, machine := range s.machines {
			for _, u := range []struct{ unit, exe string }{{"kubelet.service", "/usr/bin/kubelet"}, {"chrony.service", "/usr/sbin/chronyd"}}[:perSlot] {
				m := &member{
					kind: kindUnit, env: "node", team: "node", function: u.unit, account: u.unit, exe: u.exe, replicas: 1, machine: machine, born: machine.from, gone: machine.until,
					prod: s.index < w.prodSlots, id: event.UnitIdentity(w.domain, machine.name, u.unit),
				}
				m.hash, m.derived = mix(machine.hash, hashText(u.unit)), m.id
				if u.unit == "kubelet.service" {
					w.connect(m, w.apiserver, 60, 9000, 20_000)
					w.connect(m, w.registry, 1.5, 3000, 4_000_000)
					w.connect(m, w.metadata, .5, 300, 1500)
				} else {
					w.connect(m, w.clock, 4, 48, 48)
				}
				machine.units = append(machine.units, m)
				w.members = append(w.members, m)
			}
		}
	}
}

// addRunners makes those that run pipelines: they reach development and staging, and fetch from wherever a build says.
func (w *world) addRunners() {
	for i := range max(1, int(w.Runners*float64(w.Identities))) {
		m := w.add(kindRunner, "ci", "ci", fmt.Sprintf("runner-%d", i+1))
		w.place(m, "ci")
		m.owner, m.season, m.exe = fmt.Sprintf("RunnerSet/runner-%d", i+1), seasonOffice, "/usr/bin/git"
		w.connect(m, w.git, 20, 4000, 900_000)
		w.connect(m, w.registry, 12, 2_000_000, 3_000_000)
		w.resolves(m)
	}
}

// addIdle makes accounts that are declared, and never used.
func (w *world) addIdle() {
	for i := range max(2, int(w.NeverUsed*float64(w.Identities))) {
		m := w.add(kindIdle, []string{"prod", "staging"}[i%2], "legacy", fmt.Sprintf("account-%02d", i+1))
		m.owner, m.gone = "", 0
	}
}

// initial is how many identities there are at the beginning.
func (w *world) initial() (n int) {
	for _, m := range w.members {
		if m.kind != kindUnit || m.born == 0 {
			n++
		}
	}
	return n
}
