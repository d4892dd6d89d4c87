package peer

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

// history is what an API server tells of a node whose pods come and go: one stream of changes for each kind of objects, each in its order.
type history struct {
	version uint64
	now     time.Time
	pods    []*living
	free    []int // addresses, the last that was given back is the next that is given out
	members map[string][]*living
	lost    bool
	streams [KindNode + 1][]Change
	there   [KindNode + 1]map[string]Change // as the API server has them now
	told    [KindNode + 1]map[string]Change // as they were told last
}

// living is a pod of a history.
type living struct {
	Pod
	at    int  // which of the addresses it has, -1 for none
	ended bool // no more is told of it but that it is deleted
}

const controllers = "ab"

func newHistory() *history {
	h := &history{now: time.Unix(1e9, 0), members: map[string][]*living{}}
	for kind := range h.there {
		h.there[kind], h.told[kind] = map[string]Change{}, map[string]Change{}
	}
	for i := range 8 {
		h.free = append(h.free, i)
	}
	h.tellNode()
	for i, name := range controllers {
		for j, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			service := fmt.Sprintf("%c%d", name, j)
			h.tell(KindService, Change{Service: &Service{
				Namespace: "x", Name: service, ClusterIPs: []netip.Addr{vip(i, j, 4), vip(i, j, 6)}, Ports: []ServicePort{{Port: Port{80, protocol}}},
			}})
		}
		h.tellSlices(string(name))
	}
	return h
}

func vip(controller, twin, family int) netip.Addr {
	if family == 4 {
		return netip.AddrFrom4([4]byte{10, 96, byte(controller), byte(twin)})
	}
	return netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(controller), 15: byte(twin)})
}

func podAddresses(at int) []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{10, 244, 0, byte(at + 1)}), netip.AddrFrom16([16]byte{0: 0xfd, 1: 1, 15: byte(at + 1)})}
}

// tell puts a new state of an object at the end of its kind's stream.
func (h *history) tell(kind Kind, c Change) {
	h.version++
	switch {
	case c.Pod != nil:
		c.Pod.Version = h.version
	case c.Service != nil:
		c.Service.Version = h.version
	case c.Slice != nil:
		c.Slice.Version = h.version
	case c.Node != nil:
		c.Node.Version = h.version
	}
	key, _, _ := c.key()
	if h.there[kind][key] = c; c.Deleted {
		delete(h.there[kind], key)
	}
	h.streams[kind] = append(h.streams[kind], c)
}

func (h *history) tellNode() {
	h.tell(KindNode, Change{Node: &Node{Name: "n", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Lost: h.lost}})
}

func (h *history) tellPod(p *living) {
	state := p.Pod
	h.tell(KindPod, Change{Pod: &state})
}

// tellSlices tells the endpoints of a controller's services: TCP and UDP, for both families.
func (h *history) tellSlices(controller string) {
	for j, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		for family := range 2 {
			s := &EndpointSlice{
				Namespace: "x", Name: fmt.Sprintf("%s%d-%d", controller, j, family), Service: fmt.Sprintf("%s%d", controller, j), Ports: []SlicePort{{Port: Port{8080, protocol}}},
			}
			for _, p := range h.members[controller] {
				s.Endpoints = append(s.Endpoints, Endpoint{Addresses: p.Addresses[family : family+1], Pod: p.UID, Ready: true, Serving: true})
			}
			h.tell(KindSlice, Change{Slice: s})
		}
	}
}

func (h *history) create(controller string) {
	p := &living{at: -1, Pod: Pod{
		UID: fmt.Sprint("u", len(h.pods)), Namespace: "x", Name: fmt.Sprint("p", len(h.pods)), ServiceAccount: controller, Node: "n", Created: h.now.Add(-time.Second),
	}}
	h.pods = append(h.pods, p)
	h.tellPod(p)
}

// house gives a pod addresses, if there are any. The API server may be told of it only when it has ended.
func (h *history) house(p *living) bool {
	if p.at < 0 && len(h.free) > 0 && !p.ended && !p.Terminating {
		p.at = h.free[len(h.free)-1]
		h.free = h.free[:len(h.free)-1]
		p.Addresses = podAddresses(p.at)
	}
	return p.at >= 0
}

func (h *history) release(p *living) {
	if p.at >= 0 {
		h.free = append(h.free, p.at)
		p.at = -1
	}
}

// one draws evenly: most of what is drawn otherwise is small.
func one(t *rapid.T, what string, of int) int {
	all := make([]int, of)
	for i := range all {
		all[i] = i
	}
	return rapid.SampledFrom(all).Draw(t, what)
}

// step is what happens next, to one pod or all.
func (h *history) step(t *rapid.T) {
	h.now = h.now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "ms")) * time.Millisecond)
	what := one(t, "what", 16)
	if what < 2 || len(h.pods) == 0 {
		h.create(controllers[one(t, "controller", len(controllers)):][:1])
		return
	}
	if what == 15 {
		h.lost = !h.lost
		h.tellNode()
		return
	}
	p := h.pods[len(h.pods)-1-one(t, "pod", min(len(h.pods), 12))]
	controller := p.ServiceAccount
	member := slices.Contains(h.members[controller], p)
	switch {
	case p.ended && !member: // its object goes, and nothing else
		if key := "pod " + p.UID; h.there[KindPod][key].Pod != nil {
			h.tell(KindPod, Change{Pod: &Pod{UID: p.UID}, Deleted: true})
		}
	case what < 5 && !p.ended && !p.Terminating:
		if h.house(p) {
			h.tellPod(p)
		}
	case what < 11 && !member && h.house(p): // also before the API server is told that it has addresses
		h.members[controller] = append(h.members[controller], p)
		h.tellSlices(controller)
	case what < 12 && member:
		h.members[controller] = slices.DeleteFunc(h.members[controller], func(o *living) bool { return o == p })
		h.tellSlices(controller)
	case p.ended:
	case what == 12 && p.at >= 0: // its addresses are others' before it is told to have ended
		p.Terminating = true
		h.tellPod(p)
		h.release(p)
	default: // it may have had addresses that were not told
		h.house(p)
		p.Ended, p.ended, p.Finished = true, true, h.now
		h.tellPod(p)
		h.release(p)
	}
}

// next gives what is told next: some of one stream, or all of a kind anew, as after a watch that was cut.
func (h *history) next(t *rapid.T) (changes []Change) {
	kind := KindPod + Kind(one(t, "kind", 4))
	stream := h.streams[kind]
	if one(t, "anew", 20) == 19 {
		for key, c := range h.told[kind] {
			if _, ok := h.there[kind][key]; !ok {
				c.Deleted = true
				changes = append(changes, c)
			}
		}
		for _, c := range h.there[kind] {
			changes = append(changes, c)
		}
		h.streams[kind] = nil
	} else {
		n := one(t, "some", len(stream)+1)
		changes, h.streams[kind] = stream[:n], stream[n:]
	}
	h.note(kind, changes)
	return changes
}

func (h *history) note(kind Kind, changes []Change) {
	for _, c := range changes {
		key, _, _ := c.key()
		if h.told[kind][key] = c; c.Deleted {
			delete(h.told[kind], key)
		}
	}
}

// Kinds are told in any order against each other, however late. When all was told, what is known is what the API server has: above all, what a service's
// endpoints share does not depend on whether pods were told before them or after.
func TestClusterAfterAnyOrder(t *testing.T) {
	domain, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory()
		c := NewCluster(ClusterConfig{TrustDomain: domain, MaxVacant: rapid.IntRange(1, 4).Draw(t, "vacant")})
		for range 1 + one(t, "rounds", 4) {
			for range 1 + one(t, "steps", 60) {
				h.step(t)
				if changes := h.next(t); len(changes) > 0 {
					c.Update(h.now, changes, nil)
				}
			}
			for kind, stream := range h.streams {
				c.Update(h.now, stream, nil)
				h.note(Kind(kind), stream)
				h.streams[kind] = nil
			}
			h.compare(t, c, domain)
		}
	})
}

// compare asks for all addresses.
func (h *history) compare(t *rapid.T, c *Cluster, domain event.TrustDomain) {
	m := newModel(domain)
	for _, kind := range h.there {
		for key, x := range kind {
			if x.Pod == nil || !x.Pod.Ended {
				m.held[key] = x
			}
		}
	}
	f := func(q Query) {
		t.Helper()
		if got, want := c.Lookup(q), m.lookup(q); got != want {
			t.Fatalf("lookup %+v: got %+v, want %+v, of %s", q, got, want, m)
		}
	}
	for i := range len(controllers) {
		for j, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			f(Query{Address: vip(i, j, 4), Port: 80, Protocol: protocol})
			f(Query{Address: vip(i, j, 6), Port: 80, Protocol: protocol})
		}
	}
	for at := range 8 {
		for _, a := range podAddresses(at) {
			if len(m.claims()[a]) > 0 {
				f(Query{Address: a, Port: 8080, Protocol: unix.IPPROTO_TCP})
				f(Query{Address: a, Port: 9, Protocol: unix.IPPROTO_TCP, Inbound: true})
			} else if got := c.Lookup(Query{Address: a, Port: 8080, Protocol: unix.IPPROTO_TCP}); got.State == Known {
				t.Fatalf("%s is nobody's, and told to be %+v", a, got)
			}
		}
	}
}
