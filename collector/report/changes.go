package report

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
)

// reportUnused is the name of the report of unused identities.
const reportUnused = "unused"

// Changes is how a report differs from one that was made on a schedule. Lists are bounded; the counts are of all.
type Changes struct {
	Since    time.Time `json:"since,omitzero"` // when that one was made; zero: there is none
	Added    []Change  `json:"added"`
	Changed  []Change  `json:"changed"`
	Resolved []Change  `json:"resolved"`
	Counts   struct {
		Added    uint64 `json:"added"`
		Changed  uint64 `json:"changed"`
		Resolved uint64 `json:"resolved"`
	} `json:"counts"`
}

// Change is one identity that is listed otherwise than before.
type Change struct {
	Identity string `json:"identity"`
	Class    string `json:"class,omitempty"`
	Verdict  string `json:"verdict,omitempty"`
	Was      string `json:"was,omitempty"`         // its class
	WasSaid  string `json:"was_verdict,omitempty"` // its verdict
	Why      string `json:"why,omitempty"`         // it is not listed any more
}

// maxChanges bounds each list of changes.
const maxChanges = 1000

func (r *Reporter) changes(ctx context.Context, all []judged, now, since time.Time) (*Changes, error) {
	out := &Changes{Added: []Change{}, Changed: []Change{}, Resolved: []Change{}}
	if since.IsZero() {
		since = now
	}
	run, err := r.store.LastRun(ctx, reportUnused, since)
	if errors.Is(err, store.ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	before, err := r.store.RunItems(ctx, run)
	if err != nil {
		return nil, err
	}
	out.Since = run.Time
	note := func(list *[]Change, n *uint64, c Change) {
		if *n++; len(*list) < maxChanges {
			*list = append(*list, c)
		}
	}
	for i := range all {
		j := &all[i]
		id := j.Identity.String()
		was, ok := before[id]
		delete(before, id)
		switch {
		case !ok:
			note(&out.Added, &out.Counts.Added, Change{Identity: id, Class: j.Class, Verdict: j.verdict})
		case was.Class != j.Class || was.Verdict != j.verdict:
			note(&out.Changed, &out.Counts.Changed, Change{Identity: id, Class: j.Class, Verdict: j.verdict, Was: was.Class, WasSaid: was.Verdict})
		}
	}
	if len(before) == 0 {
		return out, nil
	}
	known := map[string]*store.Member{}
	members, err := r.store.Population(ctx, run.Time, now, false)
	if err != nil {
		return nil, err
	}
	for i := range members {
		known[members[i].Identity.String()] = &members[i]
	}
	for _, id := range slices.Sorted(maps.Keys(before)) {
		note(&out.Resolved, &out.Counts.Resolved, Change{Identity: id, Was: before[id].Class, WasSaid: before[id].Verdict, Why: whyResolved(known[id], run.Time)})
	}
	return out, nil
}

// whyResolved says why an identity is not listed any more.
func whyResolved(m *store.Member, since time.Time) string {
	switch {
	case m == nil:
		return "nothing is known of it any more"
	case m.LastUsed.After(since):
		return "it was used: " + m.LastUsed.Format(time.RFC3339)
	case m.Declarations == 0 && !m.Declared.IsZero():
		return "it is not declared any more since " + m.Ended.Format(time.RFC3339)
	case m.LastUsed.IsZero() && m.LastSeen.After(since):
		return "it was seen running: " + m.LastSeen.Format(time.RFC3339)
	}
	return "it was used in the window, or is known for less than that"
}
