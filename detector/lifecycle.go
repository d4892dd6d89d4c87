package detector

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// A finding lives on in the table: a person decides about it, it goes on or it does not. What follows from that depends on the times of what is seen
// alone, so that it is the same in every run.

// quietMemory is how long what was a false positive stays quiet where there is no edge that it could teach.
const quietMemory = 35 * dayMicros

// quiet says whether a person's word keeps a finding from being told again at a time.
func quiet(f *event.Finding, at int64) bool {
	switch {
	case !f.Verdict.Teaches():
		return false
	case !f.Until.IsZero():
		return at < f.Until.UnixMicro()
	case f.Verdict == event.VerdictFalsePositive && !aboutReach(f.Rule):
		return at < f.Decided.UnixMicro()+quietMemory
	}
	return true
}

func aboutReach(name string) bool {
	return slices.ContainsFunc(reachRules[:], func(r *rule) bool { return r.name == name })
}

// turn gives the finding another status, by what was seen at a time.
func (t *openFinding) turn(status event.Status, at int64, reason string) {
	f := &t.finding
	if decided := f.Decided; !decided.IsZero() { // the latest decision holds
		at = max(at, decided.UnixMicro()+1)
	}
	f.Status, f.Verdict, f.Reason, f.By = status, "", reason, event.ByAmbit
	f.Decided, f.Until = time.UnixMicro(at).UTC(), time.Time{}
	t.changed = true
}

// again takes in that what the finding is about occurs at a time, and says whether that has to be told at once.
func (t *openFinding) again(at int64) bool {
	f := &t.finding
	switch {
	case f.Status == event.StatusNew || f.Status == event.StatusAcknowledged:
		return false
	case f.Status == event.StatusSuppressed:
		if f.Until.IsZero() || at < f.Until.UnixMicro() {
			return false
		}
		t.turn(event.StatusNew, at, fmt.Sprintf("It goes on after %s, until when %s had suppressed it: %s", clock(f.Until), who(f.By), f.Reason))
	case quiet(f, at) || at < f.Decided.UnixMicro():
		return false
	case f.Verdict.Teaches():
		t.turn(event.StatusNew, at, fmt.Sprintf("It goes on, but the word of %s that it is normal has ended: %s", who(f.By), f.Reason))
	default:
		t.turn(event.StatusNew, at, fmt.Sprintf("It was resolved at %s, and occurs again.", clock(f.Decided)))
	}
	return true
}

func who(by string) string { return cmp.Or(by, "a person") }

// heal ends a finding because what it is about is over.
func (d *Detector) heal(k findingKey, at int64, reason string, out []event.Finding) []event.Finding {
	t := d.findings.open[k]
	if t == nil || t.finding.Status == event.StatusResolved {
		return out
	}
	t.turn(event.StatusResolved, at, reason)
	return append(out, t.give())
}

// healLater is heal for what comes from elsewhere than an observation: it is told with what is pending.
func (d *Detector) healLater(k findingKey, at int64, reason string) {
	if t := d.findings.open[k]; t != nil && t.finding.Status != event.StatusResolved {
		t.turn(event.StatusResolved, at, reason)
	}
}

// settle ends the findings that were not seen again for long.
func (d *Detector) settle(out []event.Finding) []event.Finding {
	begin, after := len(out), d.config.ResolveAfter.Microseconds()
	for k, t := range d.findings.open {
		f := &t.finding
		last := max(f.LastTime.UnixMicro(), micros(f.Decided)) // who looked at it has time to
		switch {
		case d.clock.now-last < after || k.rule == &ruleDormantIdentity || f.Status == event.StatusResolved || f.Verdict == event.VerdictTruePositive:
			continue
		case f.Status == event.StatusSuppressed && (f.Until.IsZero() || d.clock.now < f.Until.UnixMicro()):
			continue
		}
		t.turn(event.StatusResolved, last+after, fmt.Sprintf("It did not occur again for %s.", spell(d.config.ResolveAfter)))
		out = append(out, t.give())
	}
	slices.SortFunc(out[begin:], func(a, b event.Finding) int { return cmp.Compare(a.ID, b.ID) })
	return out
}
