package collector

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
)

// speakAs publishes a batch of one observation.
func (n *node) speakAs(who event.Workload, port uint16) {
	n.t.Helper()
	b := event.NewBatchBuilder(n.name, "boot", n.started)
	o := observation(n.now, port)
	o.Workload = who
	b.Add(&o)
	n.sequence++
	data, err := b.Encode(n.sequence, 0, n.now)
	if err != nil {
		n.t.Fatal(err)
	}
	n.send(event.ObservationSubject(event.Partition(who.Identity, n.partitions), n.name), data)
}

func account(t testing.TB, name string) event.Workload {
	w := busy
	w.Identity, w.ServiceAccount = identity(t, "spiffe://test.example/ns/a/sa/"+name), name
	return w
}

// TestDeclared has an inventory change while collectors work: who was declared long ago and shows for the first time is told of, and who acts after it
// was removed, unless the policy is silent about its owner.
func TestDeclared(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	n.partitions = 2
	off := true
	change := func(c *Config) {
		c.Partitions, c.DeclareInterval = 2, 20*time.Millisecond
		c.Detector.Policy = append(c.Detector.Policy, detector.PolicyRule{Match: detector.PolicyMatch{Owner: []string{"team quiet"}}, Rule: "undeclared-identity", Off: &off})
	}
	declare := func(hours int, names ...string) {
		t.Helper()
		in := store.Inventory{Source: event.SourceKubernetes, Name: "c", Time: epoch.Add(time.Duration(hours) * time.Hour)}
		for _, name := range names {
			d := event.Declaration{Identity: account(t, name).Identity, Source: event.SourceKubernetes, SourceName: "c", Created: epoch.Add(-90 * 24 * time.Hour), Owner: "team loud"}
			if name == "quiet" {
				d.Owner = "team quiet"
			}
			in.Declarations = append(in.Declarations, d)
		}
		if _, err := s.ReplaceInventory(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	knows := func(r *running, name string, gone bool) {
		t.Helper()
		id := account(t, name).Identity
		await(t, "the detector to know of "+name, func() bool {
			w := r.worker(event.Partition(id, 2))
			if w == nil {
				return false
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.detector == nil {
				return false
			}
			d, known := w.detector.Declared(id)
			return known && d.Gone.IsZero() != gone
		})
	}
	declare(-72, "early", "leaver")
	r := start(t, bus, s, change)
	knows(r, "early", false)
	everybody := []string{"leaver", "quiet"}
	for i := range 40 { // in both partitions there must be enough who are learned
		everybody = append(everybody, fmt.Sprintf("w%d", i))
	}
	for _, after := range []time.Duration{10 * time.Second, 2 * time.Minute, time.Minute} {
		n.now = n.now.Add(after)
		for _, name := range everybody {
			n.speakAs(account(t, name), 1)
		}
	}
	declare(-48, "early", "late", "leaver", "quiet") // while it works
	knows(r, "late", false)
	declare(-24, "early", "late")
	knows(r, "leaver", true)
	knows(r, "quiet", true)
	n.now = n.now.Add(time.Minute)
	for _, name := range []string{"early", "late", "leaver", "quiet", "w1"} {
		n.speakAs(account(t, name), 1)
	}
	n.settled(r)

	want := []string{"never-used early", "never-used late", "undeclared-identity leaver"}
	told := func() (out []string) {
		for _, f := range n.published() {
			if text := f.Rule + " " + f.Identity.String()[strings.LastIndexByte(f.Identity.String(), '/')+1:]; !slices.Contains(out, text) {
				out = append(out, text)
			}
		}
		slices.Sort(out)
		return out
	}
	if got := told(); !slices.Equal(got, want) {
		t.Errorf("told were %v, want %v", got, want)
	}
	r.end(t)

	// The next start knows it all from what was saved; one without that reads the inventory.
	for _, saved := range []bool{true, false} {
		if !saved {
			n.forgetStates()
		}
		r = start(t, bus, s, change)
		knows(r, "leaver", true)
		n.now = n.now.Add(time.Second)
		n.speakAs(account(t, "leaver"), 1)
		n.speakAs(account(t, "late"), 1)
		n.settled(r)
		r.end(t)
		if got := told(); !slices.Equal(got, want) {
			t.Errorf("after a start, saved %t: told were %v, want %v", saved, got, want)
		}
	}
}

// TestScopes has a scope be declared and withdrawn while a collector works.
func TestScopes(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	r := start(t, bus, s, func(c *Config) { c.DeclareInterval = 20 * time.Millisecond })
	has := func(r *running, version uint64) {
		t.Helper()
		await(t, "the detector to know of the scope", func() bool {
			w := r.worker(n.home())
			if w == nil {
				return false
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.scoped[busy.Identity] == version
		})
	}
	n.publish(time.Second, 1)
	n.settled(r)
	scope := event.Scope{Identity: busy.Identity, Entries: []event.ScopeEntry{{Resource: "net:192.0.2.1/32:1/tcp", Flags: []string{event.FlagInternet, event.FlagPrivilegedPort}}}, Origin: "test", ApprovedBy: "anna", At: time.Now()}
	applied, err := s.ApplyScope(t.Context(), scope, nil)
	if err != nil {
		t.Fatal(err)
	}
	has(r, applied.Version)
	n.publish(time.Second, 1, 2)
	n.settled(r)
	found := n.published()
	if len(found) != 1 || found[0].Rule != "scope-violation" || found[0].Resource.Port() != 2 {
		t.Fatalf("%d findings: %+v", len(found), found)
	}
	for i := range 9_000 { // more than one message holds
		scope.Entries = append(scope.Entries, event.ScopeEntry{Resource: fmt.Sprintf("dns:%s%d.example.com:443/tcp", strings.Repeat("a", 100), i)})
	}
	if applied, err = s.ApplyScope(t.Context(), scope, nil); err != nil {
		t.Fatal(err)
	}
	has(r, applied.Version)
	r.end(t)
	r = start(t, bus, s, nil) // scopes are not in what is saved
	has(r, applied.Version)
	r.end(t)
}
