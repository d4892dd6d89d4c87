package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/sim"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func identity(t *testing.T, path string) event.Identity {
	t.Helper()
	id, err := event.ParseIdentity("spiffe://sim.example/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// reach is one observation of shop/cart, some time after noon.
func reach(t *testing.T, after time.Duration, image, address, name string) sim.Record {
	t.Helper()
	at := noon.Add(after)
	o := &event.Observation{
		Time: at, Node: "n1", Workload: event.Workload{Identity: identity(t, "ns/shop/sa/cart"), Namespace: "shop", ServiceAccount: "cart", Owner: "Deployment/cart", Image: image},
		Direction: event.Outbound, Protocol: event.TCP, Counts: event.Counts{Connections: 1},
		Peer: event.Peer{Address: netip.MustParseAddr(address), Port: 443, Name: name},
	}
	if name != "" {
		o.Peer.NameSource = event.NameDNS
	}
	return sim.Record{At: at, Observation: o}
}

func alerts(c contestant, records ...sim.Record) (list []alert) {
	c.take(records, func(a alert) { list = append(list, a) })
	return list
}

const hours = time.Hour

func TestFirstSeen(t *testing.T) {
	got := alerts(newFirstSeen(),
		reach(t, 0, "a", "10.0.0.1", "db"),
		reach(t, 300*hours, "a", "10.0.0.2", "cache"), // within 14 days
		reach(t, 336*hours, "a", "10.0.0.1", "db"),
		reach(t, 337*hours, "a", "10.0.0.3", "queue"), // this one
		reach(t, 338*hours, "a", "10.0.0.4", "queue"), // the same by name
	)
	if len(got) != 1 || got[0].resource.String() != "dns:queue:443/tcp" || !got[0].at.Equal(noon.Add(337*hours)) || !got[0].counts() {
		t.Errorf("told %+v", got)
	}
	inbound := reach(t, 400*hours, "a", "10.0.0.9", "new")
	inbound.Observation.Direction = event.Inbound
	if got := alerts(newFirstSeen(), reach(t, 0, "a", "10.0.0.1", "db"), inbound); len(got) != 0 {
		t.Errorf("told %+v", got)
	}
}

func TestProfile(t *testing.T) {
	got := alerts(newProfile(),
		reach(t, 0, "a", "23.0.0.1", "api.example"),
		reach(t, 25*hours, "a", "23.0.0.9", "api.example"),  // known by name
		reach(t, 26*hours, "a", "10.0.0.3", "db"),           // private
		reach(t, 27*hours, "a", "169.254.169.254", ""),      // this one
		reach(t, 28*hours, "a", "23.0.0.2", "new.example"),  // and this one
		reach(t, 29*hours, "a", "23.0.0.2", "new.example"),  // told already
		reach(t, 30*hours, "b", "23.0.0.3", "more.example"), // a new image learns
	)
	if len(got) != 2 || got[0].resource.String() != "net:169.254.169.254/32:443/tcp" || got[1].resource.String() != "dns:new.example:443/tcp" {
		t.Errorf("told %+v", got)
	}
}

// The real detector is driven as it should be: it learns watched time, then tells.
func TestAmbit(t *testing.T) {
	watch := func(after time.Duration) sim.Record {
		return sim.Record{At: noon.Add(after), Watch: &sim.Watch{Node: "n1", Boot: "1", Started: noon, Until: noon.Add(after)}}
	}
	var records []sim.Record
	for h := time.Duration(0); h < 14*24*hours; h += hours {
		records = append(records, watch(h), reach(t, h, "a", "10.0.0.1", "db"))
	}
	after := 14 * 24 * hours
	records = append(records, watch(after), reach(t, after, "a", "169.254.169.254", ""))
	got := alerts(newAmbit(), records...)
	if len(got) == 0 || got[0].resource.String() != "net:169.254.169.254/32:443/tcp" || !got[0].at.Equal(noon.Add(after)) || !got[0].counts() {
		t.Errorf("told %+v", got)
	}
}
