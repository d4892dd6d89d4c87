package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

func (s *Server) getFindings(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "status", "severity", "rule", "identity", "limit", "cursor")
	if err != nil {
		return err
	}
	filter := store.FindingFilter{Rule: values.Get("rule"), Cursor: values.Get("cursor")}
	status, err := oneOf(values, "status",
		string(event.StatusNew), string(event.StatusAcknowledged), string(event.StatusSuppressed), string(event.StatusResolved))
	if err != nil {
		return err
	}
	severity, err := oneOf(values, "severity",
		string(event.Info), string(event.Low), string(event.Medium), string(event.High), string(event.Critical))
	if err != nil {
		return err
	}
	filter.Status, filter.Severity = event.Status(status), event.Severity(severity)
	if values.Has("identity") {
		if filter.Identity, err = event.ParseIdentity(values.Get("identity")); err != nil {
			return problem(http.StatusBadRequest, "%v", err)
		}
	}
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
	if !patch.Status.Valid() {
		return problem(http.StatusBadRequest, "status %q is not one of new, acknowledged, suppressed, resolved", patch.Status)
	}
	f, err := s.Triage.SetFindingStatus(r.Context(), r.PathValue("id"), patch.Status, s.now().UTC())
	if err != nil {
		return storeError(err)
	}
	return writeJSON(w, f)
}

// readJSON reads a body strictly. It wants the content type said, which a form of another site cannot do.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return problem(http.StatusUnsupportedMediaType, "the content type must be application/json")
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		if large := new(http.MaxBytesError); errors.As(err, &large) {
			return problem(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", maxBody)
		}
		return problem(http.StatusBadRequest, "the body cannot be read: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return problem(http.StatusBadRequest, "the body cannot be read: there is more than one JSON value")
	}
	return nil
}
