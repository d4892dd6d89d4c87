package scope

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	networking "k8s.io/api/networking/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/ambit-nhi/ambit/collector/scope/simulate"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

var update = flag.Bool("update", false, "write golden files")

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func identity(t interface {
	Helper()
	Fatal(...any)
}, uri string) event.Identity {
	t.Helper()
	id, err := event.ParseIdentity(uri)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func resource(t testing.TB, text string) event.Resource {
	t.Helper()
	r, err := event.ParseResource(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const checkout = "spiffe://shop.example/ns/shop/sa/checkout"

// known is an identity whose baseline has everything that can be in one.
func known(t testing.TB) *Known {
	reach := func(way event.Direction, text string, change func(*store.Reach)) store.Reach {
		r := store.Reach{Identity: identity(t, checkout), Direction: way, Resource: resource(t, text), FirstTime: noon.Add(-72 * time.Hour), LastTime: noon,
			LastSuccess: noon, Counts: event.Counts{Connections: 10}}
		if change != nil {
			change(&r)
		}
		return r
	}
	return &Known{
		Identity: identity(t, checkout), Namespace: "shop", State: "stable", Progress: 1, Open: map[event.Resource]string{resource(t, "dns:new.example.net:443/tcp"): "new-resource"},
		Reach: []store.Reach{
			reach(event.Outbound, "spiffe://shop.example/ns/data/sa/db:5432/tcp", nil),
			reach(event.Outbound, "dns:api.example.com:443/tcp", nil),
			reach(event.Outbound, "service:kube-dns.kube-system:53/udp", nil),
			reach(event.Outbound, "net:10.1.2.0/24:8080/tcp", nil),
			reach(event.Outbound, "net:203.0.113.7/32:443/tcp", nil),
			reach(event.Outbound, "net:2001:db8::/64:22/tcp", nil),
			reach(event.Outbound, "node:n1:10250/tcp", nil),
			reach(event.Outbound, "dns:new.example.net:443/tcp", nil),
			reach(event.Outbound, "dns:down.example.net:443/tcp", func(r *store.Reach) { r.LastSuccess = time.Time{} }),
			reach(event.Outbound, "dns:old.example.net:443/tcp", func(r *store.Reach) { r.LastTime = noon.Add(-100 * 24 * time.Hour) }),
			reach(event.Inbound, "spiffe://shop.example/ns/shop/sa/web:8443/tcp", func(r *store.Reach) { r.FirstTime = noon.Add(-time.Minute) }),
			reach(event.Inbound, "net:10.9.0.0/16:8443/tcp", nil),
		},
	}
}

func TestGenerate(t *testing.T) {
	o := Options{Inbound: true, Window: 90 * 24 * time.Hour, Now: noon}
	p := Generate(known(t), o)
	if len(p.Scope.Entries) != 9 || len(p.LeftOut) != 3 || len(p.Flagged) != 3 {
		t.Errorf("%d entries, %d left out, %d flagged: %+v", len(p.Scope.Entries), len(p.LeftOut), len(p.Flagged), p)
	}
	if err := p.Scope.Validate(); err != nil {
		t.Error(err)
	}
	for _, why := range []string{"finding", "succeeded", "not used for 100 days"} {
		if !slices.ContainsFunc(p.LeftOut, func(l LeftOut) bool { return strings.Contains(l.Why, why) }) {
			t.Errorf("nothing is left out because: %s", why)
		}
	}
	if p.Confidence >= 1 || p.Confidence < 0.9 || len(p.Reasons) != 1 {
		t.Errorf("confidence %g: %v", p.Confidence, p.Reasons)
	}
	o.Inbound = false
	if p := Generate(known(t), o); slices.ContainsFunc(p.Scope.Entries, func(e event.ScopeEntry) bool { return e.Direction == event.Inbound }) {
		t.Error("there are inbound entries that were not asked for")
	}
	f := func(state string, most float64) {
		t.Helper()
		k := known(t)
		k.State, k.Progress = state, 0.4
		k.Gaps = []string{"n1 was not watched for 3h"}
		if p := Generate(k, o); p.Confidence > most || p.Confidence <= 0 || len(p.Reasons) < 1 {
			t.Errorf("%s: confidence %g, %v", state, p.Confidence, p.Reasons)
		}
	}
	f("stable", 0.7)
	f("unstable", 0.35)
	f("learning", 0.3)
	f("partial", 0.5)
	f("", 0.3)
	if p := Generate(&Known{Identity: identity(t, checkout)}, o); p.Confidence > 0.1 || p.Scope.Entries == nil {
		t.Errorf("nothing known: %+v", p)
	}
}

// What workloads made up as names never becomes a pattern, nor anything but a name.
func TestGenerateFromHostileNames(t *testing.T) {
	k := known(t)
	k.Reach = nil
	for _, name := range []string{"*.example.com", "*", "a\x1b[2J", "a\nb", "a: b", "- x", "'", "\"", "{{.}}", "<script>", "a*b.example", strings.Repeat("a", 3000), "\xff"} {
		k.Reach = append(k.Reach, store.Reach{Direction: event.Outbound, Resource: resource(t, "dns:"+name+":443/tcp"), FirstTime: noon.Add(-72 * time.Hour), LastTime: noon, LastSuccess: noon})
	}
	p := Generate(k, Options{Window: 90 * 24 * time.Hour, Now: noon})
	if err := p.Scope.Validate(); err != nil || len(p.LeftOut) != 7 || len(p.Flagged) != 0 {
		t.Errorf("%v, %d left out: %v, flagged %v", err, len(p.LeftOut), p.LeftOut, p.Flagged)
	}
	for _, f := range Formats {
		got, err := Write(&p.Scope, f)
		if errors.Is(err, ErrFormat) {
			continue
		}
		if err != nil || strings.ContainsFunc(got.Text, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) {
			t.Errorf("%s: %v\n%q", f, err, got.Text)
			continue
		}
		if f == Ambit {
			if again, err := Read(strings.NewReader(got.Text)); err != nil || len(again[0].Entries) != len(p.Scope.Entries) {
				t.Errorf("%v", err)
			}
		} else if _, err := simulate.Read([]byte(got.Text)); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func TestCompare(t *testing.T) {
	s := event.Scope{Identity: identity(t, checkout), Entries: []event.ScopeEntry{
		{Resource: "dns:api.example.com:443/tcp"}, {Resource: "dns:unused.example.com:443/tcp"}, {Resource: "dns:old.example.net:443/tcp"},
		{Resource: "net:10.0.0.0/8:8080/tcp"}, {Resource: "net:10.0.0.0/8:9/udp"}, {Resource: "dns:*.example.net:443/tcp", Flags: []string{"wildcard"}},
	}}
	d := Compare(&s, known(t).Reach, noon.Add(-30*24*time.Hour))
	var unused, undeclared []string
	for _, e := range d.Unused {
		unused = append(unused, e.Resource)
	}
	for _, u := range d.Undeclared {
		undeclared = append(undeclared, u.Resource.String())
	}
	if want := []string{"dns:unused.example.com:443/tcp", "dns:old.example.net:443/tcp", "net:10.0.0.0/8:9/udp"}; !slices.Equal(unused, want) {
		t.Errorf("unused %q", unused)
	}
	if want := []string{"spiffe://shop.example/ns/data/sa/db:5432/tcp", "service:kube-dns.kube-system:53/udp", "net:203.0.113.7/32:443/tcp", "net:2001:db8::/64:22/tcp", "node:n1:10250/tcp"}; !slices.Equal(undeclared, want) {
		t.Errorf("undeclared %q", undeclared)
	}
}

// prove checks that a policy is what its system takes, allows what it should and denies what it should not.
func prove(t *rapid.T, s *event.Scope, f Format, outside []event.Resource) {
	p, err := Write(s, f)
	if errors.Is(err, ErrFormat) {
		return
	}
	if err != nil {
		t.Fatalf("%s: %v", f, err)
	}
	if f == Kubernetes {
		var typed networking.NetworkPolicy
		if err := yaml.UnmarshalStrict([]byte(p.Text), &typed); err != nil {
			t.Fatalf("%v in\n%s", err, p.Text)
		}
	}
	sim, err := simulate.Read([]byte(p.Text))
	if err != nil {
		t.Fatalf("%s: %v in\n%s", f, err, p.Text)
	}
	missing := func(e event.ScopeEntry) bool {
		return slices.ContainsFunc(p.Missing, func(m LeftOut) bool { return m.Resource == e.Resource && m.Direction == e.Direction })
	}
	m := s.Matcher()
	restricted := map[event.Direction]bool{}
	for _, e := range s.Entries {
		restricted[e.Direction] = true
		r, err := event.ParseResource(e.Resource)
		if err != nil || strings.Contains(e.Resource, "*") {
			continue
		}
		if f == Istio && e.Direction == event.Outbound {
			continue
		}
		if got := sim.Allows(simulate.Flow{Identity: s.Identity, Direction: e.Direction, Resource: r}); got == missing(e) {
			t.Fatalf("%s: %s %s is allowed: %v, said to be missing: %v\n%s", f, e.Direction, e.Resource, got, missing(e), p.Text)
		}
	}
	// Services are allowed with all ports by two systems, which say so; otherwise nothing outside is.
	services := f == Cilium || f == Calico
	for _, r := range outside {
		for _, way := range []event.Direction{event.Outbound, event.Inbound} {
			if m.Allows(way, r) || !restricted[way] && way == event.Inbound || f == Istio && way == event.Outbound || services && r.Kind() == event.ResourceService && way == event.Outbound {
				continue
			}
			if sim.Allows(simulate.Flow{Identity: s.Identity, Direction: way, Resource: r}) {
				t.Fatalf("%s: %s %s is outside, and allowed\n%s", f, way, r, p.Text)
			}
		}
	}
}

// Whatever a scope holds, its policies allow all of it but what they say they cannot, and nothing else.
func TestPolicies(t *testing.T) {
	names := []string{
		"spiffe://shop.example/ns/data/sa/db", "spiffe://shop.example/ns/shop/sa/db", "spiffe://shop.example/ns/data/sa/web", "spiffe://other.example/x", "x509://ab/CN=a",
		"dns:api.example.com", "dns:*.example.com", "dns:API.example.org.", "dns:a b", "dns:'; rm -rf \"$x\" #", "dns:{{.}}", "service:db.data", "service:db.shop.svc", "service:odd", "node:n1",
		"net:10.0.0.0/8", "net:10.1.2.3/32", "net:2001:db8::/32", "net:0.0.0.0/0",
	}
	ports := []int{443, 22, 8080}
	rapid.Check(t, func(t *rapid.T) {
		s := &event.Scope{Identity: identity(t, rapid.SampledFrom([]string{checkout, "spiffe://shop.example/ns/shop/sa/other", "spiffe://shop.example/node/n1/unit/a.service"}).Draw(t, "identity")), Version: 3}
		var outside []event.Resource
		seen := map[string]bool{}
		for range rapid.IntRange(0, 8).Draw(t, "entries") {
			text := fmt.Sprintf("%s:%d/%s", rapid.SampledFrom(names).Draw(t, "name"), rapid.SampledFrom(ports).Draw(t, "port"), rapid.SampledFrom([]string{"tcp", "udp"}).Draw(t, "protocol"))
			way := rapid.SampledFrom([]event.Direction{event.Outbound, event.Inbound}).Draw(t, "direction")
			if key := string(way) + text; !seen[key] {
				seen[key] = true
				s.Entries = append(s.Entries, event.ScopeEntry{Resource: text, Direction: way, Flags: event.Dangers(text)})
			}
		}
		for _, name := range names {
			for _, port := range ports {
				if r, err := event.ParseResource(fmt.Sprintf("%s:%d/tcp", name, port)); err == nil && !strings.Contains(name, "*") {
					outside = append(outside, r)
				}
			}
		}
		for _, f := range Formats[1:] {
			prove(t, s, f, outside)
		}
		text, err := Write(s, Ambit)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Read(strings.NewReader(text.Text))
		if err != nil || len(again) != 1 {
			t.Fatalf("%v in\n%s", err, text.Text)
		}
		want := slices.Clone(s.Entries)
		for i, e := range again[0].Entries {
			if e.Resource != want[i].Resource || e.Direction != want[i].Direction || !slices.Equal(e.Flags, want[i].Flags) {
				t.Fatalf("%+v became %+v", want[i], e)
			}
		}
	})
}

func TestGoldenPolicies(t *testing.T) {
	p := Generate(known(t), Options{Inbound: true, Window: 90 * 24 * time.Hour, Now: noon})
	for _, f := range Formats {
		got, err := Write(&p.Scope, f)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		golden := filepath.Join("testdata", string(f)+".yaml")
		if *update {
			if err := os.WriteFile(golden, []byte(got.Text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got.Text != string(want) {
			t.Errorf("%s:\n%s\nwant\n%s", f, got.Text, want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	f := func(want, text string) {
		t.Helper()
		if _, err := Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) || strings.ContainsRune(err.Error(), '\n') {
			t.Errorf("%v, want %q", err, want)
		}
	}
	const head = "apiVersion: ambit.dev/v1\nkind: Scope\nidentity: spiffe://a.example/x\n"
	f("there is none", "")
	f("not ambit.dev/v1", "kind: Scope\n")
	f("field allow not found", head+"allow: all\n")
	f("flags: [wildcard]", head+"entries: [{resource: 'dns:*.a.example:443/tcp'}]\n")
	f("has one already", head+"entries: []\n---\n"+head+"entries: []\n")
	f("parse identity", "apiVersion: ambit.dev/v1\nkind: Scope\nidentity: root\n")
	f("read scope 1", "{{{")
	f("read scope 1", "a: &a [*a]\n")
	if _, err := Write(&event.Scope{Identity: identity(t, checkout)}, "yaml"); !errors.Is(err, ErrFormat) {
		t.Errorf("an unknown format: %v", err)
	}
	if _, err := Write(&event.Scope{Identity: identity(t, checkout)}, Istio); !errors.Is(err, ErrFormat) {
		t.Errorf("nothing inbound for Istio: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("apiVersion: ambit.dev/v1\nkind: Scope\nidentity: spiffe://a.example/x\nentries: [{resource: 'dns:a.example:443/tcp', flags: [internet]}]\n")
	f.Fuzz(func(t *testing.T, text string) {
		scopes, err := Read(strings.NewReader(text))
		for i := range scopes {
			if err != nil || scopes[i].Validate() != nil {
				t.Fatalf("a scope that is not valid is read: %v", err)
			}
		}
	})
}
