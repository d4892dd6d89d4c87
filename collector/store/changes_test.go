package store

import (
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// What people declare and decide counts as a change once it is written, and nothing else does.
func TestChanges(t *testing.T) {
	s := open(t)
	id, told := identity(t, checkout), finding(t, 1)
	list := Inventory{Source: event.SourceKubernetes, Name: "cluster", Declarations: []event.Declaration{declared(t, checkout)}, Time: noon}
	dry := list
	dry.DryRun = true
	f := func(name string, changes bool, write func() error) {
		t.Helper()
		before := s.Changes()
		if err := write(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := s.Changes() != before; got != changes {
			t.Errorf("%s: it is %t that there was a change, want %t", name, got, changes)
		}
	}
	replace := func(in Inventory) func() error {
		return func() error {
			_, err := s.ReplaceInventory(t.Context(), in)
			return err
		}
	}
	f("a look at an import", false, replace(dry))
	f("an import", true, replace(list))
	list.Time = list.Time.Add(time.Hour)
	f("the same import", false, replace(list))
	list.Declarations, list.Time = nil, list.Time.Add(time.Hour)
	f("an import that leaves something out", true, replace(list))
	f("an empty list of a new source", true, replace(Inventory{Source: event.SourceCSV, Name: "list", Time: noon}))
	f("an exemption", true, func() error {
		return s.Exempt(t.Context(), Exemption{Identity: id, Reason: "why", By: "kim", At: noon, Until: noon.Add(time.Hour)})
	})
	f("a review", true, func() error {
		return s.InsertReviews(t.Context(), []Review{{Identity: id, Time: noon, By: "kim", Verdict: "keep"}})
	})
	f("a scope", true, func() error {
		_, err := s.ApplyScope(t.Context(), event.Scope{Identity: id, ApprovedBy: "kim", At: noon}, nil)
		return err
	})
	f("a scope that is withdrawn", true, func() error { return s.WithdrawScope(t.Context(), id, "kim", noon, nil) })
	f("a finding", false, func() error { return s.InsertFindings(t.Context(), []event.Finding{told}) })
	f("a verdict", true, func() error {
		_, err := s.Decide(t.Context(), &event.Verdict{Finding: told.ID, Kind: event.VerdictResolve, At: noon, By: "kim"})
		return err
	})
}
