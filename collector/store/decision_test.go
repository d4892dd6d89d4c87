package store

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

const decisionWho = "spiffe://shop.example/ns/shop/sa/buyer"

func decisionOf(id string, serial uint64, issued time.Time) event.Decision {
	return event.Decision{
		ID: id, Serial: serial, Identity: decisionWho, To: "*", Direction: event.Outbound, Mode: event.Enforce, Reason: "r", Requester: "ada",
		Issued: issued, Expires: issued.Add(time.Hour), Key: "A", Signature: []byte{1, 2, 0xff},
	}
}

func TestDecisions(t *testing.T) {
	s := open(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	first, second := decisionOf("d1", 1, now.Add(-30*time.Minute)), decisionOf("d2", 2, now.Add(-2*time.Hour))
	revoked := first
	revoked.Serial, revoked.Revoked, revoked.RevokedBy, revoked.RevokedWhy = 5, now, "grace", "was wrong"
	second.Glob, second.Identity, second.Mode, second.Finding, second.Code, second.Approver, second.Automatic = true, "spiffe://shop.example/*", event.DryRun, "f1", "c", "grace", true
	third := decisionOf("d3", 3, now)
	if err := s.InsertDecisions(t.Context(), []event.Decision{revoked, second, third}); err != nil {
		t.Fatal(err)
	}
	if err := s.InsertDecisions(t.Context(), []event.Decision{first, second}); err != nil { // late, and again
		t.Fatal(err)
	}
	f := func(filter DecisionFilter, want ...event.Decision) {
		t.Helper()
		filter.Now, filter.Limit = now, 1
		var got []event.Decision
		for {
			page, next, err := s.Decisions(t.Context(), filter)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, page...)
			if filter.Cursor = next; next == "" {
				break
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v: got %+v, want %+v", filter, got, want)
		}
	}
	f(DecisionFilter{}, third, revoked, second)
	f(DecisionFilter{ID: "d2"}, second)
	f(DecisionFilter{ID: "d9"})
	f(DecisionFilter{Mode: event.Enforce}, third, revoked)
	f(DecisionFilter{Finding: "f1"}, second)
	f(DecisionFilter{Identity: decisionWho}, third, revoked)
	f(DecisionFilter{State: "in-force"}, third)
	f(DecisionFilter{State: "revoked"}, revoked)
	f(DecisionFilter{State: "expired"}, second)
	if _, _, err := s.Decisions(t.Context(), DecisionFilter{Cursor: "x"}); err == nil {
		t.Error("a cursor is taken that was never given")
	}
	if err := s.InsertDecisions(t.Context(), []event.Decision{{ID: "d4"}}); err == nil {
		t.Error("a decision is taken that is none")
	}
}

func TestAcks(t *testing.T) {
	s := open(t)
	begin := time.Now().UTC().Truncate(time.Microsecond).Add(-time.Minute)
	after := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	d := decisionOf("d1", 1, begin)
	if err := s.InsertDecisions(t.Context(), []event.Decision{d, decisionOf("unheard", 1, begin)}); err != nil {
		t.Fatal(err)
	}
	ack := func(node, boot string, state event.AckState, at, told int, change func(a *event.Ack)) event.Ack {
		a := event.Ack{Decision: "d1", Serial: 1, Node: node, Boot: boot, State: state, At: after(at), Told: after(told)}
		change(&a)
		return a
	}
	none := func(*event.Ack) {}
	all := []event.Ack{
		ack("n1", "b1", event.AckReceived, 10, 10, none),
		ack("n1", "b1", event.AckInForce, 20, 20, none),
		ack("n1", "b1", event.AckInForce, 20, 500, func(a *event.Ack) {
			a.Denied, a.FirstDenied, a.LastDenied, a.LastAllowed, a.Cut, a.Entries = 7, after(30), after(400), after(25), 2, 3
		}),
		ack("n1", "b2", event.AckInForce, 700, 900, func(a *event.Ack) { a.Denied, a.FirstDenied, a.LastDenied, a.Entries = 4, after(800), after(850), 4 }), // its agent started anew
		ack("n2", "b1", event.AckReceived, 50, 50, none),
		ack("n2", "b1", event.AckFailed, 60, 60, func(a *event.Ack) { a.Why = "the map is full" }),
		ack("n2", "b1", event.AckInForce, 200, 200, none),
		ack("n2", "b1", event.AckEnded, 5000, 5000, func(a *event.Ack) { a.Denied = 1 }),
		ack("n3", "b1", event.AckReceived, 10, 10, none), // both at once: it is the later state
		ack("n3", "b1", event.AckRefused, 10, 10, func(a *event.Ack) { a.Why = "protected" }),
	}
	// In whatever order they come, and twice.
	r := rand.New(rand.NewPCG(1, 2))
	for range 2 {
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for part := range slices.Chunk(all, 3) {
			if err := s.InsertAcks(t.Context(), part); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := s.Acks(t.Context(), "d1", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	ms := func(x time.Time) int {
		if x.IsZero() {
			return -1
		}
		return int(x.Sub(begin).Milliseconds())
	}
	for _, a := range got {
		lines = append(lines, fmt.Sprint(a.Node, " ", a.Boot, " ", a.State, " ", a.Why, " ", ms(a.Received), " ", ms(a.InForce), " ", a.Denied, " ", a.Cut, " ", ms(a.FirstDenied), " ", ms(a.LastDenied), " ", ms(a.LastAllowed), " ", a.Entries))
	}
	want := []string{"n1 b2 in-force  10 20 11 2 30 850 25 4", "n2 b1 ended  50 200 1 0 -1 -1 -1 0", "n3 b1 refused protected 10 -1 0 0 -1 -1 -1 0"}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if page, err := s.Acks(t.Context(), "d1", "n1", 1); err != nil || len(page) != 1 || page[0].Node != "n2" {
		t.Errorf("the page behind n1: %+v, %v", page, err)
	}
	sums, err := s.SummarizeAcks(t.Context(), []string{"d1", "unheard"})
	if err != nil {
		t.Fatal(err)
	}
	sum := AckSummary{
		Nodes:   map[event.AckState]uint64{event.AckInForce: 1, event.AckEnded: 1, event.AckRefused: 1},
		InForce: after(200), Denied: 12, FirstDenied: after(30), LastDenied: after(850), LastAllowed: after(25), Cut: 2,
	}
	if !reflect.DeepEqual(sums, map[string]AckSummary{"d1": sum}) {
		t.Errorf("got %+v, want %+v", sums, sum)
	}
	times, err := s.TimeToRevoke(t.Context(), begin.Add(-time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if (times != RevokeTimes{2, 1, 0.2, 0.2, 0.025, 0.025}) {
		t.Errorf("times are %+v", times)
	}
	if times, err := s.TimeToRevoke(t.Context(), begin.Add(time.Second)); err != nil || times != (RevokeTimes{}) {
		t.Errorf("times of nothing are %+v, %v", times, err)
	}
}

// What a decision would have refused is what a slow look at each observation finds.
func TestPreviewDecision(t *testing.T) {
	s := open(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	r := rand.New(rand.NewPCG(3, 4))
	ids := []event.Identity{identity(t, decisionWho), identity(t, "spiffe://shop.example/ns/shop/sa/check_out"), identity(t, "spiffe://shop.example/ns/shop/sa/checkXout"), identity(t, "spiffe://other.example/a")}
	var all []event.Observation
	for i := range 400 {
		at := now.Add(-time.Duration(r.IntN(40*24*60)) * time.Minute)
		o := event.Observation{
			Time: at, FirstTime: at, Node: fmt.Sprint("n", r.IntN(3)), Direction: []event.Direction{event.Outbound, event.Inbound}[r.IntN(2)], Protocol: []event.Protocol{event.TCP, event.UDP}[r.IntN(2)],
			Workload: event.Workload{Identity: ids[r.IntN(len(ids))], Evidence: event.EvidenceKubernetes, Owner: fmt.Sprint("Deployment/", r.IntN(2))},
			Counts:   event.Counts{Connections: uint64(r.IntN(4))},
		}
		addresses := []string{"10.1.2.3", "10.2.0.1", "fd00::1", "fd01::1", "192.0.2.7"}
		o.Peer = event.Peer{Address: netip.MustParseAddr(addresses[r.IntN(len(addresses))]), Port: []uint16{22, 443}[r.IntN(2)]}
		switch i % 5 {
		case 0:
			o.Peer.Name, o.Peer.NameSource = []string{"API.example.com.", "other.example.com"}[r.IntN(2)], event.NameDNS
		case 1:
			o.Peer.Name, o.Peer.NameSource = []string{"db.shop.svc", "db.shops.svc"}[r.IntN(2)], event.NameService
		case 2:
			o.Peer.Identity = ids[r.IntN(len(ids))]
		case 3:
			o.Peer.Dialled = netip.AddrPortFrom(netip.MustParseAddr(addresses[r.IntN(len(addresses))]), 8443)
		}
		all = append(all, o)
	}
	var each []*event.Observation
	for i := range all {
		each = append(each, &all[i])
	}
	insertRows(t, s, "a", rowsOf(each...))
	since := now.Add(-30 * 24 * time.Hour)
	for _, to := range []string{
		"*", "*:443", "*:*/udp", "port:22/tcp", "port:8443", "dns:api.example.com", "dns:api.example.com:443/tcp", "svc:db.shop", "net:10.0.0.0/8", "net:10.1.2.3", "net:fd00::/16:22",
		"net:::/0", "net:0.0.0.0/0", "spiffe://other.example/a", "spiffe://other.example/a:22/udp",
	} {
		for _, who := range []struct {
			identity string
			glob     bool
		}{{decisionWho, false}, {"spiffe://shop.example/ns/shop/sa/check_out", false}, {"spiffe://shop.example/*", true}, {"spiffe://shop.example/*/sa/check*", true}, {"spiffe://nobody.example/a", false}} {
			for _, direction := range []event.Direction{event.Outbound, event.Inbound, event.Both}[r.IntN(3):][:1] {
				d := event.Decision{Identity: who.identity, Glob: who.glob, To: to, Direction: direction}
				got, err := s.PreviewDecision(t.Context(), &d, since, 10_000)
				if err != nil {
					t.Fatalf("%+v: %v", d, err)
				}
				want := slowPreview(t, &d, all, since)
				have := map[string]uint64{}
				for _, p := range got {
					have[fmt.Sprint(p.Identity, " ", p.Direction, " ", p.Resource, " ", p.Owner)] += p.Connections
				}
				if !reflect.DeepEqual(have, want) {
					t.Fatalf("%s %s %s: got %v, want %v", who.identity, direction, to, have, want)
				}
			}
		}
	}
	d := event.Decision{Identity: "spiffe://shop.example/*", Glob: true, To: "*", Direction: event.Both}
	if got, err := s.PreviewDecision(t.Context(), &d, since, 3); err != nil || len(got) != 3 || got[0].Connections < got[2].Connections {
		t.Errorf("the first three are %+v, %v", got, err)
	}
	known, err := s.KnownIdentities(t.Context(), "spiffe://shop.example/ns/shop/sa/check_out", false, 10)
	if err != nil || len(known) != 1 || known[0] != ids[1] {
		t.Errorf("known are %v, %v", known, err)
	}
	if known, err = s.KnownIdentities(t.Context(), "spiffe://shop.example/*", true, 2); err != nil || len(known) != 2 {
		t.Errorf("known are %v, %v", known, err)
	}
}

// slowPreview looks at observations one by one.
func slowPreview(t *testing.T, d *event.Decision, all []event.Observation, since time.Time) map[string]uint64 {
	t.Helper()
	target, err := event.ParseTarget(d.To)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]uint64{}
	for i := range all {
		o := &all[i]
		p := &o.Peer
		if o.Time.Before(since) || o.Counts.Connections == 0 || !d.Names(o.Workload.Identity) || d.Direction != event.Both && d.Direction != o.Direction ||
			target.Protocol != "" && target.Protocol != o.Protocol || target.Port != 0 && target.Port != p.Port && target.Port != p.Dialled.Port() {
			continue
		}
		fits := false
		switch target.Kind {
		case event.TargetAny, event.TargetPort:
			fits = true
		case event.TargetIdentity:
			fits = p.Identity == target.Identity
		case event.TargetDNS:
			fits = p.NameSource == event.NameDNS && strings.EqualFold(strings.TrimSuffix(p.Name, "."), target.Name)
		case event.TargetService:
			fits = p.NameSource == event.NameService && strings.HasPrefix(p.Name+".", target.Name+".")
		case event.TargetNet:
			fits = target.Prefix.Contains(p.Address) || p.Dialled.IsValid() && target.Prefix.Contains(p.Dialled.Addr())
		}
		if fits {
			out[fmt.Sprint(o.Workload.Identity, " ", o.Direction, " ", event.ResourceOf(o), " ", o.Workload.Owner)] += o.Counts.Connections
		}
	}
	return out
}
