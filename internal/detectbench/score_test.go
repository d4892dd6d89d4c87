package main

import (
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/sim"
)

func TestScore(t *testing.T) {
	who, other := identity(t, "a"), identity(t, "b")
	resource := func(text string) event.Resource {
		r, err := event.ParseResource(text)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	bad, fine := resource("dns:bad.example:443/tcp"), resource("dns:fine.example:443/tcp")
	p := sim.Default()
	p.Days, p.Identities = 56, 500
	p.Start = noon
	from := noon.Add(20 * 24 * hours)
	scenario := &sim.Scenario{Name: "x", Family: "f", Rules: []string{"volume"}}
	fresh := func() *score {
		return &score{
			params: p, told: map[string]int{}, found: make([]found, 2), days: make([]int, p.Days), byRule: map[string]int{}, byKind: map[string]int{}, byCause: map[string]int{},
			attacks: []sim.Attack{
				{Name: "x/1", Scenario: scenario, Identities: []event.Identity{who}, Resources: []event.Resource{bad}, From: from, Until: from.Add(hours)},
				{Name: "x/2", Scenario: scenario, Identities: []event.Identity{other}, Resources: []event.Resource{bad}, From: from, Until: from.Add(hours)},
			},
		}
	}
	f := func(what string, wantShare, wantLow float64, trues, falses int, list ...alert) *score {
		t.Helper()
		s := fresh()
		for _, a := range list {
			s.take(a)
		}
		if s.share() != wantShare || s.lowShare() != wantLow || s.trues != trues || s.falses != falses {
			t.Errorf("%s: found %g, low %g, %d true, %d false", what, s.share(), s.lowShare(), s.trues, s.falses)
		}
		return s
	}
	at := func(after time.Duration, key string, id event.Identity, r event.Resource, rule string, severity event.Severity) alert {
		return alert{at: from.Add(after), key: key, identity: id, resource: r, rule: rule, severity: severity}
	}
	s := f("found by its resource", .5, 0, 1, 0, at(30*time.Second, "k", who, bad, "new-reach", event.High))
	if d := s.delays(); len(d) != 1 || d[0] != 3 {
		t.Errorf("delays %v", d)
	}
	if n := s.families()["f"]; n != [2]int{2, 1} {
		t.Errorf("families %v", n)
	}
	if got, want := s.perDay(), 1./42*2; got != want {
		t.Errorf("%g a day instead of %g", got, want)
	}
	f("found by its rule", .5, 0, 1, 0, at(0, "k", who, event.Resource{}, "volume", event.Medium))
	f("another resource by another rule", 0, 0, 0, 1, at(0, "k", who, fine, "new-reach", event.Medium))
	f("of low severity", 0, .5, 0, 0, at(0, "k", who, bad, "new-reach", event.Low))
	f("raised", .5, 0, 1, 0, at(0, "k", who, bad, "new-reach", event.Low), at(time.Minute, "k", who, bad, "new-reach", event.Medium))
	f("told again", 0, 0, 0, 1, at(-48*hours, "k", who, bad, "new-reach", event.Medium), at(0, "k", who, bad, "new-reach", event.Medium))
	f("raised again counts once", .5, 0, 0, 1, at(-48*hours, "k", who, bad, "new-reach", event.Medium), at(0, "k", who, bad, "new-reach", event.High))
	f("too early to count", 0, 0, 0, 0, at(-10*24*hours, "k", who, bad, "new-reach", event.High))
	f("too late", 0, 0, 0, 1, at(3*hours, "k", who, bad, "new-reach", event.High))
	f("both", 1, 0, 2, 0, at(0, "k", who, bad, "new-reach", event.High), at(0, "l", other, bad, "new-reach", event.High))
}

func TestQuantile(t *testing.T) {
	list := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
	if got := quantile(list, .5); got != 6 {
		t.Errorf("median %g", got)
	}
	if got := quantile(list, .9); got != 10 {
		t.Errorf("p90 %g", got)
	}
	if got := quantile(nil, .5); got != 0 {
		t.Errorf("of nothing %g", got)
	}
}
