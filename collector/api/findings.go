package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/ambit-nhi/ambit/event"
)

func (s *Server) getFindings(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "status", "severity", "rule", "namespace", "identity", "text", "since", "until", "limit", "cursor")
	if err != nil {
		return err
	}
	filter, err := findingFilter(values)
	if err != nil {
		return err
	}
	filter.Cursor = values.Get("cursor")
	if filter.Limit, err = limit(values); err != nil {
		return err
	}
	list, err := s.Reports.Findings(r.Context(), filter)
	if err != nil {
		return storeError(err)
	}
	page := Page[event.Finding]{Items: list.Items, NextCursor: list.Next}
	if page.Items == nil {
		page.Items = []event.Finding{}
	}
	return writeJSON(w, page)
}

func (s *Server) getFinding(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	f, err := s.Reports.Finding(r.Context(), r.PathValue("id"))
	if err != nil {
		return storeError(err)
	}
	return writeJSON(w, f)
}

// maxBody bounds what a request may carry.
const maxBody = 64 << 10

func (s *Server) patchFinding(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	var patch FindingPatch
	if err := readJSON(w, r, &patch); err != nil {
		return err
	}
	kind, err := patch.kind()
	if err != nil {
		return err
	}
	f, err := s.Triage.Decide(r.Context(), r.PathValue("id"), kind, patch.Reason, principal(r).Name, patch.Until)
	if err != nil {
		return s.verdictError(kind, err)
	}
	return writeJSON(w, f)
}

// kind is the verdict that a patch asks for.
func (p *FindingPatch) kind() (event.VerdictKind, error) {
	byStatus := map[event.Status]event.VerdictKind{
		event.StatusNew: event.VerdictReopen, event.StatusAcknowledged: event.VerdictAcknowledge,
		event.StatusSuppressed: event.VerdictSuppress, event.StatusResolved: event.VerdictResolve,
	}
	switch {
	case p.Verdict != "" && p.Status != "":
		return "", problem(http.StatusBadRequest, "give a verdict or a status, not both")
	case p.Verdict != "" && !p.Verdict.Valid():
		return "", problem(http.StatusBadRequest, "verdict %q is not one of %s", p.Verdict, verdictNames())
	case p.Verdict != "":
		return p.Verdict, nil
	case !p.Status.Valid():
		return "", problem(http.StatusBadRequest, "status %q is not one of new, acknowledged, suppressed, resolved; or give a verdict: %s", p.Status, verdictNames())
	}
	return byStatus[p.Status], nil
}

func verdictNames() string {
	var names []string
	for _, k := range event.VerdictKinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// readJSON reads a body strictly. It wants the content type said, which a form of another site cannot do.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	return readJSONOf(w, r, v, maxBody)
}

// readJSONOf reads a body of at most so many bytes.
func readJSONOf(w http.ResponseWriter, r *http.Request, v any, most int64) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return problem(http.StatusUnsupportedMediaType, "the content type must be application/json")
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, most))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		if large := new(http.MaxBytesError); errors.As(err, &large) {
			return problem(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", most)
		}
		return problem(http.StatusBadRequest, "the body cannot be read: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return problem(http.StatusBadRequest, "the body cannot be read: there is more than one JSON value")
	}
	return nil
}
