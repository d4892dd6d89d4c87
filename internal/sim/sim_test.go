package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

func small(seed uint64) Params {
	p := Default()
	p.Seed, p.Identities, p.Days, p.Repeat = seed, 150, 6, 1
	return p
}

func newSim(t interface {
	Helper()
	Fatal(...any)
}, p Params) *Sim {
	t.Helper()
	s, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fingerprint is the SHA-256 of all records as JSON Lines.
func fingerprint(t *testing.T, s *Sim) string {
	t.Helper()
	h := sha256.New()
	enc := json.NewEncoder(h)
	for r := range s.Records() {
		if err := enc.Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

func TestSameSeedSameBytes(t *testing.T) {
	p := small(7)
	p.Days = 3
	first := newSim(t, p)
	want := fingerprint(t, first)
	if got := fingerprint(t, first); got != want {
		t.Error("a second run of the same simulation differs")
	}
	if got := fingerprint(t, newSim(t, p)); got != want {
		t.Error("another simulation of the same seed differs")
	}
	p.Seed = 8
	if got := fingerprint(t, newSim(t, p)); got == want {
		t.Error("another seed gives the same")
	}
}

// What is normal does not depend on the attacks.
func TestAttacksChangeNothingElse(t *testing.T) {
	p := small(3)
	attacked := newSim(t, p)
	p.Calm = true
	calm := newSim(t, p)
	if len(attacked.Attacks()) == 0 || len(calm.Attacks()) != 0 {
		t.Fatalf("%d attacks, %d in the calm one", len(attacked.Attacks()), len(calm.Attacks()))
	}
	left := map[string]int{}
	for _, a := range attacked.Attacks() {
		for i := range a.staged {
			left[jsonOf(t, &a.staged[i].observation)]++
		}
	}
	rest := func(s *Sim) (list []string) {
		for o := range s.Observations() {
			line := jsonOf(t, o)
			if s == attacked && left[line] > 0 {
				left[line]--
				continue
			}
			sum := sha256.Sum256([]byte(line))
			list = append(list, string(sum[:]))
		}
		return list
	}
	a, b := rest(attacked), rest(calm)
	if !slices.Equal(a, b) {
		t.Errorf("%d observations beside the attacks, %d without them, or others", len(a), len(b))
	}
	for line, n := range left {
		if n > 0 {
			t.Errorf("an attack's observation was not told: %s", line)
		}
	}
}

func jsonOf(t *testing.T, o *event.Observation) string {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// checkRecords says what must be true of every record: they come in order, are valid, were watched, and do not cross an hour.
func checkRecords(t interface {
	Helper()
	Fatalf(string, ...any)
}, s *Sim) (observations int) {
	t.Helper()
	var last time.Time
	watched := map[string]*Watch{}
	for r := range s.Records() {
		if r.At.Before(last) {
			t.Fatalf("%s comes after %s", r.At, last)
		}
		last = r.At
		switch {
		case r.Watch != nil:
			if !r.Watch.Until.Equal(r.At) || r.Watch.Started.After(r.Watch.Until) {
				t.Fatalf("at %s: watched from %s until %s", r.At, r.Watch.Started, r.Watch.Until)
			}
			copied := *r.Watch
			watched[r.Watch.Node] = &copied
		case r.Declaration != nil:
			if err := r.Declaration.Validate(); err != nil {
				t.Fatalf("%v", err)
			}
		case r.Observation != nil:
			o := r.Observation
			observations++
			if err := o.Validate(); err != nil {
				t.Fatalf("%v in %+v", err, o)
			}
			w := watched[o.Node]
			if w == nil || !w.Until.Equal(o.Time) || o.First().Before(w.Started) {
				t.Fatalf("%s from %s until %s is not in %+v", o.Node, o.First(), o.Time, w)
			}
			if !o.First().Truncate(time.Hour).Equal(o.Time.Truncate(time.Hour)) {
				t.Fatalf("%s to %s crosses an hour", o.First(), o.Time)
			}
			if c := o.Counts; c == (event.Counts{}) || c.Failed > c.Connections {
				t.Fatalf("counts %+v of %s", c, event.ResourceOf(o))
			}
		}
	}
	return observations
}

func TestRecords(t *testing.T) {
	if n := checkRecords(t, newSim(t, small(1))); n < 20_000 {
		t.Errorf("only %d observations", n)
	}
}

func TestRecordsOfAnyParameters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Default()
		p.Seed, p.Identities, p.Days, p.Repeat = rapid.Uint64().Draw(t, "seed"), rapid.IntRange(60, 120).Draw(t, "identities"), rapid.IntRange(2, 3).Draw(t, "days"), 1
		p.AgentRestarts = rapid.Float64Range(0, 300).Draw(t, "restarts")
		p.NodeLife = time.Duration(rapid.IntRange(1, 10).Draw(t, "node life")) * day
		p.Outages = rapid.Float64Range(0, 50).Draw(t, "outages")
		p.DebugPerDay = rapid.Float64Range(0, 500).Draw(t, "debug")
		checkRecords(t, newSim(t, p))
	})
}

func TestValidate(t *testing.T) {
	f := func(change func(*Params)) {
		t.Helper()
		p := Default()
		change(&p)
		if s, err := New(p); err == nil || s != nil {
			t.Errorf("%+v was accepted", p)
		}
	}
	f(func(p *Params) { p.Identities = 10 })
	f(func(p *Params) { p.Days = 0 })
	f(func(p *Params) { p.Start = p.Start.Add(day) })
	f(func(p *Params) { p.Mesh = 1.5 })
	f(func(p *Params) { p.Dispersion = [2]float64{8, 4} })
	f(func(p *Params) { p.Outages = -1 })
	f(func(p *Params) { p.NodeLife = 0 })
	f(func(p *Params) { p.RestartGap = 0 })
	f(func(p *Params) { p.RareEvery = [2]time.Duration{} })
	f(func(p *Params) { p.SaaSAddresses = 0 })
}

func TestStopEarly(t *testing.T) {
	n := 0
	for range newSim(t, small(1)).Records() {
		if n++; n == 100 {
			break
		}
	}
	if n != 100 {
		t.Errorf("%d records", n)
	}
}

// Nobody acts before it is there, while it rests, or after it is gone; the accounts of those who are gone are declared gone, and idle ones never act.
func TestNobodyActsOutsideOfItsLife(t *testing.T) {
	p := small(4)
	p.Calm, p.Days, p.Identities, p.Paused, p.Deleted, p.BornLate, p.Dormant = true, 30, 250, .1, .1, .2, .1
	w, err := newWorld(p)
	if err != nil {
		t.Fatal(err)
	}
	members := map[event.Identity]*member{}
	rested, idle, deleted := 0, 0, 0
	for _, m := range w.members {
		members[m.id] = m
		if m.rest.until > 0 {
			rested++
		}
		if m.kind == kindIdle {
			idle++
		}
		if m.deleted {
			deleted++
		}
	}
	if rested == 0 || idle == 0 || deleted == 0 {
		t.Fatalf("%d rest, %d are idle, %d are deleted", rested, idle, deleted)
	}
	seen, gone := map[*member]bool{}, 0
	for r := range newSim(t, p).Records() {
		if d := r.Declaration; d != nil && !d.Gone.IsZero() {
			gone++
		}
		o := r.Observation
		if o == nil {
			continue
		}
		m := members[o.Workload.Identity]
		if m == nil {
			t.Fatalf("nobody is %s", o.Workload.Identity)
		}
		seen[m] = true
		if at := o.First().Sub(p.Start); m.kind == kindIdle || m.kind == kindService && !m.alive(at) {
			t.Fatalf("%s acts at %s (%s): born %s, gone %s, rests %v", m.id, at, o.Direction, m.born, m.gone, m.rest)
		}
	}
	if gone != deleted {
		t.Errorf("%d accounts are declared gone, not %d", gone, deleted)
	}
	for _, m := range w.members {
		if m.kind == kindService && m.born == 0 && !seen[m] {
			t.Errorf("%s never acts", m.id)
		}
	}
}
