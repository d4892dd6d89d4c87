package api

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"time"

	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/collector/store"
)

// Trails reads the audit trail; [store.Store] does.
type Trails interface {
	Audit(ctx context.Context, f store.AuditFilter) ([]audit.Record, string, error)
	EachAudit(ctx context.Context) iter.Seq2[audit.Record, error]
}

// Verified says whether the audit trail is whole and unchanged.
type Verified struct {
	Whole   bool   `json:"whole"`
	Records uint64 `json:"records"`          // that fit
	Head    string `json:"head,omitempty"`   // hash of the last one of these
	Broken  uint64 `json:"broken,omitempty"` // number of the first that does not fit
	Why     string `json:"why,omitempty"`
}

func (s *Server) getAudit(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "actor", "action", "subject", "since", "limit", "cursor")
	if err != nil {
		return err
	}
	filter := store.AuditFilter{Actor: values.Get("actor"), Action: values.Get("action"), Subject: values.Get("subject"), Cursor: values.Get("cursor")}
	if filter.Limit, err = limit(values); err != nil {
		return err
	}
	if values.Has("since") {
		if filter.Since, err = time.Parse(time.RFC3339, values.Get("since")); err != nil {
			return problem(http.StatusBadRequest, "since %q is no time like 2026-01-31T12:00:00Z", clip(values.Get("since")))
		}
	}
	records, next, err := s.Trails.Audit(r.Context(), filter)
	if err != nil {
		return storeError(err)
	}
	return writeJSON(w, Page[audit.Record]{Items: records, NextCursor: next})
}

// verifyAgain is how long what does not fit may take to come into the store: collectors copy side by side.
const verifyAgain = 2 * time.Second

// getAuditVerified reads the whole trail, for one client at a time.
func (s *Server) getAuditVerified(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	select {
	case s.verifying <- struct{}{}:
		defer func() { <-s.verifying }()
	case <-r.Context().Done():
		return r.Context().Err()
	}
	out, err := s.verify(r.Context())
	if err == nil && !out.Whole {
		select {
		case <-time.After(verifyAgain):
		case <-r.Context().Done():
		}
		out, err = s.verify(r.Context())
	}
	if err != nil {
		return storeError(err)
	}
	return writeJSON(w, out)
}

func (s *Server) verify(ctx context.Context) (Verified, error) {
	out := Verified{Whole: true}
	err := audit.Verify(func(yield func(audit.Record, error) bool) {
		for record, err := range s.Trails.EachAudit(ctx) {
			if !yield(record, err) {
				return
			}
			out.Records, out.Head = record.Number, record.Hash
		}
	})
	if broken := new(audit.Broken); errors.As(err, &broken) {
		return Verified{Records: broken.Number - 1, Broken: broken.Number, Why: broken.Why}, nil
	}
	return out, err
}
