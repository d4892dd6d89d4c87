package peer

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
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
	if words := [...]string{"unknown", "", "vacant", "contested"}; a.State != Known {
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
	c.want(at(q, second(58.9)), "one")
	c.want(at(q, second(60.1)), "contested") // around the second in which one ended and the other was made
	c.want(at(q, second(60.35)), "two")
	c.want(at(from(moved), second(60.35)), "two")
	c.Connected("a", second(3))
	c.want(at(q, second(60.1)), "contested")
	c.Connected("b", second(60.7))
	c.Connected("b", second(60.9))           // again
	c.want(at(q, second(60.1)), "contested") // it may have been reached before it reached out
	c.want(at(from(moved), second(60.1)), "one")
	c.want(at(from(moved), second(60.8)), "two")
	c.want(at(q, second(61)), "two")
	c.want(at(q, second(-0.5)), "vacant")
}

func TestVacantBetweenTheTimes(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	a, b := newPod("a", "one", moved), newPod("b", "two", moved)
	c.tell(second(10), a)
	a.Ended = true
	c.tell(second(20.2), a)
	b.Created = second(30)
	c.tell(second(31), b)
	for s, want := range map[float64]string{15: "one", 20.1: "one", 20.2: "vacant", 25: "vacant", 28.9: "vacant", 29.5: "two", 30: "two", 31: "two"} {
		c.want(at(toward(moved, 1), second(s)), want)
	}
}

// short makes a pod that is told to have addresses once it has ended.
func short(c clusterTest, uid, account string, created, finished float64) Pod {
	p := newPod(uid, account)
	p.Created = whole(second(created))
	c.tell(second(created), p)
	p.Addresses, p.Ended, p.Finished = []netip.Addr{moved}, true, whole(second(finished))
	return p
}

func TestShortPodsAreToldOnceTheyEnded(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	q := from(moved)
	c.tell(second(10.6), short(c, "a", "one", 10.1, 10.5))
	c.want(q, "vacant")
	c.want(at(q, second(10.4)), "one")
	c.want(at(q, second(10.7)), "vacant") // it had ended when it was told to have
	c.want(at(q, second(8.9)), "vacant")  // it was not made yet, whatever the clocks

	before := c.Generation()
	c.tell(second(20), short(c, "b", "two", 12.5, 14.5))
	if c.Generation() == before {
		t.Error("whoever waits is not told that there is news")
	}
	c.want(at(q, second(13)), "two")
	c.want(at(q, second(15.9)), "two")
	c.want(at(q, second(16)), "vacant")
	c.tell(second(20.1), short(c, "c", "three", 14.5, 16)) // within the same second
	c.want(at(q, second(12.9)), "two")
	c.want(at(q, second(14.7)), "contested")
	c.want(at(q, second(16)), "three")
	c.want(at(q, second(18)), "vacant")
	c.Connected("b", second(13))
	c.Connected("c", second(14.8))
	c.want(at(q, second(14.7)), "two")
	c.want(at(q, second(14.9)), "three")

	between := at(q, second(14.7))
	for until, want := range map[float64]string{13: "two", 14.7: "two", 14.9: "contested"} {
		between.Until = second(until)
		c.want(between, want)
	}
	again := short(c, "c", "three", 14.5, 16)
	c.tell(second(20.2), again, Change{Pod: &again, Deleted: true})
	c.want(at(q, second(16)), "three")
	c.tell(second(21), newPod("d", "four", moved))
	c.want(q, "four")
	c.tell(second(200), short(c, "e", "five", 90, 100)) // told long after it ended: nothing waits for it any more
	c.want(at(q, second(95)), "four")
}

// Nobody is named while the API may tell of another.
func TestOthersMayBeTold(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	q := at(from(moved), second(10.4))
	now := func(s float64) Query {
		q.Now = second(s)
		return q
	}
	c.tell(second(10.6), short(c, "a", "one", 10.1, 10.5))
	c.want(now(10.7), "vacant")
	c.want(now(12.3), "vacant")
	c.want(now(12.4), "one")
	b := newPod("b", "two")
	b.Created = whole(second(10.3))
	c.tell(second(12), b)
	c.want(now(12.5), "vacant")
	elsewhere := b
	elsewhere.Node = "n2"
	c.tell(second(12.6), elsewhere)
	c.want(now(12.7), "one")
	b.Addresses = []netip.Addr{moved}
	c.tell(second(13), b)
	c.want(now(13), "contested")
	c.Connected("b", second(10.39))
	c.want(now(13), "two")
	c.tell(second(13), newPod("c", "three")) // made, for all that is known, in 1970
	q.At = second(10.2)
	c.want(now(10.3), "vacant")
	c.want(now(13), "one")
	c.Connected("b", second(10.1)) // what it did first came last
	c.want(now(13), "two")
}

func TestFirstConnectionsAreBounded(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	for i := range 20000 {
		c.Connected(fmt.Sprint(i), second(float64(i)))
	}
	if n := len(c.firsts) + len(c.older); n > 8192 || n < 4096 {
		t.Errorf("%d are kept", n)
	}
}

// More pods had the address than are remembered: of the time before, nothing is said.
func TestFormerHoldersAreBounded(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	for i := range 2 * maxPast {
		s := 100 + float64(i)/10
		c.tell(second(s+0.05), short(c, fmt.Sprint("p", i), "one", s, s))
	}
	if n := len(c.faces[moved].claims); n != maxPast {
		t.Errorf("%d are remembered, want %d", n, maxPast)
	}
	c.want(at(from(moved), second(101)), "contested")
	c.want(at(from(moved), second(104)), "one")
}

// TestTimesAgainstTruth has pods use one address in turn, as only the node knows, within milliseconds, and tells of them up to two seconds late, in whole
// seconds of clocks that differ. Whoever asks as soon as may be, is never given another pod than the one that it was.
func TestTimesAgainstTruth(t *testing.T) {
	for name, here := range map[string]bool{"of this node": true, "of others": false} {
		t.Run(name, func(t *testing.T) { timesAgainstTruth(t, here) })
	}
}

func timesAgainstTruth(t *testing.T, here bool) {
	domain, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	var asked, answered, brief, briefly int
	rapid.Check(t, func(t *rapid.T) {
		c := NewCluster(ClusterConfig{TrustDomain: domain})
		type happening struct {
			at   float64
			pod  *Pod // told
			uid  string
			edge int
		}
		type use struct {
			from, until float64
			identity    event.Identity
			short       bool
			edges       []float64
		}
		var told, seen []happening
		var uses []use
		draw := func(low, high int, label string) float64 {
			return float64(rapid.IntRange(low, high).Draw(t, label)) / 1000
		}
		skew := draw(-int(maxSkew/time.Millisecond), int(maxSkew/time.Millisecond), "API server's clock")
		kubelet := draw(-int(maxSkew/time.Millisecond), int(maxSkew/time.Millisecond), "node's clock")
		if here {
			kubelet = 0
		}
		now, most := 100.0, rapid.SampledFrom([]int{50, 500, 5000}).Draw(t, "longest gap")
		for i := range rapid.IntRange(1, 5).Draw(t, "pods") {
			now += draw(1, most, "idle")
			p := newPod(string(rune('a'+i)), string(rune('a'+i)))
			made := now - draw(0, 3000, "made before")
			p.Created = whole(second(made + skew))
			u := use{from: now, identity: event.KubernetesIdentity(domain, p.Namespace, p.ServiceAccount), short: rapid.Bool().Draw(t, "short")}
			life := draw(1, 400, "lives")
			if !u.short {
				life = draw(1000, 5000, "lives")
			}
			u.until = now + life
			now = u.until
			for range rapid.IntRange(1, 4).Draw(t, "edges") {
				u.edges = append(u.edges, u.from+life*draw(0, 999, "edge"))
			}
			slices.Sort(u.edges)
			uses = append(uses, u)
			created := p
			told = append(told, happening{at: made, pod: &created})
			if begun := u.from + draw(1, 600, "told late"); !u.short && begun < u.until {
				running := p
				running.Addresses = []netip.Addr{moved}
				told = append(told, happening{at: begun, pod: &running})
			}
			ended := p
			ended.Ended, ended.Finished, ended.Addresses = true, whole(second(u.until+kubelet)), []netip.Addr{moved}
			told = append(told, happening{at: u.until, pod: &ended})
			for j, e := range u.edges {
				if here && j == 0 {
					seen = append(seen, happening{at: e, uid: p.UID})
				}
			}
		}
		// What is told comes in one stream, as it happened, each up to two seconds late.
		slices.SortStableFunc(told, func(a, b happening) int { return cmp.Compare(a.at, b.at) })
		delay := rapid.SampledFrom([]int{0, 100, 1990}).Draw(t, "longest delay")
		for i := range told {
			told[i].at += draw(0, delay, "delay")
			if i > 0 {
				told[i].at = max(told[i].at, told[i-1].at)
			}
		}
		events := append(told, seen...)
		for i, u := range uses { // edges wait, and are asked about now and then
			for j := range u.edges {
				for _, after := range []float64{2.001, 2.5, 4, 9.99} {
					events = append(events, happening{at: u.edges[j] + after, edge: i<<8 | j + 1})
				}
			}
		}
		slices.SortStableFunc(events, func(a, b happening) int { return cmp.Compare(a.at, b.at) })
		done := map[int]bool{}
		for _, e := range events {
			switch {
			case e.pod != nil:
				t.Logf("EV %v %s addr %v ended %v created %v fin %v", e.at, e.pod.UID, e.pod.Addresses, e.pod.Ended, e.pod.Created.UnixMilli()-1e12, e.pod.Finished.UnixMilli()-1e12)
				c.Update(second(e.at), []Change{{Pod: e.pod}}, nil)
			case e.uid != "":
				c.Connected(e.uid, second(e.at))
			case !done[e.edge]:
				u := uses[e.edge>>8]
				when := u.edges[e.edge&255-1]
				q := at(from(moved), second(when))
				q.Now = second(e.at)
				a := c.Lookup(q)
				if a.Identity.IsZero() {
					continue
				}
				done[e.edge] = true
				answered++
				if u.short {
					briefly++
				}
				if a.Identity != u.identity {
					t.Fatalf("what %v did at %v was given to %v at %v", u.identity, when, a.Identity, e.at)
				}
			}
		}
		for _, u := range uses {
			asked += len(u.edges)
			if u.short {
				brief += len(u.edges)
			}
		}
	})
	t.Logf("%d of %d attributed (%.1f %%), of short pods' %d of %d (%.1f %%)", answered, asked, 100*float64(answered)/float64(asked), briefly, brief, 100*float64(briefly)/float64(brief))
	if least := map[bool]int{true: 70, false: 15}[here]; 100*answered < least*asked {
		t.Errorf("less than %d %% attributed", least)
	}
}
