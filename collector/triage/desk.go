// Package triage takes what people decide about findings: it is written into the audit trail, told to the detector that knows the identity, and kept.
package triage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/event"
)

// Errors of what cannot be decided. Their text is for people.
var (
	ErrInvalid = errors.New("the verdict cannot be taken")
	ErrTrail   = errors.New("the audit trail cannot be written, so nothing was changed")
)

// Archive keeps findings and what was decided; [store.Store] does.
type Archive interface {
	Finding(ctx context.Context, id string) (event.Finding, error)
	// Decide keeps a verdict and gives the finding as it is then. Repeating it changes nothing.
	Decide(ctx context.Context, v *event.Verdict) (event.Finding, error)
}

// Trail keeps who did what; [audit.Log] does.
type Trail interface {
	Append(ctx context.Context, actor, action, subject string, detail map[string]string) (audit.Record, error)
}

// Detection is told verdicts; [collector.Collector] is. What it has taken is never lost.
type Detection interface {
	Judge(ctx context.Context, v *event.Verdict) error
}

// Desk takes verdicts. It is safe for concurrent use.
type Desk struct {
	Log *slog.Logger // by New the standard one; why a verdict was not taken is not for all who read the trail

	archive   Archive
	trail     Trail
	detection Detection
	now       func() time.Time
}

// New makes a desk.
func New(archive Archive, trail Trail, detection Detection) *Desk {
	return &Desk{slog.Default(), archive, trail, detection, time.Now}
}

// Decide takes what somebody decided about a finding, until a time (zero: for good), and gives the finding as it is then. It gives [store.ErrNotFound],
// [ErrInvalid], [ErrTrail], or an error of the parts.
func (d *Desk) Decide(ctx context.Context, id string, kind event.VerdictKind, reason, by string, until time.Time) (event.Finding, error) {
	f, err := d.archive.Finding(ctx, id)
	if err != nil {
		return event.Finding{}, err
	}
	v := event.Verdict{
		Finding: f.ID, Rule: f.Rule, Identity: f.Identity, Resource: f.Resource, Kind: kind, Reason: reason, By: by,
		At: d.now().UTC().Truncate(time.Microsecond), Until: until.UTC().Truncate(time.Microsecond),
	}
	if until.IsZero() {
		v.Until = time.Time{}
	}
	if !v.At.After(f.Decided) { // clocks differ, and the latest decision holds
		v.At = f.Decided.Add(time.Microsecond)
	}
	if err := v.Validate(); err != nil {
		return event.Finding{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	detail := map[string]string{"rule": f.Rule, "identity": f.Identity.String(), "before": string(f.Status)}
	for key, value := range map[string]string{"resource": f.Resource.String(), "reason": reason} {
		if value != "" {
			detail[key] = value
		}
	}
	if !v.Until.IsZero() {
		detail["until"] = v.Until.Format(time.RFC3339)
	}
	action := "finding." + string(kind)
	if _, err := d.trail.Append(ctx, by, action, f.ID, detail); err != nil {
		return event.Finding{}, fmt.Errorf("%w: %w", ErrTrail, err)
	}
	after, err := d.take(ctx, &v)
	if err != nil {
		failed := maps.Clone(detail)
		failed[audit.Failed] = audit.Why(err)
		d.Log.Error("do what was decided about a finding", "finding", f.ID, "action", action, "error", err)
		_, also := d.trail.Append(context.WithoutCancel(ctx), by, action, f.ID, failed)
		return event.Finding{}, errors.Join(err, also)
	}
	return after, nil
}

// take has the detector hear of a verdict before it is kept: a detector that is rebuilt in between hears it again, or finds it kept.
func (d *Desk) take(ctx context.Context, v *event.Verdict) (event.Finding, error) {
	if err := d.detection.Judge(ctx, v); err != nil {
		return event.Finding{}, err
	}
	return d.archive.Decide(ctx, v)
}
