package peer

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Addresses answers only for the cgroups that were told, and only while that is good.
func TestNamesAddresses(t *testing.T) {
	n := New(Config{})
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	answer := func(cgroup uint64, last byte) {
		t.Helper()
		m := []byte{0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 2, 'd', 'b', 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 0, 0, 1, 0, 1,
			0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, last}
		if added, err := n.Answer(cgroup, m, now); added != 1 || err != nil {
			t.Fatalf("%d added, %v", added, err)
		}
	}
	answer(1, 1)
	answer(1, 2)
	answer(2, 3)
	for _, c := range []struct {
		name    string
		cgroups []uint64
		at      time.Time
		want    []string
	}{
		{"db.example", []uint64{1}, now, []string{"192.0.2.1", "192.0.2.2"}},
		{"db.example", []uint64{1, 2, 3}, now, []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}},
		{"other.example", []uint64{1}, now, nil},
		{"db.example", []uint64{1}, now.Add(2 * time.Hour), nil},
	} {
		got := n.Addresses(c.name, c.cgroups, c.at)
		slices.SortFunc(got, netip.Addr.Compare)
		var text []string
		for _, a := range got {
			text = append(text, a.String())
		}
		if !slices.Equal(text, c.want) {
			t.Errorf("%s of %v: %v, want %v", c.name, c.cgroups, text, c.want)
		}
	}
}

// Reached, ServiceAt and From are what Lookup says, the other way round.
func TestClusterReverse(t *testing.T) {
	c := newClusterTest(t, ClusterConfig{})
	a, other := newPod("a", "db", ip("10.1.0.1"), ip("fd00::2")), newPod("c", "other", ip("10.1.0.3"))
	db := Service{Namespace: "shop", Name: "db", ClusterIPs: addresses("10.96.0.1"), Ports: []ServicePort{{"sql", tcp(5432), 30432}}}
	mixed := Service{Namespace: "shop", Name: "mixed", ClusterIPs: addresses("10.96.0.2"), Ports: []ServicePort{{"web", tcp(80), 0}}}
	c.tell(second(1), Node{Name: "n1", Addresses: addresses("192.168.0.1")}, a, other, db, mixed, onePort("db-1", "db", "sql", 6432, takes(a, "10.1.0.1")),
		onePort("mixed-1", "mixed", "web", 8080, takes(a, "10.1.0.1"), takes(other, "10.1.0.3")))
	id := c.Lookup(from(ip("10.1.0.1"))).Identity
	text := func(all []Reached) (out []string) {
		for _, r := range all {
			out = append(out, fmt.Sprintf("%s %d/%d", r.Address, r.Port, r.Protocol))
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	mine := func(x event.Identity) bool { return x == id }
	if got, want := text(c.Reached(mine)), []string{"10.1.0.1 0/0", "10.1.0.1 6432/6", "10.1.0.1 8080/6", "10.96.0.1 5432/6", "192.168.0.1 30432/6", "fd00::2 0/0"}; !slices.Equal(got, want) {
		t.Errorf("it is reached at %v, want %v", got, want)
	}
	got := c.From(mine)
	slices.SortFunc(got, netip.Addr.Compare)
	if !slices.Equal(got, addresses("10.1.0.1", "fd00::2")) {
		t.Errorf("it connects from %v", got)
	}
	if got, want := text(c.ServiceAt("db.shop")), []string{"10.1.0.1 6432/6", "10.96.0.1 0/0", "10.96.0.1 5432/6", "192.168.0.1 30432/6"}; !slices.Equal(got, want) {
		t.Errorf("the service is at %v, want %v", got, want)
	}
	if got := c.ServiceAt("none.shop"); got != nil {
		t.Errorf("a service that is not there is at %v", got)
	}
}
