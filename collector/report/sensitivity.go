package report

import (
	"strings"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/event"
)

// Weights of what can be reached, in units of an ordinary identity. They order answers; they are no probability.
const (
	weightOrdinary = 1
	weightMedium   = 3  // an identity that may run programs or read secrets somewhere
	weightHigh     = 10 // one with a way to nearly everything
	weightAdmin    = 20 // one that may do everything
	weightProd     = 2  // times, in production
)

// weigh says how much it would matter if an identity were misused, and why.
func weigh(v *inventory.View) (int, []string) {
	weight, why := weightOrdinary, []string(nil)
	switch v.Privilege {
	case event.PrivilegeMedium:
		weight = weightMedium
	case event.PrivilegeHigh:
		weight = weightHigh
	case event.PrivilegeClusterAdmin:
		weight = weightAdmin
	}
	if weight > weightOrdinary {
		why = append(why, "privilege "+string(v.Privilege))
	}
	if e := strings.ToLower(v.Environment); e == "prod" || e == "production" {
		weight *= weightProd
		why = append(why, "production")
	}
	return weight, why
}

// services are what is known of ports.
var services = map[string]struct {
	weight int
	what   string
}{
	"1433": {5, "SQL Server"}, "1521": {5, "Oracle"}, "3306": {5, "MySQL"}, "5432": {5, "PostgreSQL"}, "27017": {5, "MongoDB"}, "9042": {5, "Cassandra"},
	"8123": {5, "ClickHouse"}, "9000": {3, "ClickHouse or an object store"}, "9200": {5, "Elasticsearch"}, "6379": {4, "Redis"}, "11211": {3, "memcached"},
	"5672": {3, "AMQP"}, "9092": {3, "Kafka"}, "4222": {3, "NATS"}, "2379": {10, "etcd"}, "8200": {8, "Vault"}, "6443": {8, "Kubernetes API"}, "10250": {8, "kubelet"},
	"389": {6, "LDAP"}, "636": {6, "LDAP"}, "88": {6, "Kerberos"}, "22": {4, "SSH"}, "3389": {4, "RDP"}, "445": {4, "SMB"}, "5985": {4, "WinRM"}, "2375": {8, "Docker"},
}

// sensitivePorts are the ports of services.
var sensitivePorts = func() []string {
	var out []string
	for port := range services {
		out = append(out, port)
	}
	return out
}()

// weighResource says how much it matters that a resource can be reached, and why.
func weighResource(resource string) (int, string) {
	name, service := splitResource(resource)
	port, _, _ := strings.Cut(service, "/")
	switch {
	case strings.HasPrefix(name, "net:169.254.169.254/"):
		return 10, "cloud metadata: credentials of the machine"
	case strings.HasPrefix(name, "service:kubernetes.default"):
		return 8, "Kubernetes API"
	}
	if s, ok := services[port]; ok {
		return s.weight, s.what
	}
	return weightOrdinary, ""
}

// splitResource cuts a resource into its name and its service, such as 5432/tcp.
func splitResource(resource string) (name, service string) {
	i := strings.LastIndexByte(resource, ':')
	if i < 0 {
		return resource, ""
	}
	return resource[:i], resource[i+1:]
}
