package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
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
	values  url.Values
	file    bool // it is asked for as one
	Window  string
	Windows []choiceOf
	CSV     string // links to the same as a file
	JSON    string
	Made    time.Time
	Next    string
	First   string
}

// paperOf makes the frame of a report, whose parameters must be among those known.
func (s *Site) paperOf(r *http.Request, name, text string, known ...string) (*Paper, error) {
	values := r.URL.Query()
	for key, list := range values {
		if len(list) != 1 || !slices.Contains(known, key) && key != "window" && key != "format" {
			return nil, faultf(http.StatusBadRequest, "%q is not a filter of this report.", key)
		}
		if list[0] == "" {
			values.Del(key) // a form was sent without a choice
		}
	}
	if f := values.Get("format"); f != "" && f != "csv" {
		return nil, faultf(http.StatusBadRequest, "format is not csv; JSON is what the API gives.")
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
	p := &Paper{values: values, file: values.Has("format"), Window: text, Made: s.now().UTC()}
	for _, w := range windows {
		p.Windows = append(p.Windows, choiceOf{w, link(path, func(v url.Values) { v.Set("window", w) }), w == text})
	}
	p.CSV = link(path, func(v url.Values) { v.Set("format", "csv") })
	p.JSON = link("/api/v1"+path, func(url.Values) {})
	if values.Has("cursor") {
		p.First = link(path, func(url.Values) {})
	}
	return p, nil
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

// present shows the part of a report that is asked for as a page, or all of it as a file.
func present[R interface{ Page() *report.List[T] }, T any](r *http.Request, p *Paper, as *sheet[T], ask func(ctx context.Context, part report.Paging) (R, error), view func(R) any) (any, error) {
	if p.file {
		return as.file(r.Context(), p.Made, func(ctx context.Context, part report.Paging) (*report.List[T], error) {
			found, err := ask(ctx, part)
			if err != nil {
				return nil, err
			}
			return found.Page(), nil
		})
	}
	found, err := ask(r.Context(), report.Paging{Limit: reportRows, Cursor: p.values.Get("cursor")})
	if err != nil {
		return nil, err
	}
	p.next(r, found.Page().Next)
	return view(found), nil
}
