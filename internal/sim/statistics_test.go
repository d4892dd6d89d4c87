package sim

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

func moments(list []float64) (mean, variance float64) {
	for _, x := range list {
		mean += x / float64(len(list))
	}
	for _, x := range list {
		variance += (x - mean) * (x - mean) / float64(len(list)-1)
	}
	return mean, variance
}

// The counts have the mean and the dispersion that were asked for.
func TestCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mean, dispersion := math.Exp(rapid.Float64Range(-1, 7).Draw(t, "log mean")), rapid.Float64Range(1, 10).Draw(t, "dispersion")
		d := newDice(rapid.Uint64().Draw(t, "seed"), 1)
		list := make([]float64, 20_000)
		for i := range list {
			list[i] = float64(d.count(mean, dispersion))
		}
		m, v := moments(list)
		if off := 7 * math.Sqrt(mean*dispersion/float64(len(list))); math.Abs(m-mean) > off+.003*mean {
			t.Errorf("mean %g instead of %g", m, mean)
		}
		if ratio := v / m; ratio < dispersion*.75 || ratio > dispersion*1.33 {
			t.Errorf("variance/mean %g instead of %g at mean %g", ratio, dispersion, mean)
		}
	})
}

func TestWeeks(t *testing.T) {
	for s := range seasons {
		mean, _ := moments(weeks[s][:])
		if math.Abs(mean-1) > 1e-9 {
			t.Errorf("season %d has the mean %g", s, mean)
		}
	}
	if weeks[seasonStrict][3] != 0 || weeks[seasonStrict][5*24+12] != 0 || weeks[seasonOffice][11] < 3*weeks[seasonOffice][3] {
		t.Error("working hours are not where they should be")
	}
}

// What comes out is over-dispersed as measured, and has new edges every day, few by the number that is known.
func TestStreamStatistics(t *testing.T) {
	p := small(5)
	p.Calm, p.Days, p.Identities, p.DeploysPerWeek, p.Outages = true, 21, 200, 1, 0
	s := newSim(t, p)
	w, err := newWorld(p)
	if err != nil {
		t.Fatal(err)
	}
	type key struct {
		who event.Identity
		to  event.Resource
	}
	hours := map[key][]float64{} // of edges to the resolver, whose rate is the same in all hours of a flat week
	flat := map[event.Identity]bool{}
	for _, m := range w.members {
		flat[m.id] = m.season == seasonFlat && m.kind == kindService && m.born == 0 && m.gone == never && m.env == "prod"
	}
	seen := map[key]bool{}
	fresh := make([]int, p.Days)
	for o := range s.Observations() {
		if o.Direction != event.Outbound {
			continue
		}
		k := key{o.Workload.Identity, event.ResourceOf(o)}
		at := o.Time.Sub(p.Start)
		if !seen[k] {
			seen[k] = true
			fresh[at/day]++
		}
		if flat[k.who] && o.Peer.Port == 53 {
			if hours[k] == nil {
				hours[k] = make([]float64, p.Days*24)
			}
			hours[k][at/time.Hour] += float64(o.Counts.Connections)
		}
	}
	n, sum := 0, 0.
	for _, list := range hours {
		m, v := moments(list)
		n++
		sum += v / m
	}
	if n == 0 {
		t.Fatal("no edge to look at")
	}
	if ratio := sum / float64(n); ratio < 4 || ratio > 8.5 {
		t.Errorf("variance/mean is %.1f for %d edges", ratio, n)
	}
	late := 0
	for _, n := range fresh[14:] {
		late += n
	}
	if share := float64(late) / 7 / float64(len(seen)); share < .0005 || share > .03 {
		t.Errorf("%.2f %% of the edges are new each day after two weeks (%v)", 100*share, fresh)
	}
}

// SVIDs are valid when they are shown, and replaced at half of their life; servers' certificates are valid for 90 days.
func TestCertificates(t *testing.T) {
	p := small(2)
	p.Calm = true
	shown := map[string]map[string]bool{}
	for o := range newSim(t, p).Observations() {
		if o.TLS == nil {
			continue
		}
		for _, c := range []*event.Certificate{o.TLS.PeerCertificate, o.TLS.OwnCertificate} {
			if c == nil {
				continue
			}
			if o.Time.Before(c.NotBefore) || o.First().After(c.NotAfter) {
				t.Fatalf("%s to %s is shown at %s", c.NotBefore, c.NotAfter, o.Time)
			}
			if life := c.NotAfter.Sub(c.NotBefore); life > 90*day {
				t.Fatalf("a certificate lives %s", life)
			}
		}
		if c := o.TLS.OwnCertificate; c != nil && o.Direction == event.Outbound {
			if shown[o.Workload.Pod] == nil {
				shown[o.Workload.Pod] = map[string]bool{}
			}
			shown[o.Workload.Pod][c.SHA256] = true
		}
	}
	most := 0
	for _, sums := range shown {
		most = max(most, len(sums))
	}
	if most < 20 {
		t.Errorf("no pod has shown more than %d certificates", most)
	}
}

// Jobs run by their timetable.
func TestTimetables(t *testing.T) {
	for table, want := range map[timetable]int{hourly: 1440, sixHourly: 240, daily: 60, weekly: 9, monthly: 2} {
		runs, n := table.at(1<<20), 0
		for h := range 60 * 24 {
			if at, ok := runs(h); ok {
				n++
				if at/time.Hour != time.Duration(h) {
					t.Errorf("runs at %s in hour %d", at, h)
				}
			}
		}
		if n != want {
			t.Errorf("timetable %d runs %d times instead of %d", table, n, want)
		}
	}
}
