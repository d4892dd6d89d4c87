package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// defaultWindow is how far reports look back.
const defaultWindow = "90d"

func window(r *http.Request) (time.Duration, error) {
	values, err := query(r, "window")
	if err != nil {
		return 0, err
	}
	return windowOf(values)
}

func windowOf(values url.Values) (time.Duration, error) {
	text := defaultWindow
	if values.Has("window") {
		text = values.Get("window")
	}
	d, err := report.ParseWindow(text)
	if err != nil {
		return 0, problem(http.StatusBadRequest, "%v", err)
	}
	return d, nil
}

// maxReport bounds a page of a report.
const maxReport = 10_000

func reportLimit(values url.Values) (int, error) {
	if !values.Has("limit") {
		return 0, nil
	}
	return number(values, "limit", 1, maxReport)
}

// paging is which part of a report is asked for.
func paging(values url.Values) (report.Paging, error) {
	n, err := reportLimit(values)
	return report.Paging{Limit: n, Cursor: values.Get("cursor")}, err
}

func number(values url.Values, name string, least, most int) (int, error) {
	n, err := strconv.Atoi(values.Get(name))
	if err != nil || n < least || n > most {
		return 0, problem(http.StatusBadRequest, "%s %q is not a number from %d to %d", name, clip(values.Get(name)), least, most)
	}
	return n, nil
}

// writeReport writes what a report says, or why it cannot.
func writeReport[T any](w http.ResponseWriter, v T, err error) error {
	if err != nil {
		return storeError(err)
	}
	return writeJSON(w, v)
}

func (s *Server) getUnused(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "window", "preset", "class", "verdict", "q", "since", "limit", "cursor")
	if err != nil {
		return err
	}
	q := report.UnusedQuery{Text: values.Get("q"), Cursor: values.Get("cursor")}
	var names []string
	for _, p := range report.Presets {
		names = append(names, p.Name)
	}
	if q.Preset, err = oneOf(values, "preset", names...); err != nil {
		return err
	}
	if q.Class, err = oneOf(values, "class", store.Classes...); err != nil {
		return err
	}
	if q.Verdict, err = oneOf(values, "verdict", report.VerdictUnused, report.VerdictCannotTell, report.VerdictActive); err != nil {
		return err
	}
	if q.Preset == "" || values.Has("window") {
		if q.Window, err = windowOf(values); err != nil {
			return err
		}
	}
	if q.Limit, err = reportLimit(values); err != nil {
		return err
	}
	if since := values.Get("since"); values.Has("since") {
		q.Changes = true
		if q.Since, err = sinceOf(since); err != nil {
			return err
		}
	}
	list, err := s.Reports.Unused(r.Context(), s.now().UTC(), q)
	return writeReport(w, list, err)
}

// sinceOf reads last, a day (to its end) or a time.
func sinceOf(text string) (time.Time, error) {
	if text == "last" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.UTC(), nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t.Add(24*time.Hour - time.Microsecond), nil
	}
	return time.Time{}, problem(http.StatusBadRequest, "since %q is not last, a date such as 2026-11-01, or a time such as 2026-11-01T12:00:00Z", clip(text))
}

func (s *Server) getCoverage(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "window", "limit", "cursor")
	if err != nil {
		return err
	}
	d, err := windowOf(values)
	if err != nil {
		return err
	}
	part, err := paging(values)
	if err != nil {
		return err
	}
	list, err := s.Reports.Coverage(r.Context(), s.now().UTC(), d, part)
	return writeReport(w, list, err)
}

func (s *Server) getHighRisk(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "window", "at_least", "risk", "q", "limit", "cursor")
	if err != nil {
		return err
	}
	q := report.RiskQuery{Text: values.Get("q"), Cursor: values.Get("cursor")}
	if q.Window, err = windowOf(values); err != nil {
		return err
	}
	risk, err := oneOf(values, "risk", texts(report.Risks)...)
	if err != nil {
		return err
	}
	q.With = report.Risk(risk)
	if values.Has("at_least") {
		if q.AtLeast, err = number(values, "at_least", 1, len(report.Risks)); err != nil {
			return err
		}
	}
	if q.Limit, err = reportLimit(values); err != nil {
		return err
	}
	list, err := s.Reports.HighRisk(r.Context(), s.now().UTC(), q)
	return writeReport(w, list, err)
}

func (s *Server) getMeasures(w http.ResponseWriter, r *http.Request) error {
	d, err := window(r)
	if err != nil {
		return err
	}
	list, err := s.Reports.Metrics(r.Context(), s.now().UTC(), d)
	return writeReport(w, list, err)
}

func (s *Server) getGroups(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "window", "by", "limit", "cursor")
	if err != nil {
		return err
	}
	d, err := windowOf(values)
	if err != nil {
		return err
	}
	by, err := oneOf(values, "by", report.GroupBys...)
	if err != nil {
		return err
	}
	part, err := paging(values)
	if err != nil {
		return err
	}
	list, err := s.Reports.Groups(r.Context(), s.now().UTC(), d, by, part)
	return writeReport(w, list, err)
}

func (s *Server) getOwnership(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "window", "limit", "cursor")
	if err != nil {
		return err
	}
	d, err := windowOf(values)
	if err != nil {
		return err
	}
	part, err := paging(values)
	if err != nil {
		return err
	}
	list, err := s.Reports.Ownership(r.Context(), s.now().UTC(), d, part)
	return writeReport(w, list, err)
}

func (s *Server) getReviews(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "window", "state", "limit", "cursor")
	if err != nil {
		return err
	}
	d, err := windowOf(values)
	if err != nil {
		return err
	}
	state, err := oneOf(values, "state", report.ReviewNever, report.ReviewOverdue, report.ReviewDone)
	if err != nil {
		return err
	}
	part, err := paging(values)
	if err != nil {
		return err
	}
	list, err := s.Reports.Reviews(r.Context(), s.now().UTC(), d, state, part)
	return writeReport(w, list, err)
}

func (s *Server) getBlastRadius(w http.ResponseWriter, r *http.Request) error {
	id, err := pathIdentity(r)
	if err != nil {
		return err
	}
	return s.graph(w, r, nil, func(ctx context.Context, _ url.Values, now time.Time, q report.GraphQuery) (*report.Graph, error) {
		return s.Reports.BlastRadius(ctx, id, now, q)
	})
}

func (s *Server) getWhoCanReach(w http.ResponseWriter, r *http.Request) error {
	return s.graph(w, r, []string{"target"}, func(ctx context.Context, values url.Values, now time.Time, q report.GraphQuery) (*report.Graph, error) {
		return s.Reports.WhoCanReach(ctx, values.Get("target"), now, q)
	})
}

// graph answers with a graph in the format that is asked for.
func (s *Server) graph(w http.ResponseWriter, r *http.Request, more []string, ask func(context.Context, url.Values, time.Time, report.GraphQuery) (*report.Graph, error)) error {
	values, err := query(r, append([]string{"window", "depth", "format"}, more...)...)
	if err != nil {
		return err
	}
	var q report.GraphQuery
	if q.Window, err = windowOf(values); err != nil {
		return err
	}
	if values.Has("depth") {
		if q.Depth, err = number(values, "depth", 1, report.MaxDepth); err != nil {
			return err
		}
	}
	format, err := oneOf(values, "format", "json", "dot", "svg")
	if err != nil {
		return err
	}
	g, err := ask(r.Context(), values, s.now().UTC(), q)
	if errors.Is(err, report.ErrTarget) {
		return problem(http.StatusBadRequest, "%v", err)
	}
	if err != nil {
		return storeError(err)
	}
	var b bytes.Buffer
	switch format {
	case "dot":
		err = g.WriteDOT(&b)
		w.Header().Set("Content-Type", "text/vnd.graphviz; charset=utf-8")
	case "svg":
		err = g.WriteSVG(&b)
		w.Header().Set("Content-Type", "image/svg+xml")
	default:
		return writeJSON(w, g)
	}
	if err != nil {
		return fmt.Errorf("write a graph: %w", err)
	}
	_, _ = w.Write(b.Bytes())
	return nil
}

// Standing stores what people say of identities that reports list; [store.Store] does.
type Standing interface {
	Exempt(ctx context.Context, e store.Exemption) error
	InsertReviews(ctx context.Context, reviews []store.Review) error
}

// ExemptionRequest exempts an identity from the report of unused ones.
type ExemptionRequest struct {
	Identity event.Identity `json:"identity"`
	Reason   string         `json:"reason"`
	Until    time.Time      `json:"until"`
}

// maxExempt is how long an exemption may last: what is right for longer has a use.
const maxExempt = 366 * 24 * time.Hour

// maxNote bounds what people write, in bytes.
const maxNote = 2000

func (s *Server) getExemptions(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "limit", "cursor")
	if err != nil {
		return err
	}
	part, err := paging(values)
	if err != nil {
		return err
	}
	list, err := s.Reports.Exemptions(r.Context(), s.now().UTC(), part)
	return writeReport(w, list, err)
}

func (s *Server) postExemption(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	var in ExemptionRequest
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	now := s.now().UTC()
	until := in.Until.UTC().Truncate(time.Second)
	switch {
	case in.Identity.IsZero():
		return problem(http.StatusBadRequest, "identity is missing")
	case in.Reason == "" || len(in.Reason) > maxNote:
		return problem(http.StatusBadRequest, "reason is missing, or longer than %d bytes", maxNote)
	case !until.After(now) || until.After(now.Add(maxExempt)):
		return problem(http.StatusBadRequest, "until is not in the future, or more than 366 days ahead")
	}
	if _, err := s.Reports.Identity(r.Context(), in.Identity); err != nil {
		return storeError(err)
	}
	e := store.Exemption{Identity: in.Identity, Reason: in.Reason, By: principal(r).Name, At: now, Until: until}
	err := s.audited(r, "exemption.set", in.Identity.String(), map[string]string{"reason": in.Reason, "until": until.Format(time.RFC3339)}, func() error {
		return s.Standing.Exempt(r.Context(), e)
	})
	return writeReport(w, e, err)
}

func (s *Server) deleteExemption(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	id, err := pathIdentity(r)
	if err != nil {
		return err
	}
	now := s.now().UTC()
	e, err := s.Reports.Exemption(r.Context(), id, now)
	if errors.Is(err, store.ErrNotFound) {
		return problem(http.StatusNotFound, "there is no exemption of %s in force", id)
	}
	if err != nil {
		return storeError(err)
	}
	err = s.audited(r, "exemption.lift", id.String(), nil, func() error {
		return s.Standing.Exempt(r.Context(), store.Exemption{Identity: id, Reason: e.Reason, By: principal(r).Name, At: now})
	})
	return writeReport(w, e, err)
}

// ReviewRequest records that somebody looked whether identities are still right.
type ReviewRequest struct {
	Identities []event.Identity `json:"identities"`
	Verdict    string           `json:"verdict"` // keep, change, remove
	Note       string           `json:"note,omitempty"`
}

// maxReviewed bounds the identities of one request.
const maxReviewed = 500

func (s *Server) getReviewsOf(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "identity")
	if err != nil {
		return err
	}
	id, err := event.ParseIdentity(values.Get("identity"))
	if err != nil {
		return problem(http.StatusBadRequest, "identity: %v", err)
	}
	list, err := s.Reports.ReviewsOf(r.Context(), id)
	return writeReport(w, list, err)
}

func (s *Server) postReview(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	var in ReviewRequest
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	switch {
	case len(in.Identities) == 0 || len(in.Identities) > maxReviewed:
		return problem(http.StatusBadRequest, "identities: there are %d, from 1 to %d may be reviewed at once", len(in.Identities), maxReviewed)
	case !slices.Contains(store.ReviewVerdicts, in.Verdict):
		return problem(http.StatusBadRequest, "verdict %q is not one of keep, change, remove", clip(in.Verdict))
	case len(in.Note) > maxNote:
		return problem(http.StatusBadRequest, "note is longer than %d bytes", maxNote)
	case in.Verdict != "keep" && in.Note == "":
		return problem(http.StatusBadRequest, "note is missing: say what is to be changed, or why it is to be removed")
	}
	now := s.now().UTC().Truncate(time.Microsecond)
	reviews := make([]store.Review, len(in.Identities))
	for i, id := range in.Identities {
		if id.IsZero() {
			return problem(http.StatusBadRequest, "identities: number %d is empty", i+1)
		}
		reviews[i] = store.Review{Identity: id, Time: now, By: principal(r).Name, Verdict: in.Verdict, Note: in.Note}
	}
	for _, v := range reviews {
		err := s.audited(r, "review."+v.Verdict, v.Identity.String(), map[string]string{"note": v.Note}, func() error {
			return s.Standing.InsertReviews(r.Context(), []store.Review{v})
		})
		if err != nil {
			return storeError(err)
		}
	}
	return writeJSON(w, report.List[store.Review]{Items: reviews})
}
