package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/collector/triage"
	"github.com/ambit-nhi/ambit/event"
)

// Stories tell what is known around findings; [report.Reporter] does.
type Stories interface {
	Story(ctx context.Context, id string, now time.Time) (*report.Story, error)
	CountFindings(ctx context.Context, filter store.FindingFilter) (*store.FindingCounts, error)
}

// findingFilter reads what chooses findings, but not which page.
func findingFilter(values url.Values) (store.FindingFilter, error) {
	filter := store.FindingFilter{Rule: values.Get("rule"), Namespace: values.Get("namespace"), Text: values.Get("text")}
	status, err := oneOf(values, "status",
		string(event.StatusNew), string(event.StatusAcknowledged), string(event.StatusSuppressed), string(event.StatusResolved))
	if err != nil {
		return filter, err
	}
	severity, err := oneOf(values, "severity",
		string(event.Info), string(event.Low), string(event.Medium), string(event.High), string(event.Critical))
	if err != nil {
		return filter, err
	}
	filter.Status, filter.Severity = event.Status(status), event.Severity(severity)
	if values.Has("identity") {
		if filter.Identity, err = event.ParseIdentity(values.Get("identity")); err != nil {
			return filter, problem(http.StatusBadRequest, "%v", err)
		}
	}
	for _, x := range []struct {
		name string
		into *time.Time
	}{{"since", &filter.Since}, {"until", &filter.Until}} {
		if values.Has(x.name) {
			if *x.into, err = time.Parse(time.RFC3339, values.Get(x.name)); err != nil {
				return filter, problem(http.StatusBadRequest, "%s %q is no time like 2026-01-31T12:00:00Z", x.name, clip(values.Get(x.name)))
			}
		}
	}
	return filter, nil
}

func (s *Server) getFindingCounts(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "status", "severity", "rule", "namespace", "identity", "text", "since", "until")
	if err != nil {
		return err
	}
	filter, err := findingFilter(values)
	if err != nil {
		return err
	}
	counts, err := s.Reports.CountFindings(r.Context(), filter)
	if err != nil {
		return storeError(err)
	}
	return writeJSON(w, counts)
}

func (s *Server) getFindingStory(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	story, err := s.Reports.Story(r.Context(), r.PathValue("id"), s.now())
	if err != nil {
		return storeError(err)
	}
	return writeJSON(w, story)
}

// FindingVerdicts is one verdict on several findings.
type FindingVerdicts struct {
	IDs []string `json:"ids"` // at most 100
	FindingPatch
}

// VerdictResult is what came of a verdict on one finding.
type VerdictResult struct {
	ID      string       `json:"id"`
	Status  event.Status `json:"status,omitempty"` // of the finding, as it is then
	Problem *Problem     `json:"problem,omitempty"`
}

// Bounds of deciding about several findings.
const (
	maxVerdicts  = 100
	verdictsOnce = 4 // at a time
)

// postVerdicts decides about findings one by one, so that each is in the audit trail, and one that cannot be decided about keeps no other.
func (s *Server) postVerdicts(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	var body FindingVerdicts
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	kind, err := body.kind()
	if err != nil {
		return err
	}
	slices.Sort(body.IDs)
	body.IDs = slices.Compact(body.IDs)
	if len(body.IDs) == 0 || len(body.IDs) > maxVerdicts {
		return problem(http.StatusBadRequest, "ids: give 1 to %d findings", maxVerdicts)
	}
	results, who := make([]VerdictResult, len(body.IDs)), principal(r).Name
	var g errgroup.Group
	g.SetLimit(verdictsOnce)
	for i, id := range body.IDs {
		g.Go(func() error {
			results[i].ID = id
			f, err := s.Triage.Decide(r.Context(), id, kind, body.Reason, who, body.Until)
			if err == nil {
				results[i].Status = f.Status
				return nil
			}
			results[i].Problem = s.verdictProblem(r, kind, err)
			return nil
		})
	}
	_ = g.Wait() // what went wrong is in the results
	return writeJSON(w, Page[VerdictResult]{Items: results})
}

// verdictProblem says why a verdict was not taken.
func (s *Server) verdictProblem(r *http.Request, kind event.VerdictKind, err error) *Problem {
	err = s.verdictError(kind, err)
	if p := new(Problem); errors.As(err, &p) {
		return p
	}
	if r.Context().Err() == nil {
		s.log.Error("decide about a finding", "request", requestID(r), "error", err)
	}
	return problem(http.StatusInternalServerError, "the collector could not decide; its log says why")
}

// verdictError says what is the client's fault.
func (s *Server) verdictError(kind event.VerdictKind, err error) error {
	switch {
	case errors.Is(err, triage.ErrInvalid):
		return problem(http.StatusBadRequest, "%v", err)
	case errors.Is(err, triage.ErrTrail):
		s.log.Error("write the audit trail", "action", "finding."+string(kind), "error", err)
		return problem(http.StatusServiceUnavailable, "%v; the log of the collector says why", triage.ErrTrail)
	}
	return storeError(err)
}
