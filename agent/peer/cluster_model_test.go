package peer

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

// model is what a Cluster is to be, worked out anew from all objects for each question.
type model struct {
	domain  event.TrustDomain
	held    map[string]Change // by kind and name
	gone    map[string]uint64 // version
	ended   map[string]bool   // UIDs
	vacated map[netip.Addr]bool
	listing map[Kind]map[string]bool // what was told since Begin
}

func newModel(domain event.TrustDomain) *model {
	return &model{domain, map[string]Change{}, map[string]uint64{}, map[string]bool{}, map[netip.Addr]bool{}, map[Kind]map[string]bool{}}
}

func (c *Change) key() (string, Kind, uint64) {
	switch {
	case c.Pod != nil:
		return "pod " + c.Pod.UID, KindPod, c.Pod.Version
	case c.Service != nil:
		return "service " + c.Service.Namespace + "/" + c.Service.Name, KindService, c.Service.Version
	case c.Slice != nil:
		return "slice " + c.Slice.Namespace + "/" + c.Slice.Name, KindSlice, c.Slice.Version
	default:
		return "node " + c.Node.Name, KindNode, c.Node.Version
	}
}

func (m *model) String() string {
	text, err := json.MarshalIndent(m.held, "", " ")
	return fmt.Sprint(string(text), err)
}

func (m *model) apply(c Change) {
	before := m.claims()
	defer func() {
		after := m.claims()
		for a := range before {
			if len(after[a]) == 0 {
				m.vacated[a] = true
			}
		}
		for a := range after {
			delete(m.vacated, a)
		}
	}()
	if c.Begin != 0 {
		m.listing[c.Begin] = map[string]bool{}
		return
	}
	if c.End != 0 {
		if told := m.listing[c.End]; told != nil {
			for key, x := range m.held {
				if _, kind, version := x.key(); kind == c.End && !told[key] {
					m.remove(key, version)
				}
			}
		}
		delete(m.listing, c.End)
		return
	}
	key, kind, version := c.key()
	old, held := m.held[key]
	_, _, known := old.keyIf(held)
	if c.Pod != nil && (c.Deleted || c.Pod.Ended) {
		if held {
			m.remove(key, 0)
		}
		return
	}
	if !c.Deleted && m.listing[kind] != nil {
		m.listing[kind][key] = true
	}
	if c.Pod != nil && m.ended[key] {
		return
	}
	if gone := max(known, m.gone[key]); version != 0 && m.listing[kind] == nil && version < gone {
		return
	}
	if c.Deleted {
		if held {
			m.remove(key, max(known, version))
		}
		return
	}
	m.held[key] = c
}

func (c *Change) keyIf(held bool) (string, Kind, uint64) {
	if !held {
		return "", 0, 0
	}
	return c.key()
}

func (m *model) remove(key string, version uint64) {
	if m.held[key].Pod != nil {
		m.ended[key] = true
	}
	m.gone[key] = version
	delete(m.held, key)
}

func (m *model) claims() map[netip.Addr][]*Pod {
	claims := map[netip.Addr][]*Pod{}
	for _, c := range m.held {
		if c.Pod != nil && !c.Pod.HostNetwork {
			for _, a := range c.Pod.Addresses {
				claims[a.Unmap()] = append(claims[a.Unmap()], c.Pod)
			}
		}
	}
	return claims
}

func (m *model) owner(a netip.Addr) (*Pod, State) {
	claims := m.claims()[a]
	if len(claims) == 0 {
		return nil, Unknown
	}
	if len(claims) == 1 {
		return claims[0], Known
	}
	firm := slices.DeleteFunc(claims, func(p *Pod) bool {
		n, ok := m.held["node "+p.Node]
		return p.Terminating || ok && n.Node.Lost
	})
	if len(firm) == 1 {
		return firm[0], Known
	}
	return nil, Contested
}

func (m *model) nodesAt(a netip.Addr) (nodes []*Node) {
	for _, c := range m.held {
		if c.Node != nil && slices.Contains(c.Node.Addresses, a) {
			nodes = append(nodes, c.Node)
		}
	}
	return nodes
}

func (m *model) identity(p *Pod) event.Identity {
	return event.KubernetesIdentity(m.domain, p.Namespace, p.ServiceAccount)
}

// behind is the pod that an endpoint truly reaches.
func (m *model) behind(e *Endpoint, a netip.Addr) *Pod {
	if nodes := m.nodesAt(a); len(nodes) > 0 {
		c, ok := m.held["pod "+e.Pod]
		if ok && c.Pod.HostNetwork && len(nodes) == 1 && c.Pod.Node == nodes[0].Name {
			return c.Pod
		}
		return nil
	}
	p, _ := m.owner(a)
	if p == nil || e.Pod != "" && e.Pod != p.UID {
		return nil
	}
	return p
}

func (m *model) shared(s *Service, p ServicePort) event.Identity {
	var ready, leaving []event.Identity
	for _, c := range m.held {
		if c.Slice == nil || c.Slice.Namespace != s.Namespace || c.Slice.Service != s.Name {
			continue
		}
		if !slices.ContainsFunc(c.Slice.Ports, func(x SlicePort) bool { return x.Name == p.Name && x.Protocol == p.Protocol }) {
			continue
		}
		for i := range c.Slice.Endpoints {
			e := &c.Slice.Endpoints[i]
			for _, a := range e.Addresses {
				var identity event.Identity
				if x := m.behind(e, a.Unmap()); x != nil {
					identity = m.identity(x)
				}
				if e.Ready {
					ready = append(ready, identity)
				} else if e.Serving && e.Terminating {
					leaving = append(leaving, identity)
				}
			}
		}
	}
	all := ready
	if len(all) == 0 {
		all = leaving
	}
	if len(slices.Compact(slices.Clone(all))) != 1 {
		return event.Identity{}
	}
	return all[0]
}

func (m *model) lookup(q Query) Answer {
	a := q.Address.Unmap()
	port := Port{q.Port, q.Protocol}
	service := func(s *Service, identity event.Identity) Answer {
		return m.known(Answer{Identity: identity, Name: s.Name + "." + s.Namespace + ".svc", NameSource: event.NameService})
	}
	nodes := m.nodesAt(a)
	owner, state := m.owner(a)
	var vips, external, clusterIPs, nodePorts []Answer
	for _, c := range m.held {
		s := c.Service
		if s == nil {
			continue
		}
		own := slices.Contains(s.ClusterIPs, a)
		if own {
			clusterIPs = append(clusterIPs, service(s, event.Identity{}))
		}
		for _, p := range s.Ports {
			if own && p.Port == port {
				vips = append(vips, service(s, m.shared(s, p)))
			} else if slices.Contains(s.External, a) && p.Port == port {
				external = append(external, service(s, m.shared(s, p)))
			}
			if len(nodes) > 0 && p.NodePort != 0 && p.NodePort == q.Port && p.Protocol == q.Protocol {
				nodePorts = append(nodePorts, service(s, m.shared(s, p)))
			}
		}
	}
	if len(vips) == 0 {
		vips = external
	}
	if !q.Inbound {
		for _, reached := range [][]Answer{nodePorts, vips} {
			if len(reached) == 1 {
				return reached[0]
			} else if len(reached) > 1 {
				return Answer{State: Contested}
			}
		}
	}
	base := Answer{}
	switch {
	case len(nodes) == 1:
		base = Answer{Name: nodes[0].Name, NameSource: event.NameNode, State: Known}
	case len(nodes) > 1:
		base.State = Known
	case owner != nil:
		base = m.known(Answer{Identity: m.identity(owner)})
	case state == Contested:
		return Answer{State: Contested}
	case m.vacated[a]:
		base.State = Vacant
	}
	if q.Inbound {
		return base
	}
	free := base.State == Vacant
	if base.State == Unknown || base.State == Vacant {
		if len(clusterIPs) == 1 {
			base = clusterIPs[0]
		} else if len(clusterIPs) > 1 {
			base = Answer{State: Contested}
		}
	}
	if free {
		return base
	}
	names, pods := map[string]bool{}, map[*Pod]bool{}
	for _, c := range m.held {
		if p := c.Pod; p != nil && len(nodes) == 1 && p.Node == nodes[0].Name && slices.Contains(p.HostPorts, port) {
			pods[p] = true
		}
		if c.Slice == nil || !slices.ContainsFunc(c.Slice.Ports, func(x SlicePort) bool { return x.Port == port }) {
			continue
		}
		for i := range c.Slice.Endpoints {
			e := &c.Slice.Endpoints[i]
			if !slices.Contains(e.Addresses, a) {
				continue
			}
			behind := m.behind(e, a)
			if behind == nil || e.Pod == "" || behind.Namespace != c.Slice.Namespace {
				continue
			}
			if len(nodes) > 0 && behind != nil {
				pods[behind] = true
			}
			if _, ok := m.held["service "+c.Slice.Namespace+"/"+c.Slice.Service]; ok {
				names[c.Slice.Service+"."+c.Slice.Namespace+".svc"] = true
			}
		}
	}
	if len(pods) == 1 {
		for p := range pods {
			base = m.known(Answer{Identity: m.identity(p), Name: base.Name, NameSource: base.NameSource})
		}
	}
	if len(names) == 1 {
		for base.Name = range names {
			base.NameSource, base.State = event.NameService, Known
		}
	}
	return base
}

func (m *model) known(a Answer) Answer {
	a.State = Known
	if !a.Identity.IsZero() {
		a.Evidence = event.EvidenceKubernetes
	}
	return a
}

var (
	drawAddress = rapid.SampledFrom([]netip.Addr{
		netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.2.2"), netip.MustParseAddr("10.0.3.3"), netip.MustParseAddr("fd00::1"), netip.MustParseAddr("192.0.2.1"),
	})
	drawAddresses = rapid.SliceOfNDistinct(drawAddress, 0, 2, rapid.ID)
	drawName      = rapid.SampledFrom([]string{"a", "b", "c"})
	drawPort      = rapid.Custom(func(t *rapid.T) Port {
		return Port{rapid.SampledFrom([]uint16{80, 443, 30080}).Draw(t, "port"), rapid.SampledFrom([]uint8{unix.IPPROTO_TCP, unix.IPPROTO_TCP, unix.IPPROTO_UDP}).Draw(t, "protocol")}
	})
	drawUID = rapid.SampledFrom([]string{"u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8"})
)

func drawChange(t *rapid.T) Change {
	c := Change{Deleted: rapid.IntRange(0, 4).Draw(t, "deleted") == 0}
	version := rapid.SampledFrom([]uint64{0, 0, 1, 2, 3, 4, 5}).Draw(t, "version")
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0, 1, 2:
		uid := drawUID.Draw(t, "uid")
		c.Pod = &Pod{
			UID: uid, Namespace: []string{"x", "y"}[uid[1]%2], Name: uid, ServiceAccount: []string{"a", "b", "c"}[uid[1]%3], Version: version,
			Node: drawName.Draw(t, "node"), Addresses: drawAddresses.Draw(t, "addresses"), HostNetwork: rapid.IntRange(0, 3).Draw(t, "host") == 0,
			HostPorts: rapid.SliceOfN(drawPort, 0, 2).Draw(t, "host ports"), Ended: rapid.IntRange(0, 9).Draw(t, "ended") == 0,
			Terminating: rapid.IntRange(0, 3).Draw(t, "terminating") == 0,
		}
	case 3, 4:
		c.Service = &Service{
			Namespace: "x", Name: drawName.Draw(t, "name"), Version: version, ClusterIPs: drawAddresses.Draw(t, "cluster"), External: drawAddresses.Draw(t, "external"),
		}
		for i, p := range rapid.SliceOfNDistinct(drawPort, 0, 2, rapid.ID).Draw(t, "ports") {
			c.Service.Ports = append(c.Service.Ports, ServicePort{fmt.Sprint("p", i), p, rapid.SampledFrom([]uint16{0, 0, 30080, 30081}).Draw(t, "node port")})
			if i > 0 && c.Service.Ports[0].NodePort == c.Service.Ports[1].NodePort {
				c.Service.Ports[1].NodePort = 0
			}
		}
	case 5, 6:
		c.Slice = &EndpointSlice{Namespace: "x", Name: drawName.Draw(t, "name"), Service: drawName.Draw(t, "service"), Version: version}
		for i, p := range rapid.SliceOfNDistinct(drawPort, 0, 2, rapid.ID).Draw(t, "ports") {
			c.Slice.Ports = append(c.Slice.Ports, SlicePort{fmt.Sprint("p", i), p})
		}
		c.Slice.Endpoints = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Endpoint {
			e := Endpoint{Addresses: drawAddresses.Draw(t, "addresses"), Ready: rapid.Bool().Draw(t, "ready"), Serving: rapid.Bool().Draw(t, "serving"), Terminating: rapid.Bool().Draw(t, "terminating")}
			if rapid.IntRange(0, 2).Draw(t, "has pod") > 0 {
				e.Pod = drawUID.Draw(t, "pod")
			}
			return e
		}), 0, 3).Draw(t, "endpoints")
	case 7, 8:
		c.Node = &Node{Name: drawName.Draw(t, "name"), Version: version, Addresses: drawAddresses.Draw(t, "addresses"), Lost: rapid.Bool().Draw(t, "lost")}
	default:
		kind := rapid.SampledFrom([]Kind{KindPod, KindService, KindSlice, KindNode}).Draw(t, "list")
		if c = (Change{Begin: kind}); rapid.Bool().Draw(t, "end") {
			c = Change{End: kind}
		}
	}
	return c
}

func allQueries() (all []Query) {
	for _, a := range []string{"10.0.0.1", "10.0.2.2", "10.0.3.3", "fd00::1", "192.0.2.1", "10.9.9.9", "::ffff:10.0.0.1"} {
		for _, port := range []uint16{80, 443, 30080, 30081, 9} {
			for _, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
				for _, inbound := range []bool{false, true} {
					all = append(all, Query{Address: netip.MustParseAddr(a), Port: port, Protocol: protocol, Inbound: inbound})
				}
			}
		}
	}
	return all
}

func TestClusterAgainstModel(t *testing.T) {
	domain, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	queries := allQueries()
	rapid.Check(t, func(t *rapid.T) {
		c, m := NewCluster(ClusterConfig{TrustDomain: domain}), newModel(domain)
		ask := func() map[Query]Answer {
			all := map[Query]Answer{}
			for _, q := range queries {
				all[q] = c.Lookup(q)
			}
			return all
		}
		before := ask()
		for range rapid.IntRange(1, 12).Draw(t, "updates") {
			changes := rapid.SliceOfN(rapid.Custom(drawChange), 1, 4).Draw(t, "changes")
			var told []netip.Addr
			generation := c.Generation()
			c.Update(time.Unix(1e9, 0), changes, func(changed []netip.Addr) {
				if told != nil {
					t.Fatal("settled twice in one update")
				}
				told = slices.Clone(changed)
				for q, a := range ask() {
					if a != before[q] {
						t.Fatalf("while it is settled, %+v is already %+v", q, a)
					}
				}
			})
			for _, change := range changes {
				m.apply(change)
			}
			after, changed := ask(), map[netip.Addr]bool{}
			for q, a := range after {
				if want := m.lookup(q); a != want {
					t.Fatalf("lookup %+v: got %+v, want %+v, of %s", q, a, want, m)
				}
				if a != before[q] {
					changed[q.Address.Unmap()] = true
				}
			}
			for a := range changed {
				if !slices.Contains(told, a) {
					t.Fatalf("the answer for %s changed, and was not told before: %v", a, told)
				}
			}
			for i, a := range told {
				if len(m.nodesAt(a)) > 0 { // what a NodePort hides may have changed
					continue
				}
				if !changed[a] || slices.Contains(told[:i], a) {
					t.Fatalf("%s was told in vain or twice: %v", a, told)
				}
			}
			if moved := c.Generation() != generation; !moved && len(told) > 0 {
				t.Fatalf("generation moved: %v, with %d addresses changed", moved, len(changed))
			}
			before = after
		}
	})
}
