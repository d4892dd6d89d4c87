package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
)

// loader stores what was recorded. [storeLoader] is the real one.
type loader interface {
	// Load stores observations. Repeating a call with the same token does not count them twice.
	Load(ctx context.Context, token string, observations []event.Observation) error
	// Finish stores the findings and the time that was watched, after all observations. It may be repeated.
	Finish(ctx context.Context, findings []event.Finding, watched []watchedSpan) error
	Close() error
}

// watchedSpan is the time in which a recording watched a node.
type watchedSpan struct {
	Node string
	detector.Span
}

// loadBlock is how many observations are inserted at once.
const loadBlock = 10_000

// unnamedNode stands for the node of observations that name none, since the store keeps none without.
const unnamedNode = "unnamed"

// load reads the recordings again, now that they are known to be valid, and stores them. Tokens are made of the recording's content, so that
// the same recording is the same inserts.
func (r *replay) load(ctx context.Context, to loader, findings []event.Finding) error {
	var watched []watchedSpan
	for _, read := range r.read {
		if err := r.loadRecording(ctx, to, read); err != nil {
			return err
		}
		for node, s := range read.watched {
			s.Boot = "replay-" + read.fingerprint()
			watched = append(watched, watchedSpan{cmp.Or(node, unnamedNode), *s})
		}
	}
	slices.SortFunc(watched, func(a, b watchedSpan) int { return cmp.Or(cmp.Compare(a.Boot, b.Boot), cmp.Compare(a.Node, b.Node)) })
	if err := to.Finish(ctx, findings, watched); err != nil {
		return fmt.Errorf("store findings: %w", err)
	}
	return nil
}

func (r *replay) loadRecording(ctx context.Context, to loader, read *recording) error {
	again := &replay{skip: r.skip, progress: r.progress}
	rec, err := again.open(read.path)
	if err != nil {
		return err
	}
	block, n := make([]event.Observation, 0, loadBlock), 0
	store := func() error {
		if len(block) == 0 {
			return nil
		}
		if err := to.Load(ctx, fmt.Sprintf("replay-%s-%d", read.fingerprint(), n), block); err != nil {
			return fmt.Errorf("store %s up to line %d: %w", rec.name, rec.line, err)
		}
		block, n = block[:0], n+1
		return nil
	}
	err = again.each(ctx, rec, func(o *event.Observation) error {
		o.Node = cmp.Or(o.Node, unnamedNode)
		if block = append(block, *o); len(block) == loadBlock {
			return store()
		}
		return nil
	})
	if err == nil {
		err = store()
	}
	if err == nil && rec.fingerprint() != read.fingerprint() {
		err = fmt.Errorf("%s has changed while it was read; load it again", rec.name)
	}
	return errors.Join(err, rec.close())
}

// storeLoader loads into ClickHouse.
type storeLoader struct{ *store.Store }

// Load implements loader.
func (s storeLoader) Load(ctx context.Context, token string, observations []event.Observation) error {
	rows := make([]store.ObservationRow, len(observations))
	for i := range observations {
		rows[i] = store.RowOf(&observations[i], observations[i].Time, uint64(i))
	}
	return s.InsertObservations(ctx, token, rows)
}

// Finish implements loader.
func (s storeLoader) Finish(ctx context.Context, findings []event.Finding, watched []watchedSpan) error {
	coverage := make([]store.Coverage, len(watched))
	for i, w := range watched {
		coverage[i] = store.Coverage{Node: w.Node, Boot: w.Boot, From: w.From, Until: w.Until}
	}
	return errors.Join(s.InsertFindings(ctx, findings), s.InsertCoverage(ctx, coverage))
}
