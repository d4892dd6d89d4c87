package detector

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ambit-nhi/ambit/event"
)

// place is what a resource is for those who attack: how much it would give them.
type place int

const (
	placeInside   place = iota // in the same network, nothing known of it
	placeLoopback              // on the same machine
	placeNames                 // name service
	placeDatabase
	placeShell  // remote administration of machines
	placeSecret // stores of secrets and keys
	placeAPI    // the Kubernetes API, kubelets, etcd
	placePublic // outside of private networks
	placeMetadata
)

// places say what a place means. The weights are points of log-odds: how much likelier a first use of such a place is in an attack than in daily work.
// They are judgements, checked by the benchmark, not measurements.
var places = [...]struct {
	word          string // what it is, in a sentence
	why           string // with the address or name
	weight        float64
	owasp, attack []string
}{
	placeInside:   {attack: []string{"T1021"}}, // remote services
	placeLoopback: {word: "the same machine", why: "%s is on the same machine.", weight: -3},
	placeNames:    {word: "a name server", weight: -2.5, attack: []string{"T1071.004"}},
	placeDatabase: {word: "a database", why: "%s is a database, by its port or name.", weight: 2.2, attack: []string{"T1213.006"}},
	placeShell:    {word: "remote administration", why: "%s gives remote control of a machine, by its port.", weight: 2.6, attack: []string{"T1021"}},
	placeSecret:   {word: "a store of secrets", why: "%s keeps secrets or keys, by its port or name.", weight: 3, owasp: []string{"NHI2:2025"}, attack: []string{"T1555"}},
	placeAPI: {word: "the cluster's control plane", why: "%s controls the cluster.", weight: 2.8,
		attack: []string{"T1613"}},
	placePublic: {word: "the internet", why: "%s is a public address.", weight: 1.2, owasp: []string{"NHI3:2025"}, attack: []string{"T1071"}},
	placeMetadata: {word: "cloud metadata", why: "%s is a cloud metadata service, which hands out credentials.", weight: 4, owasp: []string{"NHI6:2025"},
		attack: []string{"T1552.005"}},
}

// sensitive says that nothing excuses a first use: not a new version either.
func (p place) sensitive() bool { return places[p].weight >= 2 }

// metadataServices hand out a machine's or a workload's cloud credentials to whoever asks.
var metadataServices = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), // AWS, Azure, Google, OpenStack and others
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd20:ce::254"),    // Google
	netip.MustParseAddr("169.254.170.2"),   // AWS ECS tasks
	netip.MustParseAddr("169.254.170.23"),  // AWS EKS pods
	netip.MustParseAddr("fd00:ec2::23"),    // AWS EKS pods
	netip.MustParseAddr("100.100.100.200"), // Alibaba
}

// placePorts are of the IANA registry, or of the programs' documentation.
var placePorts = map[uint16]place{
	1433: placeDatabase, 1521: placeDatabase, 3306: placeDatabase, 5432: placeDatabase, 5433: placeDatabase, 6379: placeDatabase, 6380: placeDatabase,
	7000: placeDatabase, 9042: placeDatabase, 9200: placeDatabase, 9300: placeDatabase, 11211: placeDatabase, 27017: placeDatabase, 26257: placeDatabase,
	8123: placeDatabase, 9000: placeDatabase,
	22: placeShell, 23: placeShell, 445: placeShell, 3389: placeShell, 5900: placeShell, 5985: placeShell, 5986: placeShell,
	8200: placeSecret, 8201: placeSecret,
	2379: placeAPI, 2380: placeAPI, 6443: placeAPI, 10250: placeAPI, 10255: placeAPI,
}

// placeNames that say what stands behind them, whatever the port: labels of a name, or ends of it.
var (
	secretNames = []string{"vault", "secretsmanager", "secretmanager", "kms", "cloudkms", "keyvault"}
	secretEnds  = []string{".vault.azure.net", ".vaultcore.azure.net"}
	apiNames    = []string{"kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	dataNames   = []string{"db", "database", "postgres", "postgresql", "mysql", "mariadb", "mongo", "mongodb", "redis", "cassandra", "elasticsearch", "rds"}
)

func placeOf(o *event.Observation) place {
	address, dialled := o.Peer.Address.Unmap().WithZone(""), o.Peer.Dialled.Addr().Unmap().WithZone("")
	port := o.Peer.Port
	if o.Peer.Dialled.IsValid() {
		port = o.Peer.Dialled.Port()
	}
	name := o.Peer.Name
	switch {
	case slices.Contains(metadataServices, address), slices.Contains(metadataServices, dialled), name == "metadata.google.internal":
		return placeMetadata
	case address.IsLoopback():
		return placeLoopback
	case slices.Contains(apiNames, name):
		return placeAPI
	case (port == 53 || port == 853) && !public(address):
		return placeNames
	}
	if name != "" {
		for _, end := range secretEnds {
			if strings.HasSuffix(name, end) {
				return placeSecret
			}
		}
		for rest := name; rest != ""; {
			var label string
			label, rest, _ = strings.Cut(rest, ".")
			if slices.Contains(secretNames, label) {
				return placeSecret
			}
			if slices.Contains(dataNames, label) {
				return placeDatabase
			}
		}
	}
	if p, known := placePorts[port]; known {
		return p
	}
	if public(address) {
		return placePublic
	}
	return placeInside
}

func public(a netip.Addr) bool {
	return a.IsValid() && a.IsGlobalUnicast() && !a.IsPrivate() && !sharedAddresses.Contains(a)
}

// sharedAddresses are carrier-grade NAT's (RFC 6598), which clusters use inside.
var sharedAddresses = netip.MustParsePrefix("100.64.0.0/10")
