package scope

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Known is what is known of an identity.
type Known struct {
	Identity  event.Identity
	Namespace string  // where it runs, if that is known
	Owner     string  // root controller
	State     string  // of learning: warming, learning, partial, stable, unstable, or empty
	Progress  float64 // of learning, 0 to 1
	Reach     []store.Reach
	Open      map[event.Resource]string // resources of open findings, with the rule
	Gaps      []string                  // why something may not have been seen
}

// Options say what goes into a proposal.
type Options struct {
	Inbound bool          // also what reaches it
	Window  time.Duration // what was not used for longer is left out
	Now     time.Time
}

// LeftOut is reach that a proposal does not allow, and why.
type LeftOut struct {
	Resource  string          `json:"resource"`
	Direction event.Direction `json:"direction"`
	Why       string          `json:"why"`
}

// Proposal is a scope that was generated. Nothing holds of it until somebody applies it.
type Proposal struct {
	Scope      event.Scope `json:"scope"`
	Confidence float64     `json:"confidence"` // 0 to 1: how well the baseline is known
	Reasons    []string    `json:"reasons"`    // what takes confidence away
	LeftOut    []LeftOut   `json:"left_out"`
	Flagged    []string    `json:"flagged"` // what is dangerous among what is allowed: look at it before it is applied

	Namespace string `json:"namespace,omitempty"`
	Owner     string `json:"owner,omitempty"`
}

// Generate proposes the least scope that allows the baseline.
func Generate(k *Known, o Options) *Proposal {
	p := &Proposal{
		Scope:      event.Scope{Identity: k.Identity, Origin: "generated", Entries: []event.ScopeEntry{}},
		Confidence: 1, Reasons: []string{}, LeftOut: []LeftOut{}, Flagged: []string{}, Namespace: k.Namespace, Owner: k.Owner,
	}
	once := 0
	for i := range k.Reach {
		r := &k.Reach[i]
		if r.Direction == event.Inbound && !o.Inbound {
			continue
		}
		why := ""
		e := event.ScopeEntry{Resource: r.Resource.String(), Direction: r.Direction, Flags: event.Dangers(r.Resource.String())}
		switch rule, open := k.Open[r.Resource]; {
		case strings.Contains(e.Resource, "*"):
			why = "its name holds a star, which would stand for other names, too"
		case e.Validate() != nil:
			why = "its name cannot stand in a scope"
		case open && r.Direction == event.Outbound:
			why = "an open finding is about it: " + rule
		case r.Counts.Connections > 0 && r.LastSuccess.IsZero():
			why = "no connection ever succeeded"
		case o.Window > 0 && o.Now.Sub(r.LastTime) > o.Window:
			why = fmt.Sprintf("not used for %d days", int(o.Now.Sub(r.LastTime).Hours()/24))
		case len(p.Scope.Entries) == event.MaxScopeEntries:
			why = fmt.Sprintf("a scope holds %d entries at most", event.MaxScopeEntries)
		}
		if why != "" {
			p.LeftOut = append(p.LeftOut, LeftOut{r.Resource.String(), r.Direction, why})
			continue
		}
		if r.LastTime.Sub(r.FirstTime) < time.Hour {
			once++
		}
		if len(e.Flags) > 0 {
			p.Flagged = append(p.Flagged, fmt.Sprintf("%s %s: %s", e.Direction, e.Resource, strings.Join(e.Flags, ", ")))
		}
		p.Scope.Entries = append(p.Scope.Entries, e)
	}
	slices.SortFunc(p.Scope.Entries, func(a, b event.ScopeEntry) int {
		if a.Direction != b.Direction {
			return -strings.Compare(string(a.Direction), string(b.Direction))
		}
		return strings.Compare(a.Resource, b.Resource)
	})
	p.judge(k, once)
	return p
}

// judge says how far a proposal is to be trusted.
func (p *Proposal) judge(k *Known, once int) {
	less := func(factor float64, format string, args ...any) {
		p.Confidence *= factor
		p.Reasons = append(p.Reasons, fmt.Sprintf(format, args...))
	}
	switch k.State {
	case "stable":
	case "":
		less(0.3, "the detector holds no state of this identity")
	case "unstable":
		less(0.5, "what it reaches keeps changing")
	case "partial":
		less(0.6, "it is seen on some of its nodes only")
	default:
		less(max(0.1, min(k.Progress, 1)), "it is still being learned: %d%% of the time", int(100*min(k.Progress, 1)))
	}
	if n := len(p.Scope.Entries); n == 0 {
		less(0.2, "nothing of what it reaches can be allowed")
	} else if once > 0 {
		less(1-0.5*float64(once)/float64(n), "%d of %d entries were used within one hour only", once, n)
	}
	if len(k.Gaps) > 0 {
		less(0.7, "something may not have been seen: %s", strings.Join(k.Gaps, "; "))
	}
	p.Confidence = math.Round(100*p.Confidence) / 100
}

// Diff is where a scope and what is used differ.
type Diff struct {
	Identity   event.Identity     `json:"identity"`
	Version    uint64             `json:"version"`
	Unused     []event.ScopeEntry `json:"unused"`     // declared, and not used within the window
	Undeclared []Used             `json:"undeclared"` // used within the window, and not declared
}

// Used is reach that a scope does not allow.
type Used struct {
	Resource    event.Resource  `json:"resource"`
	Direction   event.Direction `json:"direction"`
	Connections uint64          `json:"connections"`
	Failed      uint64          `json:"failed"`
	FirstTime   time.Time       `json:"first_time"`
	LastTime    time.Time       `json:"last_time"`
}

// Compare says where a scope and what was used since a time differ.
func Compare(s *event.Scope, reach []store.Reach, since time.Time) *Diff {
	d := &Diff{Identity: s.Identity, Version: s.Version, Unused: []event.ScopeEntry{}, Undeclared: []Used{}}
	m := s.Matcher()
	alone := make([]*event.ScopeMatcher, len(s.Entries))
	for i, e := range s.Entries {
		one := event.Scope{Entries: []event.ScopeEntry{e}}
		alone[i] = one.Matcher()
	}
	used := make([]bool, len(s.Entries))
	exact := map[string]int{}
	var patterns []int
	for i, e := range s.Entries {
		way := e.Direction
		if way == "" {
			way = event.Outbound
		}
		exact[string(way)+" "+e.Resource] = i
		if strings.Contains(e.Resource, "*") || strings.HasPrefix(e.Resource, "net:") {
			patterns = append(patterns, i)
		}
	}
	for i := range reach {
		r := &reach[i]
		if r.LastTime.Before(since) {
			continue
		}
		if j, ok := exact[string(r.Direction)+" "+r.Resource.String()]; ok {
			used[j] = true
		}
		for _, j := range patterns {
			way := s.Entries[j].Direction
			if way == "" {
				way = event.Outbound
			}
			if !used[j] && way == r.Direction && alone[j].Allows(r.Direction, r.Resource) {
				used[j] = true
			}
		}
		if !m.Allows(r.Direction, r.Resource) {
			d.Undeclared = append(d.Undeclared, Used{r.Resource, r.Direction, r.Counts.Connections, r.Counts.Failed, r.FirstTime, r.LastTime})
		}
	}
	for i, e := range s.Entries {
		if !used[i] {
			d.Unused = append(d.Unused, e)
		}
	}
	return d
}
