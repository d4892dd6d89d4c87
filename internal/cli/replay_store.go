package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/nearest"
)

// history is what a store remembers; [store.Store] is one.
type history interface {
	Recorded(ctx context.Context) (first, last time.Time, err error)
	EachObservation(ctx context.Context, from, until time.Time, visit func(o *event.Observation, batch time.Time) error) error
	EachNode(ctx context.Context, visit func(node string, spans []store.Span) error) error
	EachIdentity(ctx context.Context, in func(event.Identity) bool, visit func(id event.Identity, node string, first time.Time) error) error
	EachDeclared(ctx context.Context, above uint64, visit func(id event.Identity, d store.Declared) error) error
	EachScope(ctx context.Context, since time.Time, in func(event.Identity) bool, visit func(*event.Scope) error) error
}

// hunt is what a retro-hunt is asked for.
type hunt struct {
	from, to string
	baseline *window
	rules    []string
}

func (h *hunt) asked() bool { return h.from != "" || h.to != "" }

// span reads the times.
func (h *hunt) span(now time.Time) (from, to time.Time, err error) {
	if h.from == "" {
		return from, to, usagef("replay --to goes with --from, such as --from 7d or --from 2026-01-31")
	}
	to = now
	if from, err = pastTime("from", h.from, now); err == nil && h.to != "" {
		to, err = pastTime("to", h.to, now)
	}
	if err == nil && !from.Before(to) {
		err = usagef("replay: --from %s is not before --to %s", from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	return from, to, err
}

// pastTime reads a time, a day, or how long ago.
func pastTime(flag, text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at.UTC(), nil
	}
	if at, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return at.UTC(), nil
	}
	if ago, err := report.ParseWindow(text); err == nil {
		return now.Add(-ago).UTC(), nil
	}
	return time.Time{}, usagef("--%s %q is no time like 2026-01-31T12:00:00Z, no day like 2026-01-31, and no time ago like 7d", flag, text)
}

// checkRules says which rule does not exist.
func checkRules(rules []string) error {
	for _, r := range rules {
		if !slices.Contains(detector.Rules(), r) {
			return usagef("replay: there is no rule %s%s", r, nearest.Hint(r, detector.Rules()))
		}
	}
	return nil
}

// timed is something that happened at a time besides observations.
type timed struct {
	at   time.Time
	tell func()
}

// hunter gives stored observations to a detector as a collector did.
type hunter struct {
	*replay
	from, to time.Time
	began    time.Time // of the baseline, as it was asked for
	first    time.Time // of what is stored of it
	nodes    []huntedNode
	timed    []timed // in their order
	covered  time.Time
	read     int // observations
	early    int // findings of before from
}

type huntedNode struct {
	name  string
	spans []store.Span // in the order of their begins
}

// coverStep is how often the detector hears that nodes are watched which have nothing to tell.
const coverStep = time.Minute

// hunt runs the detector over what a store has, and gives the findings of the time that was asked for.
func (r *replay) hunt(ctx context.Context, h history, from, to time.Time, baseline time.Duration) (*hunter, []event.Finding, error) {
	x := &hunter{replay: r, from: from, to: to, began: from.Add(-baseline)}
	first, last, err := h.Recorded(ctx)
	if err != nil {
		return nil, nil, err
	}
	if first.IsZero() || last.Before(from) {
		return nil, nil, fmt.Errorf("nothing is stored since %s; what is stored is from %s to %s", clockText(from), clockText(first), clockText(last))
	}
	x.first = x.began
	if first.After(x.began) {
		x.first = first
	}
	if err := x.prepare(ctx, h); err != nil {
		return nil, nil, err
	}
	end := to
	if last.Before(to) {
		end = last.Add(time.Second)
	}
	err = h.EachObservation(ctx, x.first, to, func(o *event.Observation, batch time.Time) error {
		x.pass(batch)
		x.cover(o.Node, batch)
		r.keep(r.detector.Observe(o, r.found[:0]))
		x.read++
		if x.read%4096 == 0 {
			r.progress.note(fmt.Sprintf("%s, %d observations, %d %%", clockText(batch), x.read, int64(100*batch.Sub(x.first)/max(end.Sub(x.first), 1))))
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, nil, err
	}
	x.pass(end)
	r.keep(r.detector.Pending(r.found[:0]))
	return x, x.found(), nil
}

func clockText(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// prepare reads what else the detector must know, and when.
func (x *hunter) prepare(ctx context.Context, h history) error {
	err := h.EachNode(ctx, func(node string, spans []store.Span) error {
		var kept []store.Span
		for _, s := range spans {
			if s.Until.Before(x.began) || s.From.After(x.to) {
				continue
			}
			if s.From.Before(x.began) { // nothing of before is known here
				s.From = x.began
			}
			kept = append(kept, s)
		}
		if len(kept) > 0 {
			x.nodes = append(x.nodes, huntedNode{node, kept})
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(x.nodes, func(a, b huntedNode) int { return strings.Compare(a.name, b.name) })
	at := func(t time.Time, tell func()) {
		if t.Before(x.to) {
			x.timed = append(x.timed, timed{t, tell})
		}
	}
	err = h.EachIdentity(ctx, nil, func(id event.Identity, node string, first time.Time) error {
		if first.Before(x.began) {
			first = x.began
		}
		w := detector.WorkloadOf(id)
		at(first, func() { x.detector.Sight(&w, node, first) })
		return nil
	})
	if err != nil {
		return err
	}
	// What is declared has times of its own: an account that is gone by now was there before.
	err = h.EachDeclared(ctx, 0, func(id event.Identity, d store.Declared) error {
		at(x.began, func() {
			x.detector.DeclareAs(id, detector.Declared{Created: d.Created, Gone: d.Gone, Owner: d.Owner, Version: d.Version})
		})
		return nil
	})
	if err != nil {
		return err
	}
	err = h.EachScope(ctx, time.Time{}, nil, func(s *event.Scope) error {
		scope := *s
		at(scope.At, func() { x.detector.Scope(scope.Identity, scope) })
		return nil
	})
	slices.SortStableFunc(x.timed, func(a, b timed) int { return a.at.Compare(b.at) })
	return err
}

// pass brings the detector to a time: what happened by then, and which nodes were watched.
func (x *hunter) pass(until time.Time) {
	for len(x.timed) > 0 && !x.timed[0].at.After(until) {
		x.timed[0].tell()
		x.timed = x.timed[1:]
	}
	if until.Before(x.covered.Add(coverStep)) {
		return
	}
	x.covered = until
	for i := range x.nodes {
		x.cover(x.nodes[i].name, until)
	}
}

// cover tells how far a node was watched by a time.
func (x *hunter) cover(node string, until time.Time) {
	i, known := slices.BinarySearchFunc(x.nodes, node, func(n huntedNode, name string) int { return cmp.Compare(n.name, name) })
	if !known {
		return
	}
	n := &x.nodes[i]
	for len(n.spans) > 0 && !n.spans[0].From.After(until) {
		s := n.spans[0]
		if s.Until.After(until) {
			x.detector.Cover(node, s.Boot, s.From, until)
			return
		}
		x.detector.Cover(node, s.Boot, s.From, s.Until)
		n.spans = n.spans[1:]
	}
}

// found are the findings of the time that was asked for, in their order.
func (x *hunter) found() []event.Finding {
	out := make([]event.Finding, 0, len(x.findings))
	for _, f := range x.findings {
		if f.FirstTime.Before(x.from) {
			x.early++
			continue
		}
		out = append(out, f)
	}
	sortFindings(out)
	return out
}

// remarks says what the findings stand on.
func (x *hunter) remarks(w io.Writer, wanted time.Duration) {
	fmt.Fprintf(w, "replay: %d observations from %s to %s; the baseline was learned in the %s before\n",
		x.read, clockText(x.from), clockText(x.to), report.FormatWindow(max(x.from.Sub(x.first), 0).Round(time.Minute)))
	if have := x.from.Sub(x.first); have < wanted-time.Minute {
		fmt.Fprintf(w, "replay: older observations are not stored, so the baseline is shorter than the %s that were asked for\n", report.FormatWindow(wanted))
	}
	if x.early > 0 {
		fmt.Fprintf(w, "replay: findings of the time of the baseline, which are left out: %d\n", x.early)
	}
	x.replay.remarks(w)
}

// runHunt opens the store and hunts.
func runHunt(ctx context.Context, r *replay, h *hunt, open func(context.Context) (loader, error), now time.Time) (*hunter, []event.Finding, error) {
	from, to, err := h.span(now)
	if err != nil {
		return nil, nil, err
	}
	s, err := open(ctx)
	if err != nil {
		return nil, nil, err
	}
	past, ok := s.(history)
	if !ok {
		return nil, nil, errors.Join(errors.New("the store cannot be read"), s.Close())
	}
	x, findings, err := r.hunt(ctx, past, from, to, h.baseline.Duration)
	return x, findings, errors.Join(err, s.Close())
}
