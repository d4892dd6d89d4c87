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
	"github.com/ambit-nhi/ambit/event"
)

// Standing answers the reports that people walk through; [report.Reporter] does.
type Standing interface {
	Unused(ctx context.Context, now time.Time, q report.UnusedQuery) (*report.UnusedReport, error)
	HighRisk(ctx context.Context, now time.Time, q report.RiskQuery) (*report.RiskReport, error)
	Groups(ctx context.Context, now time.Time, window time.Duration, by string, paging report.Paging) (*report.List[report.Group], error)
	Ownership(ctx context.Context, now time.Time, window time.Duration, paging report.Paging) (*report.List[report.Lacking], error)
	Reviews(ctx context.Context, now time.Time, window time.Duration, state string, paging report.Paging) (*report.ReviewReport, error)
	ReviewsOf(ctx context.Context, id event.Identity) (*report.List[store.Review], error)
	Exemptions(ctx context.Context, now time.Time, paging report.Paging) (*report.List[store.Exemption], error)
	Exemption(ctx context.Context, id event.Identity, now time.Time) (store.Exemption, error)
}

// Bounds of a file: rows that are asked for at a time, and in all.
const (
	maxExport = 10_000
	maxFile   = 200_000
)

// export reads all pages of a report. One that is longer than a file may be is refused: nobody would see that a part of it is missing.
func export[T any](ask func(cursor string) (items []T, next string, err error)) ([]T, error) {
	var out []T
	for cursor := ""; ; {
		items, next, err := ask(cursor)
		if err != nil {
			return nil, err
		}
		out = append(out, items...)
		if next == "" {
			return out, nil
		}
		if len(out) >= maxFile {
			return nil, faultf(http.StatusBadRequest, "The report has more than %d rows, which is more than a file of the pages holds: choose less with a filter, or take all with ambit report, or from the API.", maxFile)
		}
		cursor = next
	}
}

// reportRows is how many rows a report shows at a time.
const reportRows = 100

func (s *Site) reportPages() {
	s.page("reports", "/reports", Reader, func(*http.Request, Viewer) (any, error) { return nil, nil })
	s.page("unused", "/reports/unused", Reader, s.showUnused)
	s.page("high-risk", "/reports/high-risk", Reader, s.showHighRisk)
	s.page("ownership", "/reports/ownership", Reader, s.showOwnership)
	s.page("reviews", "/reports/reviews", Reader, s.showReviews)
	s.page("inventory", "/reports/inventory", Reader, s.showInventory)
	s.page("metrics", "/reports/metrics", Reader, s.showMetrics)
	s.page("exemptions", "/reports/exemptions", Reader, s.showExemptions)
	s.action("/reports/unused/exempt", Responder, func(r *http.Request, _ Viewer) (string, error) {
		if err := r.ParseForm(); err != nil {
			return "", faultf(http.StatusBadRequest, "The form cannot be read.")
		}
		return "/reports/exemptions", s.exempt(r, r.PostForm["identity"])
	})
	s.action("/reports/exemptions/lift", Responder, func(r *http.Request, _ Viewer) (string, error) {
		id, err := event.ParseIdentity(r.PostFormValue("identity"))
		if err != nil {
			return "", faultf(http.StatusBadRequest, "The form names no identity.")
		}
		return "/reports/exemptions", s.lift(r, id)
	})
	s.action("/reports/reviews", Responder, func(r *http.Request, _ Viewer) (string, error) {
		if err := r.ParseForm(); err != nil {
			return "", faultf(http.StatusBadRequest, "The form cannot be read.")
		}
		return "/reports/reviews?state=reviewed", s.review(r, r.PostForm["identity"])
	})
}

// Paper is what all reports have in common.
type Paper struct {
	Window  string
	Windows []choiceOf
	CSV     string // links to the same as a file
	JSON    string
	Made    time.Time
	Next    string
	First   string
}

// paperOf makes the frame of a report, whose parameters must be among those known.
func (s *Site) paperOf(r *http.Request, name, text string, known ...string) (Paper, url.Values, error) {
	values := r.URL.Query()
	for key, list := range values {
		if len(list) != 1 || !slices.Contains(known, key) && key != "window" && key != "format" {
			return Paper{}, nil, faultf(http.StatusBadRequest, "%q is not a filter of this report.", key)
		}
		if list[0] == "" {
			values.Del(key) // a form was sent without a choice
		}
	}
	if f := values.Get("format"); f != "" && f != "csv" {
		return Paper{}, nil, faultf(http.StatusBadRequest, "format is not csv; JSON is what the API gives.")
	}
	link := func(path string, change func(url.Values)) string {
		next := url.Values{}
		for key, list := range values {
			if key != "format" && key != "cursor" {
				next[key] = list
			}
		}
		change(next)
		return path + "?" + next.Encode()
	}
	path := "/reports/" + name
	p := Paper{Window: text, Made: s.now().UTC()}
	for _, w := range windows {
		p.Windows = append(p.Windows, choiceOf{w, link(path, func(v url.Values) { v.Set("window", w) }), w == text})
	}
	p.CSV = link(path, func(v url.Values) { v.Set("format", "csv") })
	p.JSON = link("/api/v1"+path, func(url.Values) {})
	if values.Has("cursor") {
		p.First = link(path, func(url.Values) {})
	}
	return p, values, nil
}

// next links to the page behind a cursor.
func (p *Paper) next(r *http.Request, cursor string) {
	if cursor == "" {
		return
	}
	values := r.URL.Query()
	values.Set("cursor", cursor)
	p.Next = r.URL.Path + "?" + values.Encode()
}

type unusedView struct {
	Paper
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
	p, values, err := s.paperOf(r, "unused", text, "preset", "class", "verdict", "q", "cursor")
	if err != nil {
		return nil, err
	}
	q := report.UnusedQuery{Window: d, Preset: values.Get("preset"), Class: values.Get("class"), Verdict: values.Get("verdict"), Text: values.Get("q"), Cursor: values.Get("cursor"), Limit: reportRows}
	verdicts := []string{report.VerdictUnused, report.VerdictCannotTell, report.VerdictActive}
	if q.Class != "" && !slices.Contains(store.Classes, q.Class) || q.Verdict != "" && !slices.Contains(verdicts, q.Verdict) {
		return nil, faultf(http.StatusBadRequest, "There is no such class or verdict.")
	}
	if q.Preset != "" {
		preset, err := report.ParsePreset(q.Preset)
		if err != nil {
			return nil, faultf(http.StatusBadRequest, "There is no such preset.")
		}
		if !values.Has("window") {
			q.Window, p.Window = 0, report.FormatWindow(preset.Window)
			for i := range p.Windows {
				p.Windows[i].Chosen = p.Windows[i].Text == p.Window
			}
		}
	}
	if values.Get("format") == "csv" {
		q.Limit = maxExport
		all, err := export(func(cursor string) ([]report.Unused, string, error) {
			q.Cursor = cursor
			found, err := s.Reports.Unused(r.Context(), p.Made, q)
			if err != nil {
				return nil, "", err
			}
			return found.Items, found.Next, nil
		})
		if err != nil {
			return nil, err
		}
		return unusedCSV(all, p.Made)
	}
	found, err := s.Reports.Unused(r.Context(), p.Made, q)
	if err != nil {
		return nil, err
	}
	p.next(r, found.Next)
	v := unusedView{Paper: p, UnusedReport: found, Query: q, Presets: report.Presets, Today: p.Made.Format(time.DateOnly),
		Usual: p.Made.AddDate(0, 0, 90).Format(time.DateOnly), Latest: p.Made.AddDate(1, 0, 0).Format(time.DateOnly), Command: "ambit report unused --window " + p.Window}
	v.Groups = countedOf(r, "class", store.Classes, found.Classes, q.Class)
	v.Verdicts = countedOf(r, "verdict", verdicts, found.Verdicts, q.Verdict)
	return v, nil
}

type riskView struct {
	Paper
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
	p, values, err := s.paperOf(r, "high-risk", text, "risk", "at_least", "q", "cursor")
	if err != nil {
		return nil, err
	}
	q := report.RiskQuery{Window: d, With: report.Risk(values.Get("risk")), Text: values.Get("q"), AtLeast: 2, Limit: reportRows}
	if q.With != "" && !slices.Contains(report.Risks, q.With) {
		return nil, faultf(http.StatusBadRequest, "There is no such risk.")
	}
	if t := values.Get("at_least"); t != "" {
		if q.AtLeast, err = strconv.Atoi(t); err != nil || q.AtLeast < 1 || q.AtLeast > len(report.Risks) {
			return nil, faultf(http.StatusBadRequest, "at_least is not a number from 1 to %d.", len(report.Risks))
		}
	}
	if values.Get("format") == "csv" {
		q.Limit = maxExport
		all, err := export(func(cursor string) ([]report.HighRisk, string, error) {
			q.Cursor = cursor
			found, err := s.Reports.HighRisk(r.Context(), p.Made, q)
			if err != nil {
				return nil, "", err
			}
			return found.Items, found.Next, nil
		})
		if err != nil {
			return nil, err
		}
		return riskCSV(all, p.Made)
	}
	q.Cursor = values.Get("cursor")
	found, err := s.Reports.HighRisk(r.Context(), p.Made, q)
	if err != nil {
		return nil, err
	}
	p.next(r, found.Next)
	counts, words := map[string]uint64{}, []string{}
	for _, risk := range report.Risks {
		counts[string(risk)] = found.Risks[risk]
		words = append(words, string(risk))
	}
	return riskView{p, found, q, countedOf(r, "risk", words, counts, string(q.With)), []int{1, 2, 3, 4}}, nil
}

type ownershipView struct {
	Paper
	*report.List[report.Lacking]
}

func (s *Site) showOwnership(r *http.Request, _ Viewer) (any, error) {
	text, d, err := window(r, "90d")
	if err != nil {
		return nil, err
	}
	p, values, err := s.paperOf(r, "ownership", text, "cursor")
	if err != nil {
		return nil, err
	}
	ask := func(limit int, cursor string) (*report.List[report.Lacking], error) {
		return s.Reports.Ownership(r.Context(), p.Made, d, report.Paging{Limit: limit, Cursor: cursor})
	}
	if values.Get("format") == "csv" {
		all, err := export(func(cursor string) ([]report.Lacking, string, error) {
			found, err := ask(maxExport, cursor)
			if err != nil {
				return nil, "", err
			}
			return found.Items, found.Next, nil
		})
		if err != nil {
			return nil, err
		}
		return ownershipCSV(all, p.Made)
	}
	found, err := ask(reportRows, values.Get("cursor"))
	if err != nil {
		return nil, err
	}
	p.next(r, found.Next)
	return ownershipView{p, found}, nil
}

type reviewsView struct {
	Paper
	*report.ReviewReport
	State string
	Kinds []counted
}

func (s *Site) showReviews(r *http.Request, _ Viewer) (any, error) {
	text, d, err := window(r, "90d")
	if err != nil {
		return nil, err
	}
	p, values, err := s.paperOf(r, "reviews", text, "state", "cursor")
	if err != nil {
		return nil, err
	}
	states := []string{report.ReviewNever, report.ReviewOverdue, report.ReviewDone}
	state := values.Get("state")
	if state != "" && !slices.Contains(states, state) {
		return nil, faultf(http.StatusBadRequest, "There is no such state of review.")
	}
	ask := func(limit int, cursor string) (*report.ReviewReport, error) {
		return s.Reports.Reviews(r.Context(), p.Made, d, state, report.Paging{Limit: limit, Cursor: cursor})
	}
	if values.Get("format") == "csv" {
		all, err := export(func(cursor string) ([]report.Reviewed, string, error) {
			found, err := ask(maxExport, cursor)
			if err != nil {
				return nil, "", err
			}
			return found.Items, found.Next, nil
		})
		if err != nil {
			return nil, err
		}
		return reviewsCSV(all, p.Made)
	}
	found, err := ask(reportRows, values.Get("cursor"))
	if err != nil {
		return nil, err
	}
	p.next(r, found.Next)
	return reviewsView{p, found, state, countedOf(r, "state", states, found.States, state)}, nil
}

type inventoryView struct {
	Paper
	*report.List[report.Group]
	Tables []groupTable
}

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
	p, values, err := s.paperOf(r, "inventory", text)
	if err != nil {
		return nil, err
	}
	// One group of many, such as owners, must not leave out those behind it.
	var found *report.List[report.Group]
	all, err := export(func(cursor string) (_ []report.Group, _ string, err error) {
		if found, err = s.Reports.Groups(r.Context(), p.Made, d, "", report.Paging{Limit: maxExport, Cursor: cursor}); err != nil {
			return nil, "", err
		}
		return found.Items, found.Next, nil
	})
	if err != nil {
		return nil, err
	}
	found.Items = all
	if values.Get("format") == "csv" {
		return groupsCSV(found, p.Made)
	}
	v := inventoryView{Paper: p, List: found}
	for _, by := range report.GroupBys {
		t := groupTable{By: by}
		for _, g := range found.Items {
			switch {
			case g.By != by:
			case len(t.Rows) < 25:
				t.Rows = append(t.Rows, g)
			default:
				t.More++
			}
		}
		v.Tables = append(v.Tables, t)
	}
	return v, nil
}

type metricsView struct {
	Paper
	*report.List[report.Metric]
}

func (s *Site) showMetrics(r *http.Request, _ Viewer) (any, error) {
	text, d, err := window(r, "90d")
	if err != nil {
		return nil, err
	}
	p, values, err := s.paperOf(r, "metrics", text)
	if err != nil {
		return nil, err
	}
	found, err := s.Reports.Metrics(r.Context(), p.Made, d)
	if err != nil {
		return nil, err
	}
	if values.Get("format") == "csv" {
		return metricsCSV(found, p.Made)
	}
	return metricsView{p, found}, nil
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
