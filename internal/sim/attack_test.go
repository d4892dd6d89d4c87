package sim

import (
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

func TestScenariosAreDescribed(t *testing.T) {
	families, names := map[string]int{}, map[string]bool{}
	owasp, attack := regexp.MustCompile(`^NHI(10|[1-9]):2025$`), regexp.MustCompile(`^T1\d{3}(\.\d{3})?$`)
	for _, s := range Scenarios() {
		families[s.Family]++
		if names[s.Name] || s.Name == "" || s.Does == "" || s.Lasts <= 0 {
			t.Errorf("scenario %+v", s)
		}
		names[s.Name] = true
		for _, id := range s.OWASP {
			if !owasp.MatchString(id) {
				t.Errorf("%s: %s is no OWASP NHI id", s.Name, id)
			}
		}
		for _, id := range s.Attack {
			if !attack.MatchString(id) {
				t.Errorf("%s: %s is no ATT&CK id", s.Name, id)
			}
		}
		if len(s.OWASP) == 0 || len(s.Attack) == 0 {
			t.Errorf("%s has no ids", s.Name)
		}
	}
	if len(names) < 24 || len(families) < 8 {
		t.Errorf("%d scenarios in %d families", len(names), len(families))
	}
}

// Every scenario happens, in its time, by its identities.
func TestAttacks(t *testing.T) {
	p := Default()
	p.Identities, p.Days, p.Repeat = 600, 40, 1
	s := newSim(t, p)
	placed := map[string]bool{}
	by := map[event.Identity]string{}
	for _, a := range s.Attacks() {
		placed[a.Scenario.Name] = true
		if len(a.Identities) == 0 || len(a.Resources) == 0 || a.Told != len(a.staged) || a.Until.Before(a.From) {
			t.Fatalf("%s: %+v", a.Name, a)
		}
		if lasted := a.Until.Sub(a.From); lasted > a.Scenario.Lasts+10*time.Minute {
			t.Errorf("%s lasts %s", a.Name, lasted)
		}
		if a.From.Before(p.Start.Add(day)) || a.Until.After(p.Start.Add(time.Duration(p.Days)*day)) {
			t.Errorf("%s is from %s to %s", a.Name, a.From, a.Until)
		}
		if other := by[a.Identities[0]]; other != "" {
			t.Errorf("%s and %s abuse the same identity", a.Name, other)
		}
		by[a.Identities[0]] = a.Name
		for i := range a.staged {
			checkStaged(t, &a, &a.staged[i].observation)
		}
	}
	for _, sc := range Scenarios() {
		if !placed[sc.Name] {
			t.Errorf("%s was not placed", sc.Name)
		}
	}
}

func checkStaged(t *testing.T, a *Attack, o *event.Observation) {
	t.Helper()
	if o.Time.Before(a.From) || o.Time.After(a.Until) {
		t.Errorf("%s: told at %s", a.Name, o.Time)
	}
	if err := o.Validate(); err != nil {
		t.Errorf("%s: %v", a.Name, err)
	}
	if o.Direction == event.Outbound && (!slices.Contains(a.Identities, o.Workload.Identity) || !slices.Contains(a.Resources, event.ResourceOf(o))) {
		t.Errorf("%s: %s reaches %s", a.Name, o.Workload.Identity, event.ResourceOf(o))
	}
}

func TestFinds(t *testing.T) {
	s := newSim(t, small(1))
	a := s.Attacks()[0]
	id, r := a.Identities[0], a.Resources[0]
	other, err := event.ParseIdentity("spiffe://sim.example/other")
	if err != nil {
		t.Fatal(err)
	}
	f := func(want bool, at time.Time, id event.Identity, r event.Resource, rule string) {
		t.Helper()
		if got := a.Finds(at, id, r, rule); got != want {
			t.Errorf("at %s, %s, %s, %s: %v", at, id, r, rule, got)
		}
	}
	f(true, a.From, id, r, "anything")
	f(true, a.Until.Add(time.Hour), id, r, "anything")
	f(false, a.From.Add(-time.Microsecond), id, r, "anything")
	f(false, a.Until.Add(time.Hour+1), id, r, "anything")
	f(false, a.From, other, r, "anything")
	f(false, a.From, id, event.Resource{}, "anything")
	if len(a.Scenario.Rules) > 0 {
		f(true, a.From, id, event.Resource{}, a.Scenario.Rules[0])
	}
}
