package report

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Overview is what somebody who comes in sees first, over a window that ends now.
type Overview struct {
	Window     string           `json:"window"`
	From       time.Time        `json:"from"`
	Until      time.Time        `json:"until"`
	Identities IdentityOverview `json:"identities"`
	Findings   FindingOverview  `json:"findings"`
	Agents     AgentOverview    `json:"agents"`
	Metrics    []Metric         `json:"metrics"`
	Coverage   *Summary         `json:"coverage"`
}

// Tally is how many there are of one value. An empty value is not known.
type Tally struct {
	Value string `json:"value"`
	Count uint64 `json:"count"`
}

// IdentityOverview counts the identities that were seen in the window, or are declared. The most frequent values come first.
type IdentityOverview struct {
	Total    uint64  `json:"total"`
	Used     uint64  `json:"used"`   // in the window
	Unused   uint64  `json:"unused"` // of some class of unused ones
	ByState  []Tally `json:"by_state"`
	ByDomain []Tally `json:"by_domain"`
	ByKind   []Tally `json:"by_kind"`
}

// FindingOverview counts findings.
type FindingOverview struct {
	Open        uint64          `json:"open"`         // new or acknowledged, of any age
	New         uint64          `json:"new"`          // of them
	BySeverity  []SeverityTally `json:"by_severity"`  // the gravest first
	StepSeconds int             `json:"step_seconds"` // of OverTime
	OverTime    []FindingStep   `json:"over_time"`    // steps of the window in order, those without findings too
}

// SeverityTally is how many findings of a severity have which status.
type SeverityTally struct {
	Severity     event.Severity `json:"severity"`
	New          uint64         `json:"new"`
	Acknowledged uint64         `json:"acknowledged"`
	Suppressed   uint64         `json:"suppressed"`
	Resolved     uint64         `json:"resolved"`
}

// FindingStep is how many findings began in a step of time, by severity.
type FindingStep struct {
	Start    time.Time `json:"start"`
	Critical uint64    `json:"critical"`
	High     uint64    `json:"high"`
	Medium   uint64    `json:"medium"`
	Low      uint64    `json:"low"`
	Info     uint64    `json:"info"`
}

// Health of an agent.
const (
	AgentLive   = "live"   // heard of within a minute
	AgentLate   = "late"   // within an hour
	AgentSilent = "silent" // longer ago
)

// AgentOverview says how the agents of the window are.
type AgentOverview struct {
	Live   int           `json:"live"`
	Late   int           `json:"late"`
	Silent int           `json:"silent"`
	Items  []AgentHealth `json:"items"` // the worst first, at most 100
}

// AgentHealth is how one node's agent is.
type AgentHealth struct {
	Node     string    `json:"node"`
	State    string    `json:"state"`
	Version  string    `json:"version,omitempty"`
	Kernel   string    `json:"kernel,omitempty"`
	LastTime time.Time `json:"last_time"`
	Watched  float64   `json:"watched"` // percent of the window
	Lost     uint64    `json:"lost"`    // events, of all causes
	Gaps     int       `json:"gaps"`
	Missing  []string  `json:"missing"` // what it could not watch
}

// maxAgents bounds the agents that an overview lists.
const maxAgents = 100

// Severities are all of them, the gravest first.
var Severities = []event.Severity{event.Critical, event.High, event.Medium, event.Low, event.Info}

// keptOverviews is of how many windows overviews are kept: pages offer four. They are small.
const keptOverviews = 8

// Overview gives what somebody who comes in sees first. For as long as [Reporter.Reuse] says it is that of a moment ago, which Until says, but for its
// findings.
func (r *Reporter) Overview(ctx context.Context, now time.Time, window time.Duration) (*Overview, error) {
	now = now.UTC()
	h, err := r.overviews.get(ctx, r.Reuse, window, now, func(ctx context.Context) (*Overview, *age, error) { return r.overview(ctx, now, window) })
	if err != nil {
		return nil, err
	}
	if h.now.Equal(now) {
		return h.value, nil
	}
	findings, err := r.overviewFindings(ctx, now, window)
	if err != nil {
		return nil, err
	}
	out := *h.value
	out.Findings = *findings
	return &out, nil
}

// overview makes an overview, and tells the age of what it was made of.
func (r *Reporter) overview(ctx context.Context, now time.Time, window time.Duration) (*Overview, *age, error) {
	since := now.Add(-window)
	out := &Overview{Window: FormatWindow(window), From: since, Until: now}
	var nodes []NodeCoverage
	var all *held[*population]
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		nodes, out.Coverage, err = r.coverage(gctx, now, window)
		return err
	})
	g.Go(func() (err error) {
		if all = r.kept.fresh(window, now, time.Now()); all == nil { // it is not kept in place of that of reports, since the overview is
			all, err = r.kept.read(gctx, r.Reuse, window, now, r.readPopulation(since, now))
		}
		return err
	})
	g.Go(func() error {
		findings, err := r.overviewFindings(gctx, now, window)
		if err == nil {
			out.Findings = *findings
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	members, e := all.value.members, all.value.estate
	views := e.views(members)
	metrics, err := r.measure(ctx, members, views, out.Coverage, since)
	if err != nil {
		return nil, nil, err
	}
	out.Metrics = metrics
	out.Identities = r.countIdentities(members, views, since)
	out.Agents = agents(nodes, now)
	out.Coverage.read(e)
	return out, &all.age, nil
}

// overviewFindings counts findings as an overview does. It takes a small part of the time of a whole one.
func (r *Reporter) overviewFindings(ctx context.Context, now time.Time, window time.Duration) (*FindingOverview, error) {
	now = now.UTC()
	since, step := now.Add(-window), stepOf(window)
	began, err := r.store.FindingsOverTime(ctx, since.Truncate(step), step)
	if err != nil {
		return nil, err
	}
	standing, err := r.store.FindingsStanding(ctx)
	if err != nil {
		return nil, err
	}
	out := countFindings(began, standing, since, now, step)
	return &out, nil
}

// stepOf is how finely a window is counted: few enough steps to see, and whole days where that is enough.
func stepOf(window time.Duration) time.Duration {
	switch {
	case window <= 6*time.Hour:
		return 5 * time.Minute
	case window <= 3*day:
		return time.Hour
	case window <= 14*day:
		return 6 * time.Hour
	}
	return day
}

func (r *Reporter) countIdentities(members []store.Member, views []*inventory.View, since time.Time) IdentityOverview {
	var out IdentityOverview
	states, domains, kinds := map[string]uint64{}, map[string]uint64{}, map[string]uint64{}
	for i := range members {
		m := &members[i]
		if m.Declarations == 0 && m.LastSeen.Before(since) {
			continue
		}
		out.Total++
		if !m.LastUsed.Before(since) {
			out.Used++
		}
		if m.Class != "" && m.Class != store.ClassRetired {
			out.Unused++
		}
		states[r.state(m.Identity)]++
		domains[string(views[i].Domain)]++
		kinds[store.Kind(m.Identity)]++
	}
	out.ByState, out.ByDomain, out.ByKind = tallies(states), tallies(domains), tallies(kinds)
	return out
}

func tallies(counts map[string]uint64) []Tally {
	out := make([]Tally, 0, len(counts))
	for value, n := range counts {
		out = append(out, Tally{value, n})
	}
	slices.SortFunc(out, func(a, b Tally) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value)) })
	return out
}

func countFindings(began []store.Began, standing []store.Standing, since, now time.Time, step time.Duration) FindingOverview {
	out := FindingOverview{StepSeconds: int(step / time.Second), OverTime: []FindingStep{}}
	for t := since.Truncate(step); !t.After(now); t = t.Add(step) {
		out.OverTime = append(out.OverTime, FindingStep{Start: t})
	}
	for _, b := range began {
		i := int(b.Start.Sub(since.Truncate(step)) / step)
		if i < 0 || i >= len(out.OverTime) {
			continue // an event of the future: its node's clock is wrong
		}
		*out.OverTime[i].of(b.Severity) += b.Findings
	}
	for _, s := range Severities {
		out.BySeverity = append(out.BySeverity, SeverityTally{Severity: s})
	}
	for _, s := range standing {
		i := slices.Index(Severities, s.Severity)
		if i < 0 {
			i = len(Severities) - 1
		}
		t := &out.BySeverity[i]
		switch s.Status {
		case event.StatusAcknowledged:
			t.Acknowledged += s.Findings
			out.Open += s.Findings
		case event.StatusSuppressed:
			t.Suppressed += s.Findings
		case event.StatusResolved:
			t.Resolved += s.Findings
		default:
			t.New += s.Findings
			out.New += s.Findings
			out.Open += s.Findings
		}
	}
	return out
}

func (f *FindingStep) of(s event.Severity) *uint64 {
	switch s {
	case event.Critical:
		return &f.Critical
	case event.High:
		return &f.High
	case event.Medium:
		return &f.Medium
	case event.Low:
		return &f.Low
	}
	return &f.Info
}

// Total is how many findings began in the step.
func (f FindingStep) Total() uint64 { return f.Critical + f.High + f.Medium + f.Low + f.Info }

func agents(nodes []NodeCoverage, now time.Time) AgentOverview {
	out := AgentOverview{Items: make([]AgentHealth, 0, len(nodes))}
	for i := range nodes {
		n := &nodes[i]
		a := AgentHealth{Node: n.Node, State: AgentSilent, Version: n.Version, Kernel: n.Kernel, LastTime: n.LastTime, Watched: n.Watched, Gaps: n.GapCount, Missing: n.Missing}
		for _, lost := range n.Lost {
			a.Lost += lost
		}
		switch quietFor := now.Sub(n.LastTime); {
		case quietFor <= quiet:
			a.State = AgentLive
			out.Live++
		case quietFor <= time.Hour:
			a.State = AgentLate
			out.Late++
		default:
			out.Silent++
		}
		out.Items = append(out.Items, a)
	}
	worst := []string{AgentLate, AgentSilent, AgentLive}
	slices.SortStableFunc(out.Items, func(a, b AgentHealth) int {
		return cmp.Or(cmp.Compare(slices.Index(worst, a.State), slices.Index(worst, b.State)), cmp.Compare(b.Lost, a.Lost), cmp.Compare(a.Watched, b.Watched), cmp.Compare(a.Node, b.Node))
	})
	out.Items = out.Items[:min(len(out.Items), maxAgents)]
	return out
}

// Why says why there was a gap, in words; what it does not know, it gives back.
func Why(word string) string { return cmp.Or(whys[word], word) }
