package store

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

// Config says where the database is. Exactly one of Socket and Addresses is set.
type Config struct {
	Socket       string    `mapstructure:"-"`             // unix socket of the embedded engine
	Addresses    []string  `mapstructure:"addresses"`     // of ClickHouse servers: host:port (native), http:// or https:// URLs; the first that answers is used
	Cluster      string    `mapstructure:"cluster"`       // name in the servers' remote_servers; empty is one server
	Database     string    `mapstructure:"database"`      // made on the embedded engine, must exist on all servers
	Username     string    `mapstructure:"username"`      //
	PasswordFile string    `mapstructure:"password_file"` // holds the password and nothing else; empty is no password
	CAFile       string    `mapstructure:"ca_file"`       // PEM; empty trusts the system's authorities
	CertFile     string    `mapstructure:"cert_file"`     // PEM, with KeyFile: the client's certificate, read again for each connection; empty is none
	KeyFile      string    `mapstructure:"key_file"`      // PEM
	Retention    Retention `mapstructure:"-"`             // a section of its own
}

// Default is a Config that lacks only Socket or Addresses.
func Default() Config {
	return Config{Database: "ambit", Username: "default", Retention: DefaultRetention()}
}

// Validate says all that is wrong with c.
func (c *Config) Validate() error {
	var faults []error
	if (c.Socket == "") == (len(c.Addresses) == 0) {
		faults = append(faults, errors.New("clickhouse: want either the embedded engine's socket or clickhouse.addresses"))
	}
	if !validName(c.Database) {
		faults = append(faults, fmt.Errorf("clickhouse.database %q: want letters, digits and _", c.Database))
	}
	if c.Username == "" {
		faults = append(faults, errors.New("clickhouse.username is empty"))
	}
	if c.Cluster != "" && (c.Socket != "" || strings.ContainsFunc(c.Cluster, func(r rune) bool { return r <= ' ' || r == 0x7f })) {
		faults = append(faults, fmt.Errorf("clickhouse.cluster %q: want the name of a cluster of the servers in clickhouse.addresses", c.Cluster))
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		faults = append(faults, errors.New("clickhouse.cert_file and clickhouse.key_file belong together: one of them is missing"))
	}
	faults = append(faults, c.Retention.Validate())
	e, err := c.endpoints()
	if err != nil {
		faults = append(faults, err)
	} else if !e.tls && len(e.hosts) > 0 && (c.CAFile != "" || c.CertFile != "") {
		faults = append(faults, errors.New("clickhouse.ca_file and clickhouse.cert_file are for encrypted connections; these addresses are spoken to in plain"))
	}
	return errors.Join(faults...)
}

func validName(s string) bool {
	for i, c := range []byte(s) {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// endpoint is how to speak to the servers: all of them the same way.
type endpoint struct {
	hosts []string
	http  bool
	tls   bool
}

// endpoints reads Addresses. What leaves the machine is encrypted; only loopback may be spoken to in plain.
func (c *Config) endpoints() (endpoint, error) {
	var all endpoint
	for i, address := range c.Addresses {
		var one endpoint
		host := address
		if scheme, _, ok := strings.Cut(address, "://"); ok {
			u, err := url.Parse(address)
			if err != nil || scheme != "http" && scheme != "https" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
				return endpoint{}, fmt.Errorf("clickhouse.addresses %q: want host:port, http://host:port or https://host:port", address)
			}
			host, one.http, one.tls = u.Host, true, scheme == "https"
		}
		name, _, err := net.SplitHostPort(host)
		if err != nil || name == "" {
			return endpoint{}, fmt.Errorf("clickhouse.addresses %q: want a host and a port, such as ch1.example:9440", address)
		}
		switch {
		case !one.http:
			one.tls = !loopback(name)
		case !one.tls && !loopback(name):
			return endpoint{}, fmt.Errorf("clickhouse.addresses %q: http is for loopback only; use https", address)
		}
		if i > 0 && (one.http != all.http || one.tls != all.tls) {
			return endpoint{}, fmt.Errorf("clickhouse.addresses %q: all addresses must be of the same kind", address)
		}
		all.http, all.tls = one.http, one.tls
		all.hosts = append(all.hosts, host)
	}
	return all, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

func (c *Config) password() (string, error) {
	if c.PasswordFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read clickhouse.password_file: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
