package feed

import (
	"slices"
	"strings"

	"github.com/ambit-nhi/ambit/event"
)

var severityOrder = []event.Severity{event.Info, event.Low, event.Medium, event.High, event.Critical}

// wantsOwner says that the owner decides.
func (f *Filter) wantsOwner() bool { return len(f.Owner) > 0 || f.Unrouted }

// takes says whether a feed sends a record, but for the part of the owners that go elsewhere.
func (f *Filter) takes(r *Record) bool {
	if f.Severity != "" && slices.Index(severityOrder, r.severity()) < slices.Index(severityOrder, f.Severity) {
		return false
	}
	namespace := ""
	switch {
	case r.Finding != nil:
		namespace = r.Finding.Workload.Namespace
	case r.Observation != nil:
		namespace = r.Observation.Workload.Namespace
	}
	return fits(f.Rule, r.rule()) && fits(f.Namespace, namespace) && fits(f.Owner, r.Owner) && fits(f.Identity, r.subject())
}

// fits says whether a text fits one of the patterns, if there are any, and none of those that begin with !.
func fits(patterns []string, text string) bool {
	if len(patterns) == 0 {
		return true
	}
	positive, fit := false, false
	for _, p := range patterns {
		if not, ok := strings.CutPrefix(p, "!"); ok {
			if event.Fits(not, text) {
				return false
			}
			continue
		}
		positive = true
		fit = fit || event.Fits(p, text)
	}
	return fit || !positive
}
