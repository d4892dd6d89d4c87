package triage

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/event"
)

// broken is all parts of a desk, of which any may fail.
type broken struct {
	finding            event.Finding
	trail, judge, keep error
	actions            []string
	failed             []string
	told, kept         []event.Verdict
}

func (b *broken) Finding(context.Context, string) (event.Finding, error) { return b.finding, nil }

func (b *broken) Append(_ context.Context, actor, action, subject string, detail map[string]string) (audit.Record, error) {
	if b.trail == nil {
		b.actions = append(b.actions, actor+" "+action+" "+subject+" "+detail["reason"])
		b.failed = append(b.failed, detail[audit.Failed])
	}
	return audit.Record{}, b.trail
}

func (b *broken) Judge(_ context.Context, v *event.Verdict) error {
	if b.judge == nil {
		b.told = append(b.told, *v)
	}
	return b.judge
}

func (b *broken) Decide(_ context.Context, v *event.Verdict) (event.Finding, error) {
	if b.keep == nil {
		b.kept = append(b.kept, *v)
		v.Apply(&b.finding)
	}
	return b.finding, b.keep
}

func newBroken(t *testing.T) *broken {
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	f := event.Finding{Rule: "volume", Identity: event.KubernetesIdentity(td, "shop", "cart"), Status: event.StatusNew}
	f.ID = event.FindingID(f.Identity, f.Rule, f.Resource)
	return &broken{finding: f}
}

// What cannot be written into the trail is not done, and what cannot be done is written there, too.
func TestDeskChangesNothingWithoutTrail(t *testing.T) {
	no := errors.New("the disk is full")
	decide := func(b *broken) error {
		_, err := New(b, b, b).Decide(t.Context(), b.finding.ID, event.VerdictApprove, "it is new", "kim", time.Time{})
		return err
	}
	b := newBroken(t)
	b.trail = no
	if err := decide(b); !errors.Is(err, ErrTrail) || len(b.told)+len(b.kept) > 0 {
		t.Errorf("%v; told %v, kept %v", err, b.told, b.kept)
	}
	b = newBroken(t)
	b.judge = no
	if err := decide(b); !errors.Is(err, no) || len(b.kept) > 0 || !slices.Equal(b.failed, []string{"", audit.Why(no)}) {
		t.Errorf("%v; kept %v, the trail has %q", err, b.kept, b.failed)
	}
	b = newBroken(t)
	b.keep = no
	if err := decide(b); !errors.Is(err, no) || len(b.told) != 1 || !slices.Equal(b.failed, []string{"", audit.Why(no)}) {
		t.Errorf("%v; told %v, the trail has %q", err, b.told, b.failed)
	}
}

// A decision is later than the one before it, whatever the clock says.
func TestDeskDecidesLater(t *testing.T) {
	b := newBroken(t)
	b.finding.Decided = time.Now().Add(time.Hour).UTC()
	desk := New(b, b, b)
	before := b.finding.Decided
	f, err := desk.Decide(t.Context(), b.finding.ID, event.VerdictSuppress, "a test", "kim", before.Add(time.Hour))
	if err != nil || !f.Decided.After(before) || f.Status != event.StatusSuppressed || b.told[0] != b.kept[0] || b.actions[0] != "kim finding.suppress "+f.ID+" a test" {
		t.Errorf("got %+v, %v, %v", f, b.actions, err)
	}
	if _, err := desk.Decide(t.Context(), b.finding.ID, event.VerdictSuppress, "", "kim", time.Time{}); !errors.Is(err, ErrInvalid) || len(b.actions) != 1 {
		t.Errorf("%v, the trail has %v", err, b.actions)
	}
}
