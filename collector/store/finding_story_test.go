package store

import (
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// TestCountFindings: each count is of what all other filters choose.
func TestCountFindings(t *testing.T) {
	s := open(t)
	var all []event.Finding
	for n := range 6 {
		f := finding(t, n)
		if n < 2 {
			f.Severity = event.High
		}
		if n == 5 {
			f.Workload.Namespace = ""
		}
		all = append(all, f)
	}
	if err := s.InsertFindings(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	v := event.Verdict{Finding: all[0].ID, Rule: all[0].Rule, Identity: all[0].Identity, Resource: all[0].Resource, Kind: event.VerdictAcknowledge, By: "kim", At: noon}
	if _, err := s.Decide(t.Context(), &v); err != nil {
		t.Fatal(err)
	}
	f := func(filter FindingFilter, total uint64, statuses, severities, namespaces map[string]uint64) {
		t.Helper()
		c, err := s.CountFindings(t.Context(), filter)
		if err != nil || c.Total != total || !maps.Equal(c.Statuses, statuses) || !maps.Equal(c.Severities, severities) || !maps.Equal(c.Namespaces, namespaces) {
			t.Errorf("%+v: got %+v, %v", filter, c, err)
		}
		list, _, err := s.Findings(t.Context(), filter)
		if err != nil || uint64(len(list)) != total {
			t.Errorf("%+v: %d findings are listed, %v, want %d", filter, len(list), err, total)
		}
	}
	type m = map[string]uint64
	f(FindingFilter{}, 6, m{"new": 5, "acknowledged": 1}, m{"high": 2, "medium": 4}, m{"shop": 5, "": 1})
	f(FindingFilter{Status: event.StatusNew}, 5, m{"new": 5, "acknowledged": 1}, m{"high": 1, "medium": 4}, m{"shop": 4, "": 1})
	f(FindingFilter{Status: event.StatusNew, Severity: event.High}, 1, m{"new": 1, "acknowledged": 1}, m{"high": 1, "medium": 4}, m{"shop": 1})
	f(FindingFilter{Namespace: "shop", Until: all[2].LastTime}, 2, m{"new": 1, "acknowledged": 1}, m{"high": 2}, m{"shop": 2})
	f(FindingFilter{Text: "NS/SHOP/sa"}, 6, m{"new": 5, "acknowledged": 1}, m{"high": 2, "medium": 4}, m{"shop": 5, "": 1})
	f(FindingFilter{Text: all[3].ID}, 1, m{"new": 1}, m{"medium": 1}, m{"shop": 1})
	f(FindingFilter{Rule: "none"}, 0, m{}, m{}, m{})
}

func TestSimilarFindings(t *testing.T) {
	s := open(t)
	one := finding(t, 1)
	same := finding(t, 2) // its rule and identity
	other := finding(t, 1)
	other.Identity = identity(t, billing) // its rule and resource
	other.Workload.Identity = other.Identity
	other.ID = event.FindingID(other.Identity, other.Rule, other.Resource)
	both := finding(t, 1) // its identity and resource
	both.Rule = "volume"
	both.ID = event.FindingID(both.Identity, both.Rule, both.Resource)
	far := finding(t, 9) // nothing but its identity
	far.Rule = "volume"
	far.ID = event.FindingID(far.Identity, far.Rule, far.Resource)
	if err := s.InsertFindings(t.Context(), []event.Finding{one, same, other, both, far}); err != nil {
		t.Fatal(err)
	}
	got, err := s.SimilarFindings(t.Context(), &one, 10)
	if err != nil || len(got) != 3 {
		t.Fatalf("%v, %+v", err, got)
	}
	for i := range got {
		x := &got[i]
		want := map[string][3]bool{same.ID: {true, true, false}, other.ID: {false, true, true}, both.ID: {true, false, true}}[x.ID]
		if [3]bool{x.SameIdentity, x.SameRule, x.SameResource} != want {
			t.Errorf("got %+v, want %v", x, want)
		}
	}
	if got, err := s.SimilarFindings(t.Context(), &far, 1); err != nil || len(got) != 1 || got[0].ID != both.ID {
		t.Errorf("%v, %+v", err, got)
	}
}

// TestFindingActivity: what an identity did by day, from where, and how that was protected.
func TestFindingActivity(t *testing.T) {
	s := open(t)
	var rows []ObservationRow
	id, resource := full(t).Workload.Identity, ""
	for n := range 3 {
		o := full(t)
		o.Time = noon.Add(-time.Duration(n) * 24 * time.Hour)
		o.FirstTime = o.Time.Add(-time.Second)
		o.Counts = event.Counts{Connections: uint64(n + 1), BytesSent: 10}
		resource = event.ResourceOf(o).String()
		row := RowOf(o, o.Time, uint64(n+1))
		if err := s.InsertObservations(t.Context(), "t"+strconv.Itoa(n), []ObservationRow{row}); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	days, err := s.UseByDay(t.Context(), id, resource, noon.Add(-24*time.Hour), noon)
	if err != nil || len(days) != 2 || days[0].Counts.Connections != 2 || days[1].Counts.Connections != 1 || days[1].All.BytesSent != 10 || len(days[1].Hours) != 1 || days[1].Hours[0] != 12 {
		t.Errorf("%v, %+v", err, days)
	}
	if days, err := s.UseByDay(t.Context(), id, "dns:other:1/tcp", noon.Add(-72*time.Hour), noon); err != nil || len(days) != 3 || days[0].Counts.Connections != 0 || days[0].All.Connections != 3 || days[0].New != 1 {
		t.Errorf("%v, %+v", err, days)
	}
	places, err := s.Places(t.Context(), id, resource, noon.Add(-36*time.Hour), 10)
	if err != nil || len(places) != 1 || places[0].Connections != 3 || places[0].Node != rows[0].Node || places[0].Executable != rows[0].Executable || places[0].Address == "" {
		t.Errorf("%v, %+v", err, places)
	}
	shakes, err := s.Handshakes(t.Context(), id, "", noon.Add(-36*time.Hour), 10)
	o := full(t)
	if err != nil || len(shakes) != 1 || shakes[0].SNI != o.TLS.SNI || shakes[0].PeerCertificate == nil || shakes[0].PeerCertificate.SHA256 != o.TLS.PeerCertificate.SHA256 {
		t.Errorf("%v, %+v", err, shakes)
	}
}

// BenchmarkFindings reads a page of 20,000 findings, and counts them.
func BenchmarkFindings(b *testing.B) {
	s := open(b)
	var all []event.Finding
	for n := range 20_000 {
		f := finding(b, n)
		for len(f.Explanation) < 6 {
			f.Explanation = append(f.Explanation, "a sentence of about the length that the sentences of findings have, number "+strconv.Itoa(n))
		}
		all = append(all, f)
	}
	if err := s.InsertFindings(b.Context(), all); err != nil {
		b.Fatal(err)
	}
	var decided []statusRow
	for i := range all[:5000] {
		decided = append(decided, statusRow{all[i].ID, "acknowledged", noon, "acknowledge", "", "kim", time.Unix(0, 0)})
	}
	if err := insert(b.Context(), s, "finding_status", repeatable(), decided); err != nil {
		b.Fatal(err)
	}
	b.Run("page", func(b *testing.B) {
		cursor := ""
		for b.Loop() {
			_, next, err := s.Findings(b.Context(), FindingFilter{Status: event.StatusNew, Limit: 50, Cursor: cursor})
			if err != nil {
				b.Fatal(err)
			}
			cursor = next
		}
	})
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Finding(b.Context(), all[777].ID); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("counts", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.CountFindings(b.Context(), FindingFilter{Status: event.StatusNew, Text: "r19"}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("similar", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.SimilarFindings(b.Context(), &all[777], 20); err != nil {
				b.Fatal(err)
			}
		}
	})
}
