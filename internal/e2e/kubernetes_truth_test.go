package e2e

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ambit-nhi/ambit/event"
)

// end is one end's view of connections: who, and with whom. It is what a truth is counted by, and what observations are counted by.
type end struct {
	who       event.Identity
	pod       string // namespace/pod
	direction event.Direction
	protocol  event.Protocol
	at        netip.AddrPort // outbound: what was asked for; inbound: the own port alone
	peer      event.Identity
	name      string // of the service or node that the peer is known by, if it is more than an address of its own
}

func (e end) String() string {
	return fmt.Sprintf("%s (%s) %s %s %s peer %s %q", e.who, e.pod, e.direction, e.protocol, e.at, e.peer, e.name)
}

// tally counts connections by end.
type tally struct {
	mu         sync.Mutex
	m          map[end]uint64
	containers map[string]uint64 // both ends, by namespace/pod/container; an agent may not know it yet
}

func newTally() *tally { return &tally{m: make(map[end]uint64), containers: make(map[string]uint64)} }

func (t *tally) add(e end, container string, n int) {
	if n == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.m[e] += uint64(n)
	if container != "" {
		t.containers[e.pod+"/"+container] += uint64(n)
	}
}

func (t *tally) sum(which func(end) bool) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := uint64(0)
	for e, n := range t.m {
		if which(e) {
			sum += n
		}
	}
	return sum
}

// observed counts one observation of a pod's container; node is the path of the cgroup that the node is in. Others are left out: an agent sees the
// whole machine.
func (t *tally) observed(o *event.Observation, node string) {
	w := &o.Workload
	if !strings.HasPrefix(w.Cgroup, node+"/kubepods") {
		return
	}
	e := end{who: w.Identity, pod: w.Namespace + "/" + w.Pod, direction: o.Direction, protocol: o.Protocol, peer: o.Peer.Identity}
	if w.Unattributed != "" {
		e.who, e.pod = event.Identity{}, ""
	}
	if o.Direction == event.Inbound {
		e.at = netip.AddrPortFrom(netip.Addr{}, o.Peer.Port)
	} else if e.at = o.Peer.Dialled; !e.at.IsValid() {
		e.at = netip.AddrPortFrom(o.Peer.Address, o.Peer.Port)
	}
	if e.peer.IsZero() || isService(e.at.Addr()) {
		e.name = o.Peer.Name
	}
	t.add(e, w.Container, int(o.Counts.Connections))
}

// verdict is what came of comparing.
type verdict struct {
	truth, observed        uint64 // ends of connections
	right, nobody, wrong   uint64 // of those observed: on the right identities, without one, on a wrong one
	lost                   uint64 // ends that nobody saw
	wrongs, nobodies, gone []string
}

// compare holds what was observed against the truth. An end without identity takes the place of one that is missing; what no missing one explains is wrong.
func compare(truth, observed *tally) verdict {
	var v verdict
	missing := maps.Clone(truth.m)
	for _, n := range truth.m {
		v.truth += n
	}
	for e, n := range observed.m {
		v.observed += n
		if e.who.IsZero() || e.peer.IsZero() && e.name == "" {
			v.nobody += n
			v.nobodies = append(v.nobodies, fmt.Sprintf("%d × %s", n, e))
			continue
		}
		right := min(n, missing[e])
		missing[e] -= right
		v.right += right
		if wrong := n - right; wrong > 0 {
			v.wrong += wrong
			v.wrongs = append(v.wrongs, fmt.Sprintf("%d × %s, of which in truth %d", n, e, truth.m[e]))
		}
	}
	for e, n := range missing {
		if n > 0 {
			v.gone = append(v.gone, fmt.Sprintf("%d of %d × %s", n, truth.m[e], e))
		}
	}
	v.lost = v.truth - min(v.truth, v.observed)
	for container, n := range observed.containers {
		if has := truth.containers[container]; n > has {
			v.wrong += n - has
			v.wrongs = append(v.wrongs, fmt.Sprintf("%d × container %s, of which in truth %d", n, container, has))
		}
	}
	for _, list := range [][]string{v.wrongs, v.nobodies, v.gone} {
		slices.SortFunc(list, func(a, b string) int { return cmp.Compare(a, b) })
	}
	return v
}

// check fails the test if not every connection is on the right identities, save one in a thousand that may be on none.
func (v verdict) check(t *testing.T) {
	t.Helper()
	share := float64(v.right) / float64(max(1, v.truth))
	t.Logf("%d ends of connections: %d seen, %d on the right identities (%.4f %%), %d without, %d wrong", v.truth, v.observed, v.right, 100*share, v.nobody, v.wrong)
	show := func(what string, lines []string) {
		t.Helper()
		if len(lines) > 0 {
			t.Errorf("%s (%d):\n%s", what, len(lines), strings.Join(lines[:min(40, len(lines))], "\n"))
		}
	}
	if v.wrong > 0 {
		show("misattributed", v.wrongs)
	}
	if v.wrong > 0 || share < 0.999 {
		show("without identity", v.nobodies)
		show("not seen so", v.gone)
	}
	if v.lost > v.truth/1000 {
		t.Errorf("%d of %d ends were not seen", v.lost, v.truth)
	}
	if v.observed > v.truth {
		t.Errorf("%d ends were seen, and only %d were", v.observed, v.truth)
	}
}

// The comparison finds each kind of fault.
func TestCompare(t *testing.T) {
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := event.KubernetesIdentity(td, "shop", "a"), event.KubernetesIdentity(td, "shop", "b"), event.KubernetesIdentity(td, "shop", "c")
	at := netip.MustParseAddrPort("10.0.0.1:80")
	ab := end{who: a, pod: "shop/a", direction: event.Outbound, protocol: event.TCP, at: at, peer: b}
	f := func(observed map[end]uint64, right, nobody, wrong, lost uint64) {
		t.Helper()
		v := compare(&tally{m: map[end]uint64{ab: 10}}, &tally{m: observed})
		if v.right != right || v.nobody != nobody || v.wrong != wrong || v.lost != lost {
			t.Errorf("right %d, nobody %d, wrong %d, lost %d; want %d, %d, %d, %d", v.right, v.nobody, v.wrong, v.lost, right, nobody, wrong, lost)
		}
	}
	other, none, unknown := ab, ab, ab
	other.peer, none.peer, unknown.who = c, event.Identity{}, event.Identity{}
	f(map[end]uint64{ab: 10}, 10, 0, 0, 0)
	f(map[end]uint64{ab: 7}, 7, 0, 0, 3)
	f(map[end]uint64{ab: 11}, 10, 0, 1, 0)
	f(map[end]uint64{ab: 9, other: 1}, 9, 0, 1, 0)
	f(map[end]uint64{ab: 8, none: 1, unknown: 1}, 8, 2, 0, 0)
}
