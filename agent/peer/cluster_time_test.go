package peer

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

var moved = netip.MustParseAddr("10.0.0.7")

// second gives a time with the fraction that only nodes tell.
func second(s float64) time.Time {
	return time.Unix(1e9, 0).Add(time.Duration(s * float64(time.Second)))
}

func whole(t time.Time) time.Time { return t.Truncate(time.Second) }

func newPod(uid, account string, addresses ...netip.Addr) Pod {
	return Pod{UID: uid, Namespace: "shop", Name: uid, ServiceAccount: account, Node: "n1", Addresses: addresses}
}

type clusterTest struct {
	*testing.T
	*Cluster
}

func newClusterTest(t *testing.T, cfg ClusterConfig) clusterTest {
	t.Helper()
	domain, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	cfg.TrustDomain = domain
	return clusterTest{t, NewCluster(cfg)}
}

func (c clusterTest) tell(at time.Time, objects ...any) {
	c.Helper()
	var changes []Change
	for _, o := range objects {
		switch o := o.(type) {
		case Pod:
			changes = append(changes, Change{Pod: &o})
		case Service:
			changes = append(changes, Change{Service: &o})
		case EndpointSlice:
			changes = append(changes, Change{Slice: &o})
		case Node:
			changes = append(changes, Change{Node: &o})
		case Change:
			changes = append(changes, o)
		default:
			c.Fatalf("what is a %T?", o)
		}
	}
	c.Update(at, changes, nil)
}

// want checks an answer: "name", "account", "account name", or the word for a state.
func (c clusterTest) want(q Query, want string) {
	c.Helper()
	a := c.Lookup(q)
	got := ""
	if !a.Identity.IsZero() {
		got = a.Identity.String()[len("spiffe://shop.example/ns/shop/sa/"):]
		if a.Evidence != event.EvidenceKubernetes {
			c.Errorf("%+v: evidence %q", q, a.Evidence)
		}
	}
	if a.Name != "" {
		if got != "" {
			got += " "
		}
		got += a.Name
	}
	if words := [...]string{"unknown", "", "vacant", "contested", "likely"}; a.State != Known {
		if got != "" {
			got += " "
		}
		got += words[a.State]
	}
	if got != want {
		c.Errorf("%+v: got %q, want %q", q, got, want)
	}
}

func toward(a netip.Addr, port uint16) Query {
	return Query{Address: a, Port: port, Protocol: unix.IPPROTO_TCP}
}

func from(a netip.Addr) Query {
	return Query{Address: a, Port: 9999, Protocol: unix.IPPROTO_TCP, Inbound: true}
}

func at(q Query, t time.Time) Query {
	q.At = t
	return q
}

// The order of events is that of a real API server and kubelet.
func TestAddressMovesWithinASecond(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	q := toward(moved, 8080)
	c.want(q, "unknown")
	a := newPod("a", "one")
	a.Created = whole(second(1))
	c.tell(second(1.2), a)
	c.want(q, "unknown") // it has no address yet
	a.Addresses = []netip.Addr{moved}
	c.tell(second(2), a)
	c.want(q, "one")
	c.want(from(moved), "one")
	a.Terminating = true
	c.tell(second(59.9), a)
	c.want(q, "one") // its processes are asked to end, and may go on connecting
	a.Ended, a.Finished = true, whole(second(60.2))
	c.tell(second(60.3), a)
	c.want(q, "vacant")
	c.want(from(moved), "vacant")
	b := newPod("b", "two")
	b.Created = whole(second(60.4))
	c.tell(second(60.4), b)
	c.want(q, "vacant")
	c.tell(second(60.5), Change{Pod: &Pod{UID: "a"}, Deleted: true})
	c.want(q, "vacant")
	old := a // as if it were told late, by another path
	old.Ended, old.Terminating = false, false
	c.tell(second(60.55), old)
	c.want(q, "vacant")
	b.Addresses = []netip.Addr{moved}
	c.tell(second(60.9), b)
	c.want(q, "two")
	c.tell(second(60.95), old, a, Change{Pod: &a, Deleted: true})
	c.want(q, "two")

	c.want(at(q, second(30)), "one") // what waited since then
	c.want(at(q, second(59.95)), "one")
	c.want(at(q, second(60.1)), "contested") // within the second in which one ended and the other was made
	c.want(at(q, second(60.35)), "two")
	c.want(at(from(moved), second(60.35)), "two")
	c.want(at(q, second(61)), "two")
	c.want(at(q, second(0.5)), "vacant")
}

func TestVacantBetweenTheTimes(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	a, b := newPod("a", "one", moved), newPod("b", "two", moved)
	c.tell(second(10), a)
	a.Ended = true
	c.tell(second(20.2), a)
	b.Created = second(30)
	c.tell(second(31), b)
	for s, want := range map[float64]string{15: "one", 20.1: "one", 20.2: "vacant", 25: "vacant", 27.9: "vacant", 28.5: "two likely", 30: "two", 31: "two"} {
		c.want(at(toward(moved, 1), second(s)), want)
	}
}

func TestShortPodsAreToldOnceTheyEnded(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	short := func(uid, account string, created, finished float64) Pod {
		p := newPod(uid, account)
		p.Created = whole(second(created))
		c.tell(second(created), p) // without address
		p.Addresses, p.Ended, p.Finished = []netip.Addr{moved}, true, whole(second(finished))
		return p
	}
	q := from(moved)
	c.tell(second(10.6), short("a", "one", 10.1, 10.5))
	c.want(q, "vacant")
	c.want(at(q, second(10.4)), "one likely")
	c.want(at(q, second(10.7)), "vacant") // it had ended when it was told to have
	c.want(at(q, second(9.5)), "vacant")

	before := c.Generation()
	c.tell(second(20), short("b", "two", 11.5, 14.5))
	if c.Generation() == before {
		t.Error("whoever waits is not told that there is news")
	}
	c.want(at(q, second(13)), "two")
	c.want(at(q, second(14.7)), "two likely")
	c.want(at(q, second(15)), "vacant")
	c.tell(second(20.1), short("c", "three", 14.5, 16)) // within the same second
	c.want(at(q, second(13)), "two")
	c.want(at(q, second(14.7)), "contested")
	c.want(at(q, second(15)), "three")
	c.want(at(q, second(18)), "vacant")

	next := newPod("n", "next", moved)
	next.Created = second(18)
	c.tell(second(20.1), next)
	c.want(at(q, second(16.5)), "three")
	c.tell(second(20.1), Change{Pod: &next, Deleted: true})
	c.want(at(q, second(16.5)), "three likely")

	again := short("c", "three", 14.5, 16)
	c.tell(second(20.2), again, Change{Pod: &again, Deleted: true})
	c.want(at(q, second(15)), "three")
	c.tell(second(21), newPod("d", "four", moved))
	c.want(q, "four")
	c.tell(second(200), short("e", "five", 90, 100)) // told long after it ended: nothing waits for it any more
	c.want(at(q, second(95)), "four")
}

// TestTimesAgainstTruth has pods use one address in turn, as only the node knows, and tells of them late, in whole seconds. When everything was told, no
// pod is given what another did, at any time.
func TestTimesAgainstTruth(t *testing.T) {
	domain, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	var asked, answered int
	rapid.Check(t, func(t *rapid.T) {
		c := NewCluster(ClusterConfig{TrustDomain: domain})
		type told struct {
			at  float64
			pod Pod
		}
		type use struct {
			from, until float64
			identity    event.Identity
		}
		var events []told
		var uses []use
		draw := func(low, high int, label string) float64 {
			return float64(rapid.IntRange(low, high).Draw(t, label)) / 100
		}
		now := 100.0
		for i := range rapid.IntRange(1, 4).Draw(t, "pods") {
			now += draw(0, 200, "idle")
			p := newPod(string(rune('a'+i)), string(rune('a'+i)))
			p.Created = whole(second(now - draw(0, 300, "made before")))
			u := use{from: now, identity: event.KubernetesIdentity(domain, p.Namespace, p.ServiceAccount)}
			now += draw(1, 300, "lives")
			u.until = now
			uses = append(uses, u)
			begun := u.from + draw(1, 60, "told late")
			if begun < u.until && rapid.Bool().Draw(t, "told while it lives") {
				p.Addresses = []netip.Addr{moved}
				events = append(events, told{begun, p})
			} else {
				events = append(events, told{u.from, p})
			}
			p.Ended, p.Finished, p.Addresses = true, whole(second(u.until)), []netip.Addr{moved}
			events = append(events, told{u.until + draw(0, 20, "end told late"), p})
		}
		for i := 1; i < len(events); i++ { // what is told comes in one stream
			events[i].at = max(events[i].at, events[i-1].at)
		}
		for _, e := range events {
			p := e.pod
			c.Update(second(e.at), []Change{{Pod: &p}}, nil)
		}
		for _, u := range uses {
			when := u.from + (u.until-u.from)*draw(0, 99, "edge")
			a := c.Lookup(at(from(moved), second(when)))
			asked++
			if !a.Identity.IsZero() {
				answered++
				if a.Identity != u.identity {
					t.Fatalf("what %v did at %v was given to %v (%v)", u.identity, when, a.Identity, a.State)
				}
			}
		}
	})
	t.Logf("%d of %d attributed, though pods use the address within seconds of each other", answered, asked)
	if answered < asked/2 {
		t.Errorf("only %d of %d attributed", answered, asked)
	}
}
