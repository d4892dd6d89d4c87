package agent

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ambit-nhi/ambit/agent/enforce"
	"github.com/ambit-nhi/ambit/agent/peer"
	"github.com/ambit-nhi/ambit/agent/workload"
	"github.com/ambit-nhi/ambit/event"
)

// What a node knows, for the decisions; see enforce.Node.

// scan lists the cgroups of this node, if that is not known well enough.
func (d *denier) scan(fresh bool) error {
	age := time.Since(d.scanned)
	if !fresh && age < scanAgain {
		return nil
	}
	found, fresher := map[uint64]string{}, map[uint64]string{}
	err := filepath.WalkDir(d.root, func(dir string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
			return nil
		}
		if err != nil {
			return err
		}
		if !entry.IsDir() {
			return nil
		}
		info, err := entry.Info()
		if err != nil { // gone
			return fs.SkipDir
		}
		path := strings.TrimPrefix(dir, d.root)
		if path == "" {
			path = "/"
		}
		id := info.Sys().(*syscall.Stat_t).Ino
		if found[id] = path; d.cgroups[id] == "" {
			fresher[id] = dir
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.resolve.Learn(fresher)
	d.cgroups, d.scanned = found, time.Now()
	return nil
}

// Workloads implements [enforce.Node].
func (d *denier) Workloads() []enforce.Workload {
	out := make([]enforce.Workload, 0, len(d.cgroups))
	proven := d.claims.Load()
	for id, path := range d.cgroups {
		w := d.resolve.Resolve(id, workload.Process{})
		x := enforce.Workload{Cgroup: id, Path: path, Identity: w.Identity, Shared: w.Evidence == event.EvidenceProcess}
		x.Own = (id == d.ownID || d.ownID == 0 && path == d.own) && !x.Shared
		if proven != nil && !x.Shared {
			if claimed, ok := proven.one[w.Cgroup]; ok {
				x.Identity = claimed
			}
			x.Shared = proven.several[w.Cgroup]
		}
		if x.Shared && w.Evidence == event.EvidenceProcess {
			continue // nobody in particular: who runs there is below
		}
		out = append(out, x)
	}
	if shared := d.running.Load(); shared != nil {
		for id, path := range *shared {
			out = append(out, enforce.Workload{Path: path, Identity: id, Shared: true})
		}
	}
	return out
}

// Reached implements [enforce.Node].
func (d *denier) Reached(match func(event.Identity) bool) []enforce.Endpoint {
	return endpoints(d.cluster.Reached(match))
}

// From implements [enforce.Node].
func (d *denier) From(match func(event.Identity) bool) []netip.Addr { return d.cluster.From(match) }

// Named implements [enforce.Node].
func (d *denier) Named(name string, cgroups []uint64) []netip.Addr {
	return d.names.Addresses(name, cgroups, time.Now())
}

// Service implements [enforce.Node].
func (d *denier) Service(name string) []enforce.Endpoint {
	return endpoints(d.cluster.ServiceAt(name))
}

func endpoints(from []peer.Reached) []enforce.Endpoint {
	out := make([]enforce.Endpoint, len(from))
	for i, r := range from {
		a := peerAddress(r.Address)
		out[i] = enforce.Endpoint{Prefix: netip.PrefixFrom(a, a.BitLen()), Port: r.Port, Protocol: r.Protocol}
	}
	return out
}

// Floor implements [enforce.Node]: the servers that this agent has, the API server that it was told, the resolvers of the node; and the node's own addresses,
// from which the kubelet looks whether pods live.
func (d *denier) Floor() (to []enforce.Endpoint, from []netip.Addr) {
	add := func(host, port string, protocol uint8) {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return
		}
		if a, err := netip.ParseAddr(host); err == nil {
			a = peerAddress(a)
			to = append(to, enforce.Endpoint{Prefix: netip.PrefixFrom(a, a.BitLen()), Port: uint16(n), Protocol: protocol})
		}
	}
	const tcp = 6
	for _, s := range append(d.nc.Servers(), d.nc.ConnectedUrl()) {
		if u, err := url.Parse(s); err == nil && u.Port() != "" {
			add(u.Hostname(), u.Port(), tcp)
		}
	}
	if host, port, err := net.SplitHostPort(d.nc.ConnectedAddr()); err == nil { // of a name
		add(host, port, tcp)
	}
	add(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"), tcp)
	for _, server := range resolvers() {
		add(server, "53", 0)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return to, nil
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && !ip.IsLoopback() {
				from = append(from, peerAddress(ip))
			}
		}
	}
	return to, from
}

// resolvers are the DNS servers of this node, also those behind systemd-resolved, which pods may have from their node.
func resolvers() (servers []string) {
	for _, file := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
				servers = append(servers, f[1])
			}
		}
	}
	return servers
}
