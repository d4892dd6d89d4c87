package decision_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

func identity(t testing.TB, uri string) event.Identity {
	t.Helper()
	id, err := event.ParseIdentity(uri)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func address(s string) netip.Addr { return netip.MustParseAddr(s) }

func testIssue(t *testing.T, s *store.Store) {
	w := start(t, s, nil)
	a := startAgent(t, w.nc, "n1", w.public)
	news := make(chan decision.Change, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() { _ = w.Follow(ctx, func(c decision.Change) error { news <- c; return nil }) })
	defer following.Wait()
	defer cancel()

	asked, err := w.Issue(t.Context(), "ada", wish(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	d := asked.Decision
	if d.Mode != event.DryRun || d.Direction != event.Outbound || d.Requester != "ada" || d.Expires.Sub(d.Issued) != time.Hour {
		t.Errorf("issued %+v", d)
	}
	if err := d.Verify([]string{w.public}, time.Now(), event.MaxDecisionLife); err != nil {
		t.Error(err)
	}
	eventually(t, func() string {
		if a.holds(d.ID) {
			return ""
		}
		return "the agent has not heard of it"
	})
	// What the database has is what was signed.
	eventually(t, func() string {
		list, _, err := s.Decisions(t.Context(), store.DecisionFilter{ID: d.ID, Now: time.Now()})
		if err != nil || len(list) != 1 {
			return fmt.Sprintf("the database has %d, %v", len(list), err)
		}
		if err := list[0].Verify([]string{w.public}, time.Now(), event.MaxDecisionLife); err != nil {
			return err.Error()
		}
		return ""
	})
	eventually(t, func() string {
		v, err := w.Get(t.Context(), d.ID)
		if err != nil || v.State != decision.StateInForce || v.Acks.Nodes[event.AckInForce] != 1 {
			return fmt.Sprintf("it is %+v, %v", v, err)
		}
		return ""
	})
	if _, err := w.Revoke(t.Context(), "grace", d.ID, "it was rotated"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if !a.holds(d.ID) {
			return ""
		}
		return "the agent still holds it"
	})
	v, err := w.Get(t.Context(), d.ID)
	if err != nil || v.State != decision.StateRevoked || v.RevokedBy != "grace" || v.Serial <= d.Serial {
		t.Errorf("it is %+v, %v", v, err)
	}
	if _, err := w.Revoke(t.Context(), "grace", d.ID, "again"); !errors.Is(err, decision.ErrConflict) {
		t.Errorf("revoked twice: %v", err)
	}
	for _, id := range []string{"d-nobody", "a.b", "", "*"} {
		if _, err := w.Revoke(t.Context(), "grace", id, "r"); !errors.Is(err, decision.ErrNotFound) {
			t.Errorf("revoked %q: %v", id, err)
		}
		if _, err := w.Get(t.Context(), id); !errors.Is(err, decision.ErrNotFound) {
			t.Errorf("got %q: %v", id, err)
		}
	}
	list, _, err := w.List(t.Context(), store.DecisionFilter{Finding: "f-1"}, decision.StateRevoked)
	if err != nil || !slices.ContainsFunc(list, func(v decision.View) bool { return v.ID == d.ID }) {
		t.Errorf("the list has %d, %v", len(list), err)
	}
	// The old form, by whoever can write into the bucket, lifts nothing.
	kv, err := w.js.KeyValue(t.Context(), event.BucketDecisions)
	if err != nil {
		t.Fatal(err)
	}
	old, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), d.ID, old); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if r := a.refusals(); len(r) > 0 && strings.HasPrefix(r[0], event.ErrReplayed.Error()) {
			return ""
		}
		return "the agent takes a replay"
	})
	if v, err := w.Get(t.Context(), d.ID); err != nil || v.State != decision.StateRevoked {
		t.Errorf("after a replay it is %s, %v", v.State, err)
	}
	actions := w.actions(t, d.ID)
	for _, want := range []string{"ada decision.asked", "ada decision.signed", "grace decision.revoked"} {
		if !slices.Contains(actions, want) {
			t.Errorf("the audit trail has %v, without %s", actions, want)
		}
	}
	var seen []string
	for len(seen) < 3 {
		select {
		case c := <-news:
			if c.What != "acknowledged" && c.Decision == d.ID || c.What == "acknowledged" && c.State == event.AckInForce {
				seen = append(seen, c.What)
			}
		case <-time.After(patient):
			t.Fatalf("news are %v", seen)
		}
	}
	slices.Sort(seen)
	if !slices.Equal(seen, []string{"acknowledged", "revoked", "signed"}) {
		t.Errorf("news are %v", seen)
	}
}

func testPreview(t *testing.T, s *store.Store) {
	w := start(t, s, nil)
	r := wish()
	r.Mode = event.Enforce
	p, err := w.Preview(t.Context(), "ada", r)
	if err != nil {
		t.Fatal(err)
	}
	if p.Connections != 5 || len(p.Items) != 1 || p.Items[0].Owner != "Deployment/x" || len(p.Identities) != 1 || p.NeedsSecond {
		t.Errorf("preview is %+v", p)
	}
	f := func(who string, change func(r *decision.Request), token string, want error) {
		t.Helper()
		x := r
		change(&x)
		if _, err := w.Issue(t.Context(), who, x, token, false); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	none := func(*decision.Request) {}
	f("ada", none, "", decision.ErrPreview)
	f("ada", none, "nonsense", decision.ErrPreview)
	f("ada", none, p.Token[1:], decision.ErrPreview)
	f("eve", none, p.Token, decision.ErrPreview)
	f("ada", func(r *decision.Request) { r.To = "*" }, p.Token, decision.ErrPreview)
	f("ada", func(r *decision.Request) { r.For++ }, p.Token, decision.ErrPreview)
	f("ada", none, p.Token, nil)
	f("ada", func(r *decision.Request) { r.To = "dns:API.example.com.:443/tcp" }, p.Token, nil) // the same
	f("ada", func(r *decision.Request) { r.Mode = event.DryRun }, "", nil)
	if _, err := w.Issue(t.Context(), "ada", r, "", true); err != nil {
		t.Errorf("with yes: %v", err)
	}
	w.SetClock(func() time.Time { return time.Now().Add(16 * time.Minute) })
	f("ada", none, p.Token, decision.ErrPreview)
	glob := wish()
	glob.Identity, glob.Glob, glob.To = "spiffe://shop.example/ns/shop/*", true, "*"
	if p, err := w.Preview(t.Context(), "ada", glob); err != nil || p.Connections != 11 || len(p.Identities) != 2 {
		t.Errorf("preview of a pattern is %+v, %v", p, err)
	}
}

func testRails(t *testing.T, s *store.Store) {
	w := start(t, s, func(c *decision.Config) {
		c.Protected = []string{"spiffe://shop.example/ns/kube-system/*", database}
		c.Floor = []string{"svc:kube-dns.kube-system", "net:10.96.0.1/32:443", "port:10250/tcp"}
	})
	f := func(name string, want error, change func(r *decision.Request)) {
		t.Helper()
		for _, mode := range []event.Mode{event.DryRun, event.Enforce} {
			r := wish()
			r.Mode = mode
			change(&r)
			_, err := w.Issue(t.Context(), "eve", r, "", true)
			if !errors.Is(err, want) {
				t.Errorf("%s, %s: %v, want %v", name, mode, err, want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: the error has several lines: %v", name, err)
			}
		}
	}
	f("good", nil, func(*decision.Request) {})
	f("nobody", decision.ErrRail, func(r *decision.Request) { r.Identity = "spiffe://shop.example/ns/shop/sa/chekout" })
	f("pattern of nobody", decision.ErrRail, func(r *decision.Request) { r.Identity, r.Glob = "spiffe://shop.example/nobody/*", true })
	f("pattern unsaid", decision.ErrInvalid, func(r *decision.Request) { r.Identity = "spiffe://shop.example/*" })
	f("everybody", decision.ErrInvalid, func(r *decision.Request) { r.Identity, r.Glob = "*", true })
	f("protected", decision.ErrRail, func(r *decision.Request) { r.Identity = database })
	f("protected among others", decision.ErrRail, func(r *decision.Request) { r.Identity, r.Glob = "spiffe://shop.example/ns/*/sa/d*", true })
	f("protected that nobody has seen", decision.ErrRail, func(r *decision.Request) { r.Identity, r.Glob = "spiffe://shop.example/*/kube-sys*", true })
	f("loopback", decision.ErrRail, func(r *decision.Request) { r.To = "net:127.0.0.1" })
	f("loopback range", decision.ErrRail, func(r *decision.Request) { r.To = "net:127.9.0.0/16:80" })
	f("loopback of IPv6", decision.ErrRail, func(r *decision.Request) { r.To = "net:::1/128" })
	f("mapped loopback", decision.ErrRail, func(r *decision.Request) { r.To = "net:::ffff:127.0.0.1/128" })
	f("localhost", decision.ErrRail, func(r *decision.Request) { r.To = "dns:LOCALHOST." })
	f("floor", decision.ErrRail, func(r *decision.Request) { r.To = "svc:kube-dns.kube-system.svc.cluster.local:53/udp" })
	f("floor by port", decision.ErrRail, func(r *decision.Request) { r.To = "net:10.0.0.5/32:10250/tcp" })
	f("beside the floor", nil, func(r *decision.Request) { r.To = "net:10.96.0.1/32:8443" })
	f("wider than the floor", nil, func(r *decision.Request) { r.To = "*" }) // the nodes let it through
	f("for ever", decision.ErrInvalid, func(r *decision.Request) { r.For = 0 })
	f("backwards", decision.ErrInvalid, func(r *decision.Request) { r.For = -1 })
	f("too long", decision.ErrInvalid, func(r *decision.Request) { r.For = decision.Span(event.MaxDecisionLife + 1) })
	f("no reason", decision.ErrInvalid, func(r *decision.Request) { r.Reason = "" })
	f("many lines", decision.ErrInvalid, func(r *decision.Request) { r.Reason = "a\nb" })
	f("no target", decision.ErrInvalid, func(r *decision.Request) { r.To = "" })
	f("bad direction", decision.ErrInvalid, func(r *decision.Request) { r.Direction = "up" })
	if got := w.actions(t, database); !slices.Contains(got, "eve decision.refused") {
		t.Errorf("the audit trail has %v of the protected one", got)
	}
	// Who has no key only shows.
	show := w.second(t, func(c *decision.Config) { c.Key, c.Trusted = nil, []string{w.public} }, prometheus.NewRegistry())
	if _, err := show.Issue(t.Context(), "ada", wish(), "", false); !errors.Is(err, decision.ErrNoKey) {
		t.Errorf("signed without a key: %v", err)
	}
	if list, _, err := show.List(t.Context(), store.DecisionFilter{}, ""); err != nil || len(list) == 0 {
		t.Errorf("it shows %d, %v", len(list), err)
	}
}

func testTwoPersons(t *testing.T, s *store.Store) {
	w := start(t, s, func(c *decision.Config) { c.Approval = decision.ApprovalEnforce })
	a := startAgent(t, w.nc, "n1", w.public)
	other := w.second(t, func(c *decision.Config) { c.Approval = decision.ApprovalEnforce }, prometheus.NewRegistry())
	r := wish()
	if asked, err := w.Issue(t.Context(), "ada", r, "", false); err != nil || asked.Waiting != nil {
		t.Errorf("a dry run: %+v, %v", asked, err)
	}
	r.Mode = event.Enforce
	asked, err := w.Issue(t.Context(), "ada", r, "", true)
	if err != nil || asked.Waiting == nil {
		t.Fatalf("%+v, %v", asked, err)
	}
	id := asked.Waiting.ID
	eventually(t, func() string {
		v, err := other.Get(t.Context(), id)
		if err == nil && v.State == decision.StateWaiting && len(v.Signature) == 0 {
			return ""
		}
		return fmt.Sprintf("it is %+v, %v", v, err)
	})
	if a.holds(id) || len(a.refusals()) > 0 {
		t.Error("the agent has heard of what waits")
	}
	if _, err := other.Approve(t.Context(), "ada", id); !errors.Is(err, decision.ErrRail) {
		t.Errorf("approved by who asked: %v", err)
	}
	if _, err := other.Approve(t.Context(), "grace", "d-nobody"); !errors.Is(err, decision.ErrNotFound) {
		t.Errorf("approved what is not there: %v", err)
	}
	// Of many who approve at once, through two collectors, one does.
	var group sync.WaitGroup
	done := make(chan error, 8)
	for i := range 8 {
		group.Go(func() {
			_, err := []*decision.Service{w.Service, other}[i%2].Approve(t.Context(), fmt.Sprint("grace", i), id)
			done <- err
		})
	}
	group.Wait()
	good := 0
	for range 8 {
		if err := <-done; err == nil {
			good++
		} else if !errors.Is(err, decision.ErrConflict) && !errors.Is(err, decision.ErrNotFound) {
			t.Error(err)
		}
	}
	if good != 1 {
		t.Errorf("%d approved it", good)
	}
	eventually(t, func() string {
		if v, err := w.Get(t.Context(), id); err != nil || v.State != decision.StateInForce || v.Requester != "ada" || !strings.HasPrefix(v.Approver, "grace") {
			return fmt.Sprintf("it is %+v, %v", v, err)
		}
		if !a.holds(id) {
			return "the agent has not heard of it"
		}
		return ""
	})
	// One that is dropped is never signed.
	if asked, err = w.Issue(t.Context(), "ada", r, "", true); err != nil {
		t.Fatal(err)
	}
	if d, err := w.Revoke(t.Context(), "ada", asked.Waiting.ID, "was wrong"); err != nil || d != nil {
		t.Errorf("dropped: %v, %v", d, err)
	}
	if _, err := other.Approve(t.Context(), "grace", asked.Waiting.ID); !errors.Is(err, decision.ErrNotFound) {
		t.Errorf("approved what was dropped: %v", err)
	}
	if got := w.actions(t, asked.Waiting.ID); !slices.Equal(got, []string{"ada decision.asked", "ada decision.withdrawn"}) {
		t.Errorf("the audit trail has %v", got)
	}
	// Who asks may want a second person where the settings do not.
	r.Mode, r.Approve = event.DryRun, true
	if asked, err = w.Issue(t.Context(), "ada", r, "", false); err != nil || asked.Waiting == nil {
		t.Errorf("%+v, %v", asked, err)
	}
	// What waits too long cannot be approved, and goes.
	w.SetClock(func() time.Time { return time.Now().Add(25 * time.Hour) })
	if _, err := w.Approve(t.Context(), "grace", asked.Waiting.ID); err == nil {
		t.Error("approved what waited for a day")
	}
	eventually(t, func() string {
		if _, err := other.Get(t.Context(), asked.Waiting.ID); errors.Is(err, decision.ErrNotFound) {
			return ""
		}
		return "it still waits"
	})
}

// Whoever can write into the bucket, but has no key, changes nothing, and is told of.
func testBucket(t *testing.T, s *store.Store) {
	w := start(t, s, nil)
	a := startAgent(t, w.nc, "n1", w.public)
	kv, err := w.js.KeyValue(t.Context(), event.BucketDecisions)
	if err != nil {
		t.Fatal(err)
	}
	asked, err := w.Issue(t.Context(), "ada", wish(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	put := func(key string, d *event.Decision) {
		t.Helper()
		data, err := json.Marshal(d)
		if err == nil {
			_, err = kv.Put(t.Context(), key, data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	found := func(id, why string) {
		t.Helper()
		eventually(t, func() string {
			list, _, err := s.Findings(t.Context(), store.FindingFilter{Rule: decision.RefusedRule, Limit: 1000})
			if err != nil {
				return err.Error()
			}
			for _, f := range list {
				if strings.Contains(f.Explanation[0], id) && strings.Contains(f.Explanation[0], why) {
					return ""
				}
			}
			return fmt.Sprintf("no finding says that %s is refused because %s", id, why)
		})
	}
	thief, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	forged := func(id string) *event.Decision {
		return &event.Decision{ID: id, Serial: 1, Identity: checkout, To: "*", Direction: event.Both, Mode: event.Enforce, Reason: "r", Requester: "eve", Issued: now, Expires: now.Add(time.Hour)}
	}
	unsigned := forged("d-unsigned")
	put(unsigned.ID, unsigned)
	stranger := forged("d-stranger")
	if err := stranger.Sign(thief); err != nil {
		t.Fatal(err)
	}
	put(stranger.ID, stranger)
	altered := asked.Decision.Clone()
	altered.To = "*"
	put(altered.ID, altered)
	moved := asked.Decision.Clone() // a good one under another name
	put("d-moved", moved)
	if _, err := kv.Put(t.Context(), "d-nonsense", []byte("{")); err != nil {
		t.Fatal(err)
	}
	past := forged("d-past")
	past.Issued, past.Expires = now.Add(-2*time.Hour), now.Add(-time.Hour)
	if err := past.Sign(w.key); err != nil {
		t.Fatal(err)
	}
	put(past.ID, past)
	long := forged("d-long")
	long.Expires = now.Add(48 * time.Hour)
	if err := long.Sign(w.key); err != nil {
		t.Fatal(err)
	}
	put(long.ID, long)
	found("d-unsigned", event.ErrUnsigned.Error())
	found("d-stranger", event.ErrUnknownKey.Error())
	found(altered.ID, event.ErrSignature.Error())
	found("d-moved", event.ErrSignature.Error())
	found("d-nonsense", "decode decision")
	found("d-long", event.ErrTooLong.Error())
	eventually(t, func() string {
		if n := len(a.refusals()); n < 5 {
			return fmt.Sprintf("the agent refused %d", n)
		}
		return ""
	})
	for _, id := range []string{"d-unsigned", "d-stranger", "d-moved", "d-past", "d-long"} {
		if a.holds(id) {
			t.Errorf("the agent holds %s", id)
		}
		if _, err := w.Get(t.Context(), id); !errors.Is(err, decision.ErrNotFound) {
			t.Errorf("the service has %s: %v", id, err)
		}
	}
	// What stands altered in the bucket is revoked as it was signed.
	d, err := w.Revoke(t.Context(), "ada", altered.ID, "was tampered with")
	if err != nil || d.To != "dns:api.example.com:443/tcp" {
		t.Fatalf("revoked %+v, %v", d, err)
	}
	eventually(t, func() string {
		if a.holds(d.ID) {
			return "the agent still holds it"
		}
		return ""
	})
	// A key that is gone lifts nothing.
	again, err := w.Issue(t.Context(), "ada", wish(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if a.holds(again.Decision.ID) {
			return ""
		}
		return "the agent has not heard of it"
	})
	if err := kv.Delete(t.Context(), again.Decision.ID); err != nil {
		t.Fatal(err)
	}
	if v, err := w.Get(t.Context(), again.Decision.ID); err != nil || v.State != decision.StateInForce || !a.holds(again.Decision.ID) {
		t.Errorf("after its key was deleted, it is %+v, %v", v, err)
	}
	// Nor does it keep anybody from revoking, as nonsense in its place does not.
	if d, err = w.Revoke(t.Context(), "ada", again.Decision.ID, "over"); err != nil {
		t.Fatal(err)
	}
	covered, err := w.Issue(t.Context(), "ada", wish(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if a.holds(d.ID) || !a.holds(covered.Decision.ID) {
			return "the agent has not heard of both"
		}
		return ""
	})
	if _, err := kv.Put(t.Context(), covered.Decision.ID, []byte("{")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Revoke(t.Context(), "ada", covered.Decision.ID, "over"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if a.holds(covered.Decision.ID) {
			return "the agent still holds it"
		}
		return ""
	})
}

func testAcks(t *testing.T, s *store.Store) {
	w := start(t, s, nil)
	nodes := []*agent{startAgent(t, w.nc, "n1", w.public), startAgent(t, w.nc, "n2", w.public), startAgent(t, w.nc, "n3.example", "ACSTRANGER")}
	r := wish()
	r.Mode = event.Enforce
	asked, err := w.Issue(t.Context(), "ada", r, "", true)
	if err != nil {
		t.Fatal(err)
	}
	d := asked.Decision
	eventually(t, func() string {
		v, err := w.Get(t.Context(), d.ID)
		if err != nil || v.Acks.Nodes[event.AckInForce] != 2 || v.Acks.Nodes[event.AckRefused] != 1 {
			return fmt.Sprintf("acknowledged %+v, %v", v.Acks, err)
		}
		return ""
	})
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i, a := range nodes[:2] {
		a.tell(t, event.Ack{
			Decision: d.ID, Serial: d.Serial, Node: a.node, Boot: "b1", State: event.AckInForce, At: now, Told: now.Add(time.Minute), Denied: uint64(3 + i), Cut: 1,
			FirstDenied: now.Add(time.Second), LastDenied: now.Add(2 * time.Second), LastAllowed: d.Issued.Add(time.Duration(i) * time.Millisecond), Entries: 2,
		})
	}
	// n1 speaks for n2, and somebody sends nonsense.
	forged, err := (&event.Ack{Decision: d.ID, Serial: d.Serial, Node: "n2", Boot: "b9", State: event.AckEnded, At: now, Told: now.Add(time.Hour)}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{forged, []byte("nonsense"), {}, []byte(strings.Repeat("x", 20_000))} {
		if err := w.nc.Publish(event.AckSubject("n1"), data); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() string {
		v, err := w.Get(t.Context(), d.ID)
		if err != nil || v.Acks.Denied != 7 || v.Acks.Cut != 2 || v.Acks.Nodes[event.AckInForce] != 2 || !v.Acks.LastAllowed.Equal(d.Issued.Add(time.Millisecond)) {
			return fmt.Sprintf("acknowledged %+v, %v", v.Acks, err)
		}
		if w.counter(t, "ambit_decision_refused_total") < 4 {
			return "what is no acknowledgement is not counted"
		}
		return ""
	})
	list, err := w.Acks(t.Context(), d.ID, "", 0)
	if err != nil || len(list) != 3 || list[0].Node != "n1" || list[2].State != event.AckRefused || !strings.HasPrefix(list[2].Why, event.ErrUnknownKey.Error()) {
		t.Errorf("acknowledgements are %+v, %v", list, err)
	}
	times, err := w.TimeToRevoke(t.Context(), time.Hour)
	if err != nil || times.InForce == 0 || times.InForceP99 < 0 || times.InForceP99 > patient.Seconds() {
		t.Errorf("times are %+v, %v", times, err)
	}
	eventually(t, func() string {
		got := w.actions(t, d.ID)
		for _, want := range []string{"nodes decision.in-force", "nodes decision.refused-by-node", "nodes decision.blocked-first"} {
			if !slices.Contains(got, want) {
				return fmt.Sprintf("the audit trail has %v, without %s", got, want)
			}
		}
		return ""
	})
	eventually(t, func() string {
		list, _, err := s.Findings(t.Context(), store.FindingFilter{Rule: decision.RefusedRule, Limit: 1000})
		if err != nil {
			return err.Error()
		}
		for _, f := range list {
			if f.Node == "n3.example" && f.Severity == event.High && f.Identity.String() == checkout {
				return ""
			}
		}
		return "no finding tells of the node that does not know the key"
	})
}

func testExpiry(t *testing.T, s *store.Store) {
	w := start(t, s, nil)
	r := wish()
	r.For = decision.Span(2 * time.Second)
	asked, err := w.Issue(t.Context(), "ada", r, "", false)
	if err != nil {
		t.Fatal(err)
	}
	d := asked.Decision
	eventually(t, func() string {
		v, err := w.Get(t.Context(), d.ID)
		if err == nil && v.State == decision.StateExpired {
			return ""
		}
		return fmt.Sprintf("it is %s, %v", v.State, err)
	})
	if _, err := w.Revoke(t.Context(), "ada", d.ID, "late"); !errors.Is(err, decision.ErrConflict) {
		t.Errorf("revoked what has expired: %v", err)
	}
	// A minute later its key goes, and that is written down once, whoever is first.
	other := w.second(t, nil, prometheus.NewRegistry())
	later := func() time.Time { return time.Now().Add(2 * time.Minute) }
	w.SetClock(later)
	other.SetClock(later)
	kv, err := w.js.KeyValue(t.Context(), event.BucketDecisions)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if _, err := kv.Get(t.Context(), d.ID); !errors.Is(err, jetstream.ErrKeyNotFound) {
			return fmt.Sprintf("its key is there: %v", err)
		}
		if got := w.actions(t, d.ID); !slices.Equal(got, []string{"ada decision.asked", "ada decision.signed", "ambit decision.expired"}) {
			return fmt.Sprintf("the audit trail has %v", got)
		}
		return ""
	})
	if v, err := w.Get(t.Context(), d.ID); err != nil || v.State != decision.StateExpired {
		t.Errorf("after that it is %+v, %v", v, err)
	}
}

// A thousand findings in a minute are not a thousand decisions.
func testAutomatic(t *testing.T, s *store.Store) {
	const perMinute = 4
	w := start(t, s, func(c *decision.Config) {
		c.PerMinute, c.Most = perMinute, 100
		c.Protected = []string{"spiffe://shop.example/protected/*"}
		c.Automatic = []decision.Rule{{Rule: "dormant-identity", Severity: event.High, To: "*", Mode: event.Enforce, For: time.Hour}}
	})
	ensure := func() bool {
		_, err := w.js.Consumer(t.Context(), event.StreamFindings, "ambit-automatic")
		return err == nil
	}
	eventually(t, func() string {
		if ensure() {
			return ""
		}
		return "nobody follows findings"
	})
	tell := func(id, rule, who string, severity event.Severity, status event.Status) {
		t.Helper()
		about := identity(t, who)
		f := event.Finding{
			ID: id, Rule: rule, Title: "It woke", Severity: severity, Identity: about, Workload: event.Workload{Identity: about},
			FirstTime: time.Now(), LastTime: time.Now(), Status: status,
		}
		data, err := json.Marshal(f)
		if err == nil {
			_, err = w.js.Publish(t.Context(), event.FindingSubject(&f), data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tell("f-low", "dormant-identity", "spiffe://shop.example/low", event.Medium, event.StatusNew)
	tell("f-other", "new-resource", "spiffe://shop.example/other", event.Critical, event.StatusNew)
	tell("f-done", "dormant-identity", "spiffe://shop.example/done", event.Critical, event.StatusSuppressed)
	tell("f-protected", "dormant-identity", "spiffe://shop.example/protected/a", event.Critical, event.StatusNew)
	tell("f-first", "dormant-identity", "spiffe://shop.example/first", event.High, event.StatusNew)
	tell("f-first", "dormant-identity", "spiffe://shop.example/first", event.High, event.StatusNew) // again
	for i := range 1000 {
		tell(fmt.Sprint("f-", i), "dormant-identity", fmt.Sprint("spiffe://shop.example/many/", i), event.Critical, event.StatusNew)
	}
	stream, err := w.js.Stream(t.Context(), event.StreamFindings)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		c, err := stream.Consumer(t.Context(), "ambit-automatic")
		if err != nil {
			return err.Error()
		}
		if i := c.CachedInfo(); i.NumPending > 0 || i.NumAckPending > 0 {
			return fmt.Sprintf("%d findings wait", i.NumPending)
		}
		return ""
	})
	kv, err := w.js.KeyValue(t.Context(), event.BucketDecisions)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := kv.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != perMinute {
		t.Errorf("%d automatic decisions of 1001 findings, want %d", len(keys), perMinute)
	}
	for _, key := range keys {
		v, err := w.Get(t.Context(), key)
		if err != nil || !v.Automatic || v.Requester != "rule:dormant-identity" || v.To != "*" || v.Mode != event.Enforce {
			t.Errorf("decided %+v, %v", v, err)
		}
	}
	if got := w.actions(t, "spiffe://shop.example/many/999"); !slices.Equal(got, []string{"rule:dormant-identity decision.refused"}) {
		t.Errorf("the audit trail has %v of the last one", got)
	}
	if got := w.actions(t, "spiffe://shop.example/protected/a"); !slices.Equal(got, []string{"rule:dormant-identity decision.refused"}) {
		t.Errorf("the audit trail has %v of the protected one", got)
	}
	// People are not stopped.
	if _, err := w.Issue(t.Context(), "ada", wish(), "", false); err != nil {
		t.Errorf("a person is stopped: %v", err)
	}
}

func testNodes(t *testing.T, s *store.Store) {
	w := start(t, s, nil)
	now := time.Now()
	for _, h := range []event.Heartbeat{
		{Node: "new.example", Deny: "off: old news"}, {Node: "new.example", Deny: "on"}, {Node: "old"}, {Node: "broken", Deny: "off: break-glass"},
		{Node: "silent", Deny: "on", Time: now.Add(-time.Hour), Started: now.Add(-2 * time.Hour)},
	} {
		h.Boot = "b1"
		if h.Time.IsZero() {
			h.Time, h.Started = now, now.Add(-time.Minute)
		}
		data, err := h.Encode()
		if err == nil {
			_, err = w.js.Publish(t.Context(), event.AgentSubject(h.Node), data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// On the subject of another, and nonsense.
	if _, err := w.js.Publish(t.Context(), event.AgentSubject("liar"), []byte("nonsense")); err != nil {
		t.Fatal(err)
	}
	nodes, err := w.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range nodes {
		got = append(got, fmt.Sprint(n.Node, " ", n.Covered, " ", n.Why))
	}
	if want := []string{"broken false break-glass", "new.example true ", "old false its agent is too old to deny"}; !slices.Equal(got, want) {
		t.Errorf("nodes are %q, want %q", got, want)
	}
}

// A record that was changed in the database is found.
func testAudit(t *testing.T, s *store.Store) {
	w := start(t, s, nil)
	if _, err := w.Issue(t.Context(), "ada", wish(), "", false); err != nil {
		t.Fatal(err)
	}
	stream, err := w.js.Stream(t.Context(), event.StreamAudit)
	if err != nil {
		t.Fatal(err)
	}
	var records []audit.Record
	eventually(t, func() string {
		records = nil
		for i := uint64(1); ; i++ {
			m, err := stream.GetMsg(t.Context(), i)
			if err != nil {
				break
			}
			var r audit.Record
			if err := json.Unmarshal(m.Data, &r); err != nil {
				t.Fatal(err)
			}
			records = append(records, r)
		}
		if len(records) < 2 {
			return fmt.Sprintf("%d records", len(records))
		}
		return ""
	})
	each := func(yield func(audit.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
	if err := audit.Verify(each); err != nil {
		t.Errorf("the trail as it is: %v", err)
	}
	records[1].Detail["key"] = "another"
	if err := audit.Verify(each); err == nil {
		t.Error("a changed record is not found")
	}
}
