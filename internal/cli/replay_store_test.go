package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/sim"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// openHistory is a store of its own.
func openHistory(t *testing.T) *store.Store {
	t.Helper()
	c := store.Default()
	c.Socket = testenv.Engine(t)
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// kept is a store that the command does not close.
type kept struct{ storeLoader }

func (kept) Close() error { return nil }

// plainly leaves out how long other nodes were not watched: in the simulation they tell by the hour that they were, and it is known afterwards.
func plainly(t *testing.T, findings string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(findings) {
		var f event.Finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		if f.Coverage != "" {
			f.Explanation = slices.DeleteFunc(f.Explanation, func(s string) bool { return s == f.Coverage })
		}
		f.Coverage, f.Confidence = "", 0
		f.Explanation = slices.DeleteFunc(f.Explanation, func(s string) bool { return strings.HasPrefix(s, "It was watched for ") })
		data, err := json.Marshal(&f)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(data, '\n'))
	}
	return out.String()
}

// A live run and the retro-hunt in what it stored find the same, and hunting twice gives the same bytes.
func TestRetroHuntFindsWhatTheLiveRunFound(t *testing.T) {
	const days = 10
	p := sim.Default()
	p.Identities, p.Days, p.Repeat = 60, days, 1
	p.Start = time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -days-1) // what is older than 35 days is dropped by the store
	for p.Start.Weekday() != time.Monday {
		p.Start = p.Start.AddDate(0, 0, -1)
	}
	from := p.Start.AddDate(0, 0, 5)
	world, err := sim.New(p)
	if err != nil {
		t.Fatal(err)
	}
	s := openHistory(t)
	live := detector.New(detector.Default())
	told := map[string]event.Finding{}
	tell := func(findings []event.Finding) {
		for _, f := range findings {
			told[f.ID] = f
		}
	}
	var rows []store.ObservationRow
	var sights []store.Sighting
	spans := map[string]store.Coverage{}
	sighted := map[string]bool{}
	flush := func() {
		if len(rows) == 0 {
			return
		}
		if err := s.InsertObservations(t.Context(), fmt.Sprint("live ", rows[0].Sequence), rows); err != nil {
			t.Fatal(err)
		}
		rows = rows[:0]
	}
	n := uint64(0)
	for r := range world.Records() {
		switch {
		case r.Watch != nil:
			w := r.Watch
			live.Cover(w.Node, w.Boot, w.Started, w.Until)
			spans[w.Node+w.Boot] = store.Coverage{Node: w.Node, Boot: w.Boot, From: w.Started, Until: w.Until}
		case r.Sight != nil:
			live.Sight(r.Sight.Workload, r.Sight.Node, r.At)
			if key := r.Sight.Workload.Identity.String() + r.Sight.Node; !sighted[key] {
				sighted[key] = true
				sights = append(sights, store.Sighting{Time: r.At, Node: r.Sight.Node, Workload: *r.Sight.Workload})
			}
		case r.Observation != nil:
			n++
			tell(live.Observe(r.Observation, nil))
			rows = append(rows, store.RowOf(r.Observation, r.Observation.Time, n))
			if len(rows) == 20_000 {
				flush()
			}
		}
	}
	tell(live.Pending(nil))
	flush()
	var coverage []store.Coverage
	for _, c := range spans {
		coverage = append(coverage, c)
	}
	if err := s.InsertCoverage(t.Context(), coverage); err != nil {
		t.Fatal(err)
	}
	if err := s.InsertSightings(t.Context(), sights); err != nil {
		t.Fatal(err)
	}
	var want []event.Finding
	serious := 0
	for _, f := range told {
		if !f.FirstTime.Before(from) {
			want = append(want, f)
			if f.Severity != event.Low {
				serious++
			}
		}
	}
	sortFindings(want)
	if serious < 5 {
		t.Fatalf("the live run found %d things of %d observations, too few to compare", serious, n)
	}

	hunt := func(args ...string) (string, string) {
		t.Helper()
		cmd := newReplayCommand(func(context.Context) (loader, error) { return kept{storeLoader{s}}, nil })
		var out, remarks bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&remarks)
		cmd.SetArgs(append([]string{"--from", from.Format(time.RFC3339)}, args...))
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		return out.String(), remarks.String()
	}
	got, remarks := hunt("--baseline", "30d")
	var lines bytes.Buffer
	if err := printFindings(&lines, outputJSON, want); err != nil {
		t.Fatal(err)
	}
	if plainly(t, got) != plainly(t, lines.String()) {
		a, b := strings.Split(plainly(t, got), "\n"), strings.Split(plainly(t, lines.String()), "\n")
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("%d findings live, %d hunted; number %d is\n%s\nlive it was\n%s", len(b)-1, len(a)-1, i+1, a[i], b[i])
			}
		}
		t.Fatalf("%d findings live, %d hunted", len(b)-1, len(a)-1)
	}
	if !strings.Contains(remarks, "the baseline is shorter than the 30d") {
		t.Errorf("it is not said that the baseline is short: %s", remarks)
	}
	// Again, of one rule.
	rule, part := want[0].Rule, ""
	for line := range strings.Lines(got) {
		var f event.Finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		if f.Rule == rule {
			part += line
		}
	}
	if again, _ := hunt("--baseline", "30d", "--rule", rule); again != part {
		t.Errorf("hunting again finds something else:\n%s", again)
	}
	t.Logf("%d observations, %d findings", n, len(want))
}
