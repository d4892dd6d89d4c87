package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
)

type unusedView struct {
	*Paper
	*report.UnusedReport
	Query    report.UnusedQuery
	Presets  []report.Preset
	Groups   []counted
	Verdicts []counted
	Today    string
	Usual    string
	Latest   string
	Command  string
}

// counted is a word with how many there are, and a link that chooses it.
type counted struct {
	Value, Href string
	Count       uint64
	Chosen      bool
}

func countedOf(r *http.Request, name string, words []string, counts map[string]uint64, chosen string) []counted {
	var out []counted
	for _, w := range words {
		values := r.URL.Query()
		values.Del("cursor")
		values.Set(name, w)
		if w == chosen {
			values.Del(name)
		}
		out = append(out, counted{w, r.URL.Path + "?" + values.Encode(), counts[w], w == chosen})
	}
	return out
}

func (s *Site) showUnused(r *http.Request, _ Viewer) (any, error) {
	text, d, err := window(r, "90d")
	if err != nil {
		return nil, err
	}
	p, err := s.paperOf(r, "unused", text, "preset", "class", "verdict", "q", "cursor")
	if err != nil {
		return nil, err
	}
	q := report.UnusedQuery{Window: d, Preset: p.values.Get("preset"), Class: p.values.Get("class"), Verdict: p.values.Get("verdict"), Text: p.values.Get("q")}
	verdicts := []string{report.VerdictUnused, report.VerdictCannotTell, report.VerdictActive}
	if q.Class != "" && !slices.Contains(store.Classes, q.Class) || q.Verdict != "" && !slices.Contains(verdicts, q.Verdict) {
		return nil, faultf(http.StatusBadRequest, "There is no such class or verdict.")
	}
	if q.Preset != "" {
		preset, err := report.ParsePreset(q.Preset)
		if err != nil {
			return nil, faultf(http.StatusBadRequest, "There is no such preset.")
		}
		if !p.values.Has("window") {
			q.Window, p.Window = 0, report.FormatWindow(preset.Window)
			for i := range p.Windows {
				p.Windows[i].Chosen = p.Windows[i].Text == p.Window
			}
		}
	}
	ask := func(ctx context.Context, part report.Paging) (*report.UnusedReport, error) {
		q := q
		q.Limit, q.Cursor = part.Limit, part.Cursor
		return s.Reports.Unused(ctx, p.Made, q)
	}
	return present(r, p, unusedSheet, ask, func(found *report.UnusedReport) any {
		return unusedView{Paper: p, UnusedReport: found, Query: q, Presets: report.Presets, Today: p.Made.Format(time.DateOnly),
			Usual: p.Made.AddDate(0, 0, 90).Format(time.DateOnly), Latest: p.Made.AddDate(1, 0, 0).Format(time.DateOnly), Command: "ambit report unused --window " + p.Window,
			Groups: countedOf(r, "class", store.Classes, found.Classes, q.Class), Verdicts: countedOf(r, "verdict", verdicts, found.Verdicts, q.Verdict)}
	})
}

type riskView struct {
	*Paper
	*report.RiskReport
	Query   report.RiskQuery
	Kinds   []counted
	AtLeast []int
}

func (s *Site) showHighRisk(r *http.Request, _ Viewer) (any, error) {
	text, d, err := window(r, "90d")
	if err != nil {
		return nil, err
	}
	p, err := s.paperOf(r, "high-risk", text, "risk", "at_least", "q", "cursor")
	if err != nil {
		return nil, err
	}
	q := report.RiskQuery{Window: d, With: report.Risk(p.values.Get("risk")), Text: p.values.Get("q"), AtLeast: 2}
	if q.With != "" && !slices.Contains(report.Risks, q.With) {
		return nil, faultf(http.StatusBadRequest, "There is no such risk.")
	}
	if t := p.values.Get("at_least"); t != "" {
		if q.AtLeast, err = strconv.Atoi(t); err != nil || q.AtLeast < 1 || q.AtLeast > len(report.Risks) {
			return nil, faultf(http.StatusBadRequest, "at_least is not a number from 1 to %d.", len(report.Risks))
		}
	}
	ask := func(ctx context.Context, part report.Paging) (*report.RiskReport, error) {
		q := q
		q.Limit, q.Cursor = part.Limit, part.Cursor
		return s.Reports.HighRisk(ctx, p.Made, q)
	}
	return present(r, p, riskSheet, ask, func(found *report.RiskReport) any {
		counts, words := map[string]uint64{}, []string{}
		for _, risk := range report.Risks {
			counts[string(risk)] = found.Risks[risk]
			words = append(words, string(risk))
		}
		return riskView{p, found, q, countedOf(r, "risk", words, counts, string(q.With)), []int{1, 2, 3, 4}}
	})
}

type ownershipView struct {
	*Paper
	*report.List[report.Lacking]
}

func (s *Site) showOwnership(r *http.Request, _ Viewer) (any, error) {
	text, d, err := window(r, "90d")
	if err != nil {
		return nil, err
	}
	p, err := s.paperOf(r, "ownership", text, "cursor")
	if err != nil {
		return nil, err
	}
	ask := func(ctx context.Context, part report.Paging) (*report.List[report.Lacking], error) {
		return s.Reports.Ownership(ctx, p.Made, d, part)
	}
	return present(r, p, ownershipSheet, ask, func(found *report.List[report.Lacking]) any { return ownershipView{p, found} })
}

type reviewsView struct {
	*Paper
	*report.ReviewReport
	State string
	Kinds []counted
}

func (s *Site) showReviews(r *http.Request, _ Viewer) (any, error) {
	text, d, err := window(r, "90d")
	if err != nil {
		return nil, err
	}
	p, err := s.paperOf(r, "reviews", text, "state", "cursor")
	if err != nil {
		return nil, err
	}
	states := []string{report.ReviewNever, report.ReviewOverdue, report.ReviewDone}
	state := p.values.Get("state")
	if state != "" && !slices.Contains(states, state) {
		return nil, faultf(http.StatusBadRequest, "There is no such state of review.")
	}
	ask := func(ctx context.Context, part report.Paging) (*report.ReviewReport, error) {
		return s.Reports.Reviews(ctx, p.Made, d, state, part)
	}
	return present(r, p, reviewsSheet, ask, func(found *report.ReviewReport) any {
		return reviewsView{p, found, state, countedOf(r, "state", states, found.States, state)}
	})
}

type inventoryView struct {
	*Paper
	*report.List[report.Group]
	Tables []groupTable
}

// groupRows is how many groups of a kind a page shows.
const groupRows = 25

type groupTable struct {
	By   string
	Rows []report.Group
	More int
}

func (s *Site) showInventory(r *http.Request, _ Viewer) (any, error) {
	text, d, err := window(r, "90d")
	if err != nil {
		return nil, err
	}
	p, err := s.paperOf(r, "inventory", text)
	if err != nil {
		return nil, err
	}
	groups := listing[report.Group](func(ctx context.Context, part report.Paging) (*report.List[report.Group], error) {
		return s.Reports.Groups(ctx, p.Made, d, "", part)
	})
	if p.file {
		return groupsSheet.file(r.Context(), p.Made, groups)
	}
	found, err := groups(r.Context(), report.Paging{Limit: maxExport})
	if err != nil {
		return nil, err
	}
	v := inventoryView{Paper: p, List: found, Tables: make([]groupTable, len(report.GroupBys))}
	for i, by := range report.GroupBys {
		v.Tables[i].By = by
	}
	// One kind of many groups, such as owners, must not leave out those behind it.
	err = groups.each(r.Context(), found, func(part []report.Group) error {
		for _, g := range part {
			switch t := &v.Tables[slices.Index(report.GroupBys, g.By)]; {
			case len(t.Rows) < groupRows:
				t.Rows = append(t.Rows, g)
			default:
				t.More++
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

type metricsView struct {
	*Paper
	*report.List[report.Metric]
}

func (s *Site) showMetrics(r *http.Request, _ Viewer) (any, error) {
	text, d, err := window(r, "90d")
	if err != nil {
		return nil, err
	}
	p, err := s.paperOf(r, "metrics", text)
	if err != nil {
		return nil, err
	}
	ask := func(ctx context.Context, _ report.Paging) (*report.List[report.Metric], error) {
		return s.Reports.Metrics(ctx, p.Made, d)
	}
	return present(r, p, metricsSheet, ask, func(found *report.List[report.Metric]) any { return metricsView{p, found} })
}

type exemptionsView struct {
	*report.List[store.Exemption]
	Shown []store.Exemption
	First string // page
	More  string // next page
}

func (s *Site) showExemptions(r *http.Request, _ Viewer) (any, error) {
	cursor := r.URL.Query().Get("cursor")
	found, err := s.Reports.Exemptions(r.Context(), s.now().UTC(), report.Paging{Limit: 500, Cursor: cursor})
	if err != nil {
		return nil, err
	}
	v := exemptionsView{List: found, Shown: found.Items}
	if cursor != "" {
		v.First = "/reports/exemptions"
	}
	if found.Next != "" {
		v.More = "/reports/exemptions?" + url.Values{"cursor": {found.Next}}.Encode()
	}
	return v, nil
}
