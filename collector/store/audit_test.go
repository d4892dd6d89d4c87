package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/audit"
)

// Records are read as they were written, newest first and in pages; one that is stored again is one, one that was changed is seen.
func TestAudit(t *testing.T) {
	s := open(t)
	if _, ok, err := s.LastAudit(t.Context()); ok || err != nil {
		t.Fatalf("an empty trail has a last record: %v", err)
	}
	at := time.Date(2026, 3, 2, 12, 0, 0, 123456000, time.UTC)
	var records []audit.Record
	for i := range uint64(5) {
		r := audit.Record{Number: i + 1, Time: at.Add(time.Duration(i) * time.Second), Actor: "a'\"\x00<b>", Action: []string{"scope.apply", "finding.resolve"}[i%2],
			Subject: fmt.Sprint("s", i), Hash: fmt.Sprint("h", i)}
		if i > 0 {
			r.Detail = map[string]string{"k": "=1+1"}
		}
		records = append(records, r)
	}
	for range 2 {
		if err := s.InsertAudit(t.Context(), records); err != nil {
			t.Fatal(err)
		}
	}
	var got []uint64
	for f := (AuditFilter{Limit: 2}); ; {
		page, next, err := s.Audit(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			got = append(got, r.Number)
			if want := records[r.Number-1]; fmt.Sprint(r) != fmt.Sprint(want) {
				t.Errorf("got %v, want %v", r, want)
			}
		}
		if f.Cursor = next; next == "" {
			break
		}
	}
	if fmt.Sprint(got) != "[5 4 3 2 1]" {
		t.Errorf("numbers %v", got)
	}
	count := func(f AuditFilter, want int) {
		t.Helper()
		if page, _, err := s.Audit(t.Context(), f); err != nil || len(page) != want {
			t.Errorf("%+v: %d records, want %d (%v)", f, len(page), want, err)
		}
	}
	count(AuditFilter{Action: "scope"}, 3)
	count(AuditFilter{Action: "finding.resolve"}, 2)
	count(AuditFilter{Action: "finding.res"}, 0)
	count(AuditFilter{Actor: "a'\"\x00<b>", Subject: "s1"}, 1)
	count(AuditFilter{Since: at.Add(3 * time.Second)}, 2)
	if _, _, err := s.Audit(t.Context(), AuditFilter{Cursor: "x"}); err == nil {
		t.Error("a foreign cursor is taken")
	}
	changed := records[2]
	changed.Actor, changed.Hash = "b", "other"
	if err := s.InsertAudit(t.Context(), []audit.Record{changed}); err != nil {
		t.Fatal(err)
	}
	n := 0
	for r, err := range s.EachAudit(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Number == 3 {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d records have the number 3, want both", n)
	}
	if last, ok, err := s.LastAudit(t.Context()); err != nil || !ok || last.Number != 5 {
		t.Errorf("the last one is %v (%v)", last, err)
	}
}
