package store

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

func finding(t testing.TB, n int) event.Finding {
	r := resource(t, "dns:r"+strconv.Itoa(n)+".example:443/tcp")
	w := full(t).Workload
	return event.Finding{
		ID: event.FindingID(w.Identity, "new-reach", r), Rule: "new-reach", Title: "New reach", Severity: event.Medium, Score: 0.75, Confidence: 0.5,
		Identity: w.Identity, Resource: r, Workload: w, Node: "n1", FirstTime: noon, LastTime: noon.Add(time.Duration(n) * time.Minute), Count: 1,
		Explanation: []string{"it's new", "2 lines\nhere"}, Baseline: []string{}, Advice: []string{"ask"}, OWASP: []string{"NHI5:2025"}, Attack: []string{"T1021"},
		Status: event.StatusNew, Coverage: "node n1 watched since noon",
	}
}

func TestFindings(t *testing.T) {
	s := open(t)
	var all []event.Finding
	for n := range 5 {
		all = append(all, finding(t, n))
	}
	all[4].LastTime = all[3].LastTime // the cursor must tell them apart
	all[1].Severity = event.High
	if err := s.InsertFindings(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	f := func(name string, filter FindingFilter, want int) []event.Finding {
		t.Helper()
		got, next, err := s.Findings(t.Context(), filter)
		if err != nil || len(got) != want || next != "" {
			t.Errorf("%s: %d findings, cursor %q, %v, want %d", name, len(got), next, err, want)
		}
		return got
	}
	got := f("all", FindingFilter{}, 5)
	if !reflect.DeepEqual(got[4], all[0]) {
		t.Errorf("\n got %+v\nwant %+v", got[4], all[0])
	}
	f("severity", FindingFilter{Severity: event.High}, 1)
	f("rule", FindingFilter{Rule: "other"}, 0)
	f("identity", FindingFilter{Identity: identity(t, billing)}, 0)
	f("its identity", FindingFilter{Identity: identity(t, checkout)}, 5)
	f("since", FindingFilter{Since: noon.Add(2 * time.Minute)}, 3)

	var paged []event.Finding
	page := FindingFilter{Limit: 1}
	for {
		one, next, err := s.Findings(t.Context(), page)
		if err != nil {
			t.Fatal(err)
		}
		paged = append(paged, one...)
		if page.Cursor = next; next == "" {
			break
		}
	}
	if !reflect.DeepEqual(paged, got) {
		t.Errorf("pages of one:\n got %+v\nwant %+v", paged, got)
	}

	// Told again, it replaces itself; told again late, it does not turn back.
	again := all[0]
	again.LastTime, again.Count = noon.Add(time.Hour), 9
	for _, x := range []event.Finding{again, all[0]} {
		if err := s.InsertFindings(t.Context(), []event.Finding{x}); err != nil {
			t.Fatal(err)
		}
	}
	if got := f("told again", FindingFilter{}, 5); got[0].ID != again.ID || got[0].Count != 9 {
		t.Errorf("%+v, want the count 9", got[0])
	}
}

// TestFindingStatus: what a person decided holds, whatever the detector tells later.
func TestFindingStatus(t *testing.T) {
	s := open(t)
	x := finding(t, 1)
	if err := s.InsertFindings(t.Context(), []event.Finding{x}); err != nil {
		t.Fatal(err)
	}
	set := func(kind event.VerdictKind, at time.Time, want event.Status) event.Finding {
		t.Helper()
		v := event.Verdict{Finding: x.ID, Rule: x.Rule, Identity: x.Identity, Resource: x.Resource, Kind: kind, Reason: "it's 'new'", By: "kim", At: at}
		if kind == event.VerdictSuppress {
			v.Until = at.Add(time.Hour)
		}
		got, err := s.Decide(t.Context(), &v)
		if err != nil || got.Status != want {
			t.Errorf("%s: %s %v, want %s", kind, got.Status, err, want)
		}
		return got
	}
	set(event.VerdictAcknowledge, noon, event.StatusAcknowledged)
	got := set(event.VerdictSuppress, noon.Add(time.Minute), event.StatusSuppressed)
	if got.Verdict != event.VerdictSuppress || got.Reason != "it's 'new'" || got.By != "kim" || !got.Decided.Equal(noon.Add(time.Minute)) || !got.Until.Equal(noon.Add(61*time.Minute)) {
		t.Errorf("got %+v", got)
	}
	set(event.VerdictReopen, noon, event.StatusSuppressed) // decided earlier, arrived later
	set(event.VerdictResolve, noon.Add(2*time.Minute), event.StatusResolved)
	x.LastTime = noon.Add(time.Hour)
	if err := s.InsertFindings(t.Context(), []event.Finding{x}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Finding(t.Context(), x.ID)
	if err != nil || got.Status != event.StatusResolved || got.Reason == "" || !got.LastTime.Equal(x.LastTime) {
		t.Errorf("told again: %+v %v, want it resolved", got, err)
	}
	for status, want := range map[event.Status]int{event.StatusNew: 0, event.StatusResolved: 1} {
		if found, _, err := s.Findings(t.Context(), FindingFilter{Status: status}); err != nil || len(found) != want {
			t.Errorf("%s: %d findings, %v, want %d", status, len(found), err, want)
		}
	}
	if _, err := s.Decide(t.Context(), &event.Verdict{Finding: "nothing", Kind: event.VerdictReopen, At: noon}); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	// What the detector decides by itself comes with the finding, and is no earlier than what a person did.
	x.Status, x.Reason, x.By, x.Decided = event.StatusNew, "It occurs again.", event.ByAmbit, noon.Add(2*time.Hour)
	for range 2 {
		if err := s.InsertFindings(t.Context(), []event.Finding{x}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Finding(t.Context(), x.ID); err != nil || got.Status != event.StatusNew || got.Verdict != "" || got.By != event.ByAmbit || got.Reason != x.Reason || !got.Decided.Equal(x.Decided) {
		t.Errorf("got %+v, %v", got, err)
	}
	for text, want := range map[string]int{strings.ToUpper(x.Title[:5]): 1, "no such thing": 0} {
		if found, _, err := s.Findings(t.Context(), FindingFilter{Text: text}); err != nil || len(found) != want {
			t.Errorf("%q: %d findings, %v, want %d", text, len(found), err, want)
		}
	}
}
